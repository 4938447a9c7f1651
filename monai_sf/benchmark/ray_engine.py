"""The engine for a cluster: one Ray task per task, in a process of its own.

Ray decides where and when a task runs, and assigns GPUs. Each task imports torch and MONAI anew.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from concurrent.futures import Future
from typing import Any

from monai_sf.benchmark.names import log_path, one_line
from monai_sf.benchmark.process import GRACE_S, Outcome, request, run, threads_of
from monai_sf.benchmark.tasks import Task

try:
    import ray
except ImportError as error:
    raise ModuleNotFoundError(
        f"the engine ray needs Ray ({error}): pip install 'monai-sf[ray]', or choose the engine local"
    ) from error

logger = logging.getLogger(__name__)

#: Seconds in which a cluster must answer.
CONNECT_S = 30.0

#: Kinds of tasks that use a GPU if there is one.
_ON_GPU = ("trial", "train", "evaluate")


_QUIET: Any = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}


class RayEngine:
    """A Ray cluster.

    Args:
        workers: number of parts that the cluster's cores are divided into; None for one per GPU, or without
            GPUs one per core.
        output_dir: of the benchmark, in a file system that all machines of the cluster have.
        address: of an existing cluster; None starts one on this machine, which ends with the benchmark.

    Raises:
        ConnectionError: the cluster cannot be reached, or does not answer in time.
    """

    def __init__(self, workers: int | None, output_dir: str | os.PathLike[str], address: str | None) -> None:
        self.output_dir = output_dir
        self._started = not ray.is_initialized()
        if self._started:
            _start() if address is None else _connect(address)
        there = ray.cluster_resources()
        if not there.get("CPU"):  # it may still come, if machines are started on demand
            logger.warning(
                "the Ray cluster has no CPU: tasks wait until a machine with one joins (ray start "
                "--address=... --num-cpus=N)"
            )
        cores, gpus = int(there.get("CPU", 1)), int(there.get("GPU", 0))
        self.slots = workers or gpus or cores
        self._cores = max(1, cores // self.slots)
        self._gpus = 1 if gpus else 0
        self._remote = ray.remote(max_retries=0, max_calls=1)(run)
        self._references: list[Any] = []
        self._logged: dict[str, int] = {}

    def submit(self, task: Task, want: Any) -> Future[Outcome]:
        """See :class:`monai_sf.benchmark.process.Engine`."""
        cores, gpus = (self._cores, self._gpus) if task.kind in _ON_GPU else (1, 0)
        self._logged[task.name] = self._log_size(task)
        remote = self._remote.options(num_cpus=cores, num_gpus=gpus, name=task.name)
        reference = remote.remote(request(task, want, self.output_dir, threads_of(cores)))
        self._references.append(reference)
        future: Future[Outcome] = Future()
        reference.future().add_done_callback(lambda ended: future.set_result(_outcome(ended)))
        return future

    def is_running(self, task: Task, future: Future[Outcome]) -> bool:
        """See :class:`monai_sf.benchmark.process.Engine`; Ray does not tell, but the task's log does."""
        return self._log_size(task) > self._logged[task.name]

    def _log_size(self, task: Task) -> int:
        path = log_path(self.output_dir, task.name)
        return path.stat().st_size if path.is_file() else 0

    def close(self) -> None:
        """End all tasks; a cluster that existed before stays."""
        for reference in self._unfinished(0.0):
            ray.cancel(reference)  # politely first, so that it can store its state
        for reference in self._unfinished(GRACE_S):
            ray.cancel(reference, force=True)
        if self._started:
            ray.shutdown()

    def _unfinished(self, seconds: float) -> list[Any]:
        """Return the tasks that have not ended after this many seconds."""
        if self._references:
            count = len(self._references)
            _, self._references = ray.wait(self._references, num_returns=count, timeout=seconds)
        return self._references


def _outcome(ended: Future[Outcome]) -> Outcome:
    """Return the outcome that a task sent, or why there is none."""
    try:
        return ended.result()
    except ray.exceptions.WorkerCrashedError:  # its text names files of Ray
        return Outcome(None, "the process was killed or crashed (out of memory?)")
    except Exception as error:
        return Outcome(None, one_line(error))


def _start() -> None:
    """Start Ray on this machine, from the calling thread.

    Linux kills Ray's processes when the thread that started them ends, which must outlive the engine.
    """
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init("local", include_dashboard=False, **_QUIET)
    except Exception as error:
        raise ConnectionError(f"Ray cannot be started on this machine: {one_line(error)}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler would end the benchmark without its summary
            signal.signal(signal.SIGTERM, on_terminate)


def _connect(address: str) -> None:
    if place := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address):
        try:
            socket.create_connection((place[1], int(place[2])), timeout=CONNECT_S).close()
        except OSError as error:
            raise ConnectionError(
                f"no Ray cluster answers at {address} within {CONNECT_S:g} s ({error}): is it running, and "
                "is the address that of its head (ray start --head prints it)?"
            ) from error
    problem: list[BaseException] = []

    def connect() -> None:
        try:
            ray.init(address, **_QUIET)
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_S)
    if thread.is_alive() or problem:
        why = one_line(problem[0]) if problem else "it does not answer"
        raise ConnectionError(f"the Ray cluster {address} cannot be reached within {CONNECT_S:g} s: {why}")
