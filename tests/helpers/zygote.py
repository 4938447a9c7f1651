"""Processes that a test may kill, without the seconds of importing torch: benchmarks, and workers of Ray.

They are forked from a process that has imported everything, and a benchmark's fork server is forked from it.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import sys
from multiprocessing import forkserver, util


def serve(path):
    """Fork a process for each connection, which brings a request and its standard streams."""
    importlib.import_module("helpers.toy_bundle")
    from monai_sf.benchmark.local_engine import _PRELOADED

    for name in ("monai_sf.benchmark.run", *_PRELOADED):
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
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = _ACTS[request["act"]](request["arguments"])
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


def _benchmark(arguments):
    from monai_sf.benchmark.__main__ import main

    util.spawnv_passfds = _fork
    forkserver.set_forkserver_preload([])
    forkserver.ensure_running()  # while there is no other thread
    return main(arguments)


def _fork(path, arguments, fds):
    """In place of starting Python anew: the code that it would run, in a fork."""
    *_, code, option = (
        arguments if arguments[-1].startswith("--") else [*arguments, ""]
    )  # of the method spawn
    child = os.fork()
    if child == 0:
        sys.argv = ["-c", option]
        kept = {0, 1, 2, *fds}
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in {*map(int, os.listdir("/proc/self/fd"))} - kept - {nothing}:
            # not closed: an object of before that owns this number would close what gets it next
            with contextlib.suppress(OSError):  # of the listing itself
                os.fstat(fd)
                os.dup2(nothing, fd, inheritable=False)
        try:
            exec(code, {})
        finally:
            os._exit(0)
    return child


def _script(arguments):
    sys.argv = arguments
    sys.path[0] = os.path.dirname(arguments[0])
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


_ACTS = {"benchmark": _benchmark, "script": _script}


class Process:
    """A process that the zygote forks, in a session of its own.

    Its arguments are those of ``python -m monai_sf.benchmark``, or with the act "script" those of ``python``.
    """

    def __init__(self, path, arguments, output, environment, act="benchmark"):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(path)
        request = {"act": act, "arguments": arguments, "environment": dict(environment)}
        with open(output, "ab") as printed, open(os.devnull, "rb") as nothing:
            streams = [nothing.fileno(), printed.fileno(), printed.fileno()]
            socket.send_fds(self.connection, [json.dumps(request).encode()], streams)
            (self.pid,) = struct.unpack("i", self.connection.recv(4))
        self.returncode = None

    def wait(self):
        if self.returncode is None:
            (self.returncode,) = struct.unpack("i", self.connection.recv(4))
            self.connection.close()
        return self.returncode
