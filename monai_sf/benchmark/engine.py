"""What runs tasks: the processes of this machine, or a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from monai_sf.benchmark.local_engine import LocalEngine, default_workers
from monai_sf.benchmark.names import ENGINES
from monai_sf.benchmark.process import Outcome
from monai_sf.benchmark.tasks import Task


class Engine(Protocol):
    """Runs each task in a process of its own; says nothing about their order."""

    slots: int
    """How many tasks it runs at a time."""

    def submit(self, tasks: Sequence[tuple[Task, Any]]) -> list[Future[Outcome]]:
        """Take tasks, each with what it is to be run with (:func:`monai_sf.benchmark.manifests.wanted`)."""

    def is_running(self, task: Task, future: Future[Outcome]) -> bool:
        """Return whether a task that was taken has been begun."""

    def close(self) -> None:
        """End all tasks that run, and forget those that wait."""


def open_engine(
    name: str, *, workers: int | None, output_dir: str | os.PathLike[str], address: str | None = None
) -> Engine:
    """Return the engine of that name.

    Args:
        name: one of :data:`ENGINES`.
        workers: tasks side by side; None for one per GPU, or what the machine has cores and memory for.
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
        from monai_sf.benchmark.ray_engine import RayEngine  # Ray need not be installed

        return RayEngine(workers, output_dir, address)
    raise ValueError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")
