"""The engine of this machine: one process per task, from :mod:`multiprocessing`.

Importing torch and MONAI takes seconds, a fork milliseconds. So the fork server of :mod:`multiprocessing`
imports them once and forks for each task. It computes nothing and never touches a GPU, so that it can fork
safely; a task has the memory, random state and GPU context of a new process, and no other task ends when it
is killed.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

import torch

from monai_sf.benchmark.process import ENVIRONMENT, GRACE_S, Outcome, request, run, threads_of
from monai_sf.benchmark.tasks import Task
from monai_sf.files.cores import usable_cores

#: Forking is not safe after Apple's frameworks were used, and Windows has no fork: there, tasks import anew.
METHOD = "forkserver" if sys.platform.startswith("linux") else "spawn"

#: Modules that all tasks import, and the fork server once.
_PRELOADED = ["monai_sf.benchmark.execute", "monai_sf.bundle.public", "monai_sf.engines", "monai_sf.losses"]

#: In `multiprocessing`, two threads may read one exit status, and one of them gets a wrong one.
_LOCK = threading.Lock()


def gpus() -> list[str]:
    """Return the GPUs that this process may use, by their names in ``CUDA_VISIBLE_DEVICES``."""
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible is not None else [str(index) for index in range(count)]
    return [name.strip() for name in names][:count]


class LocalEngine:
    """Processes of this machine, with one GPU each if there are GPUs.

    Args:
        workers: number of parallel tasks, which share GPUs if there are fewer. None for one per GPU, or
            without GPUs one per core, at most 2 (memory).
        output_dir: of the benchmark.
    """

    def __init__(self, workers: int | None, output_dir: str | os.PathLike[str]) -> None:
        self.slots, self.output_dir = workers or len(gpus()) or usable_cores(2), output_dir
        self.threads = threads_of(usable_cores(None) // self.slots)
        pinned = [{"CUDA_VISIBLE_DEVICES": device} for device in gpus()] or [{}]
        self._devices: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        for index in range(self.slots):
            self._devices.put(pinned[index % len(pinned)])
        self._context: Any = multiprocessing.get_context(METHOD)
        self._stopped, self._stop = self._context.Pipe(duplex=False)  # ready to read once it is closed
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="benchmark")

    def submit(self, task: Task, want: Any) -> Future[Outcome]:
        """See :class:`monai_sf.benchmark.process.Engine`."""
        return self._pool.submit(self._run, request(task, want, self.output_dir, self.threads))

    def is_running(self, task: Task, future: Future[Outcome]) -> bool:
        """See :class:`monai_sf.benchmark.process.Engine`."""
        return future.running()

    def close(self) -> None:
        """See :class:`monai_sf.benchmark.process.Engine`."""
        self._stop.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._stopped.close()

    def _run(self, content: Mapping[str, Any]) -> Outcome:
        """Run a task in a process of its own, until the task or the benchmark ends."""
        device = self._devices.get()
        try:
            answers, answer = self._context.Pipe(duplex=False)
            with answers, answer:
                variables = {**os.environ, **device}
                process = self._context.Process(target=_serve, args=(content, variables, answer))
                return self._attend(process, answers, answer)
        finally:
            self._devices.put(device)

    def _attend(self, process: Any, answers: Connection, answer: Connection) -> Outcome:
        with _LOCK, _hidden_main():
            if self._stopped.poll():
                return Outcome(None, "stopped")
            try:
                self._start(process)
            except (OSError, EOFError) as error:
                return Outcome(None, f"cannot start a process for the task: {error!r}")
        answer.close()
        ends = [answers, process.sentinel]
        if wait([*ends, self._stopped]) == [self._stopped]:
            _signal(process.pid, "SIGINT")  # politely first, so that it can store its state
            wait(ends, GRACE_S)
        outcome = None
        with suppress(OSError, EOFError):  # it was ended before it had answered
            outcome = answers.recv() if answers.poll() else None
        status = _end(process)
        return outcome or Outcome(None, "stopped" if self._stopped.poll() else in_words(status))

    def _start(self, process: Any) -> None:
        for patience_s in (1.0, 0.0):
            if METHOD == "forkserver":
                with _environment({**ENVIRONMENT, "OMP_NUM_THREADS": str(self.threads)}):
                    forkserver.set_forkserver_preload(_PRELOADED)
                    forkserver.ensure_running()
            try:
                process.start()
                return
            except (ConnectionError, EOFError):  # the server is being killed; the next try starts another
                if not patience_s or self._stopped.poll():
                    raise
                time.sleep(patience_s)


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Hide the caller's script, which multiprocessing would run again in each process."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set these variables and this process's module path, and block Ctrl-C, while a fork server starts.

    Ctrl-C is for the benchmark, which then ends its tasks; the server ignores it only after its imports.
    """
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    changed = {**variables, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in changed}
    resource_tracker.ensure_running()  # first, since it resets the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(content: Mapping[str, Any], environment: Mapping[str, str], answer: Connection) -> None:
    """Run a task in this process, send its outcome, and end."""
    gc.freeze()  # or the first collection copies the memory pages of all imports
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # a group with all processes that the task starts, to end them together
    threading.Thread(target=_end_with_the_benchmark, daemon=True).start()
    os.environ.clear()  # the server may be older than the benchmark's variables
    os.environ.update(environment)
    if METHOD == "forkserver":
        # or each worker of its data loaders, in each epoch, would be started by a server of the task's own
        multiprocessing.set_start_method("fork", force=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with suppress(BrokenPipeError):  # the benchmark has ended
        answer.send(run(content))
    _signal(os.getpid(), "SIGKILL")  # and what the task has left running


def _end_with_the_benchmark() -> None:
    """Wait until the benchmark's process has ended, however it did, and end this one."""
    benchmark = multiprocessing.parent_process()
    assert benchmark is not None
    wait([benchmark.sentinel])
    _signal(os.getpid(), "SIGINT")
    time.sleep(GRACE_S)
    _signal(os.getpid(), "SIGKILL")


def _signal(pid: int, name: str) -> None:
    """Send a signal to a task and to all processes that it started; Windows has no such groups."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):  # it has ended, or not yet started
            os.killpg(pid, signal.Signals[name])


def _end(process: Any) -> int:
    """End a process that has answered or died, with those that it left running; return its exit status."""
    _signal(process.pid, "SIGKILL")
    if not wait([process.sentinel], 0):
        process.kill()  # if it has no group
    wait([process.sentinel])
    with _LOCK:
        process.join()
        status: int = process.exitcode
        process.close()
    return status


def in_words(status: int) -> str:
    """Describe how a process ended, from its exit status; negative for a signal."""
    if status == 255:
        return "the process ended with the status 255, or its fork server was killed"
    if status >= 0:
        return f"the process ended with the status {status}"
    names = {number.value: number.name for number in signal.Signals}
    name = names.get(-status, f"signal {-status}")
    return f"the process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
