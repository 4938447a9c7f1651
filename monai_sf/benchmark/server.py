"""The process behind a worker: imports once what tasks need, then forks a fresh process for each task.

Importing torch and MONAI takes seconds, a fork milliseconds. The server itself computes nothing and never
touches a GPU, so that it can fork safely; a task has the memory, random state and GPU context of a new
process, and takes nobody with it when it is killed. Where forking is not safe (everything but Linux), the
server runs one task itself and ends.

One JSON object a line: requests on standard input, answers on what was standard output. When the input ends,
because it is told to stop or because the benchmark was killed, the server ends the task and itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

#: What tasks import, to be imported once.
_PRELOADED = (
    "monai.bundle",
    "monai_sf.benchmark.execute",
    "monai_sf.bundle",
    "monai_sf.data",
    "monai_sf.datasets",
    "monai_sf.engines",
    "monai_sf.networks.heads",
    "monai_sf.losses",
    "tensorboard.summary.writer.event_file_writer",
)

#: How long a task may take to store what it has when it is asked to stop.
_GRACE_S = 5.0

_PR_SET_PDEATHSIG = 1


def serve(fork: bool) -> None:
    """Answer requests until the input ends.

    Args:
        fork: whether to fork for each task; else the first task is run here, and the process ends with it.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # what imports print is no answer
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # or the first collection of each task copies the pages of all that was imported
    while line := _line():
        request = json.loads(line)
        answer = _fork(request, answers) if fork else _alone(request)
        if answer is None:
            return
        os.write(answers, json.dumps(answer).encode() + b"\n")
        if not fork:
            return


def _line() -> bytes:
    """The next line of the input; unbuffered, since `select` must see what comes after it."""
    line = b""
    while not line.endswith(b"\n") and (character := os.read(0, 1 << 16)):
        line += character
    return line if line.endswith(b"\n") else b""


def _alone(request: Mapping[str, Any]) -> dict[str, Any]:
    def end_with_the_benchmark() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=end_with_the_benchmark, daemon=True).start()
    return _run(request)


def _fork(request: Mapping[str, Any], answers: int) -> dict[str, Any] | None:
    """Run a task in a new process; None when the input ended before the task did."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    server = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.close(answers)
            _die_with(server)
            os.setpgid(0, 0)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.write(writer, json.dumps(_run(request)).encode())
            code = 0
        finally:
            os._exit(code)  # not the server's clean-up
    os.close(writer)
    with contextlib.suppress(OSError):  # both set it, so that it is set whoever comes first
        os.setpgid(child, child)
    answer = b""
    status: int | None = None
    while status is None:
        ready, _, _ = select.select([0, reader], [], [], 0.5)
        if 0 in ready:
            _stop(child)
            return None
        if reader in ready and (piece := os.read(reader, 1 << 16)):
            answer += piece
            continue
        # the pipe ends with the task; a process that the task has left behind may still hold it
        ended, code = os.waitpid(child, 0 if ready else os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if ended else None
    with contextlib.suppress(ProcessLookupError):  # those that the task has left behind
        os.killpg(child, signal.SIGKILL)
    while select.select([reader], [], [], 0)[0] and (piece := os.read(reader, 1 << 16)):
        answer += piece
    os.close(reader)
    if status == 0:
        return dict(json.loads(answer))
    return {"error": in_words(status)}


def in_words(status: int) -> str:
    """How a process ended, from its exit status; negative for a signal."""
    if status == -signal.SIGKILL:
        return "the process was killed (SIGKILL): out of memory, or by hand"
    if status < 0:
        return f"the process ended by the signal {signal.Signals(-status).name}"
    return f"the process ended with the status {status}"


def _die_with(server: int) -> None:
    """Ask Linux to kill this process when the server ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _stop(child: int) -> None:
    """End a task and the processes it has started: politely first, so that it can store what it has."""
    for number, seconds in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, 0.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if os.waitpid(child, os.WNOHANG)[0]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)  # those it has left behind
                return
            time.sleep(0.02)
    os.waitpid(child, 0)


def _run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a task with its output in its log; never raises, since the answer is all that the parent reads."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(request["environment"])
        os.makedirs(os.path.dirname(request["log"]), exist_ok=True)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        print(f"\n==== {time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()}: {request['task']['name']}")
        return {"result": _execute(request)}
    except BaseException as error:  # KeyboardInterrupt and SystemExit too
        with contextlib.suppress(OSError):  # a full disk: the log cannot be written either
            traceback.print_exc()
        said = f"{type(error).__name__}: {gist(str(error))}".rstrip(": ")
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) and "cannot write" not in said:
            # most often the log itself, which can then say nothing more
            said += f"; free space (the task writes to {request['output_dir']})"
        return {"error": said}


def gist(text: str) -> str:
    """The line of an error that says most: the first, with what it announces; of a traceback the last."""
    lines = [line.strip() for line in text.strip().splitlines()] or [""]
    if "Traceback (most recent call last):" in text:  # of a process that loads data
        return lines[-1]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _execute(request: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    from monai_sf.benchmark.execute import execute
    from monai_sf.benchmark.tasks import Task

    torch.set_num_threads(request["threads"])
    return execute(Task(**request["task"]), request["want"], request["output_dir"])
