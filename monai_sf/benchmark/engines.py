"""Where tasks are run: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import os
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Protocol

import torch

from monai_sf.benchmark.names import ENGINES, log_path
from monai_sf.benchmark.tasks import Task
from monai_sf.benchmark.worker import ENVIRONMENT, Outcome, Worker
from monai_sf.datasets import usable_cores


class Engine(Protocol):
    """Runs tasks; says nothing about their order."""

    slots: int
    """How many tasks it runs at a time."""

    def submit(self, tasks: Sequence[tuple[Task, Any]]) -> list[Future[Outcome]]:
        """Take tasks, each with what it is to be run with (:func:`monai_sf.benchmark.marks.wanted`)."""

    def is_running(self, task: Task, future: Future[Outcome]) -> bool:
        """Whether a task that was taken has been begun."""

    def close(self) -> None:
        """End all tasks that run, and forget those that wait."""


def default_workers() -> int:
    """How many runs go side by side: one a GPU, else one a core, at most 2 (memory)."""
    return len(gpus()) or usable_cores(2)


def gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible is not None else [str(index) for index in range(count)]
    return [name.strip() for name in names][:count]


def threads_of(workers: int) -> int:
    """Threads of one of so many workers: ``OMP_NUM_THREADS`` where it is set, else its share of the cores."""
    own = os.environ.get("OMP_NUM_THREADS", "")
    return int(own) if own.isdecimal() and int(own) else max(1, usable_cores(None) // workers)


def request(
    task: Task, want: Mapping[str, Any], output_dir: str | os.PathLike[str], threads: int
) -> dict[str, Any]:
    """What a worker needs to know to run a task; plain values, to be sent anywhere."""
    return {
        "task": asdict(task),
        "want": dict(want),
        "output_dir": str(output_dir),
        "log": str(log_path(output_dir, task.name)),
        "threads": threads,
    }


class LocalEngine:
    """Processes of this machine, each with one GPU where there are GPUs.

    Args:
        workers: tasks side by side; more than GPUs share them.
        output_dir: of the benchmark.
    """

    def __init__(self, workers: int, output_dir: str | os.PathLike[str]) -> None:
        self.slots, self.output_dir = workers, output_dir
        devices = gpus()
        pinned = [{"CUDA_VISIBLE_DEVICES": device} for device in devices] or [{}]
        self._workers = [
            Worker(
                {**ENVIRONMENT, **pinned[index % len(pinned)]},
                threads_of(workers),
                log_path(output_dir, f"worker-{index}"),
            )
            for index in range(workers)
        ]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="benchmark")

    def submit(self, tasks: Sequence[tuple[Task, Any]]) -> list[Future[Outcome]]:
        """See :class:`Engine`."""
        return [
            self._pool.submit(self._run, request(task, want, self.output_dir, threads_of(self.slots)))
            for task, want in tasks
        ]

    def _run(self, content: dict[str, Any]) -> Outcome:
        worker = self._free.get()
        try:
            return worker.run(content)
        finally:
            self._free.put(worker)

    def is_running(self, task: Task, future: Future[Outcome]) -> bool:
        """See :class:`Engine`."""
        return future.running()

    def close(self) -> None:
        """See :class:`Engine`."""
        for worker in self._workers:
            worker.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.join()


def open_engine(
    name: str, *, workers: int | None, output_dir: str | os.PathLike[str], address: str | None = None
) -> Engine:
    """The engine of that name.

    Args:
        name: one of :data:`ENGINES`.
        workers: tasks side by side; None for one a GPU, or what the machine has cores and memory for.
        output_dir: of the benchmark; for a cluster, in a file system that all its machines have.
        address: of an existing Ray cluster; None starts one on this machine.

    Raises:
        ValueError: there is no such engine (lists those there are), or an argument does not fit it.
        ModuleNotFoundError: ray is not installed; says how to.
        ConnectionError: the cluster cannot be reached.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be positive, got {workers}")
    if name == "local":
        if address is not None:
            raise ValueError(
                f"address {address!r} is of a Ray cluster, the engine is local: choose engine ray"
            )
        return LocalEngine(workers or default_workers(), output_dir)
    if name == "ray":
        from monai_sf.benchmark.ray_engine import RayEngine

        return RayEngine(workers, output_dir, address)
    raise ValueError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
