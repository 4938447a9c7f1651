"""Processes without the seconds of importing torch: forked from one that has imported everything.

The engine under test starts its processes with ``subprocess.Popen``. :class:`Popen` does the same, but lets a
process that has imported all modules fork, so that a test may start (and kill) dozens.
"""

import importlib
import json
import os
import signal
import socket
import struct
import sys
from types import SimpleNamespace


def serve(path):
    """Fork a process for each connection, which brings a request and its standard streams."""
    for name in ("monai_sf.benchmark", "monai_sf.benchmark.server", "benchmark.toy_bundle"):
        importlib.import_module(name)
    from monai_sf.benchmark import server

    for name in server._PRELOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        message, fds, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _attend(connection, json.loads(message), fds)
        for fd in (*fds, connection.fileno()):
            os.close(fd)
        connection.detach()


def _attend(connection, request, fds):
    """Be the parent of the process, and tell its end."""
    child = os.fork()
    if child == 0:
        os.setsid()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        connection.close()
        os.environ.clear()
        os.environ.update(request["environment"])
        module, _, function = request["target"].partition(":")
        status = 1
        try:
            status = getattr(importlib.import_module(module), function)(*request["arguments"]) or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    for fd in fds:
        os.close(fd)
    connection.sendall(struct.pack("i", child))
    _, status = os.waitpid(child, 0)
    connection.sendall(struct.pack("i", os.waitstatus_to_exitcode(status)))
    os._exit(0)


class Process:
    """A process that the zygote has forked."""

    def __init__(self, path, target, arguments, stdin, stdout, stderr, environment):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(path)
        request = {"target": target, "arguments": arguments, "environment": dict(environment)}
        socket.send_fds(self.connection, [json.dumps(request).encode()], [stdin, stdout, stderr])
        (self.pid,) = struct.unpack("i", self.connection.recv(4))
        self.returncode = None

    def wait(self):
        if self.returncode is None:
            (self.returncode,) = struct.unpack("i", self.connection.recv(4))
            self.connection.close()
        return self.returncode


class Popen(Process):
    """In place of ``subprocess.Popen`` where a worker starts its server."""

    def __init__(self, command, stdin, stdout, stderr, env, start_new_session):
        requests, answers = os.pipe(), os.pipe()
        path = os.environ["ZYGOTE"]
        target = "monai_sf.benchmark.server:serve"
        fork = "fork=True" in command[-1]
        super().__init__(path, target, [fork], requests[0], answers[1], stderr.fileno(), env)
        os.close(requests[0])
        os.close(answers[1])
        self.stdin, self.stdout = os.fdopen(requests[1], "wb"), os.fdopen(answers[0], "rb")


def install():
    """Let the workers of this process start at once."""
    from monai_sf.benchmark import worker

    worker.subprocess = SimpleNamespace(Popen=Popen, PIPE=-1)


def benchmark(arguments):
    """The command, in a forked process."""
    from monai_sf.benchmark.__main__ import main

    install()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main(arguments)
