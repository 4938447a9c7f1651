"""The engine for a cluster: Ray tasks for the matrix, Ray Tune for the grid search.

Ray decides where and when a task runs, and keeps GPUs apart. The process that Ray starts hands the task to a
:class:`monai_sf.benchmark.worker.Worker`, so a task means the same as on the local engine: a process of its
own, a log, and a reason when it is killed.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from monai_sf.benchmark import ray_worker
from monai_sf.benchmark.engines import request, threads_of
from monai_sf.benchmark.names import log_path, one_line
from monai_sf.benchmark.tasks import Task
from monai_sf.benchmark.worker import Outcome

try:
    import ray
    from ray import tune
except ImportError as error:
    raise ModuleNotFoundError(
        f"the engine ray needs Ray ({error}): pip install 'monai-sf[ray]', or choose the engine local"
    ) from error

logger = logging.getLogger(__name__)

#: How long a cluster may take to answer.
CONNECT_S = 30.0

#: Kinds of tasks that compute on a GPU where there is one.
_ON_GPU = ("trial", "train", "evaluate")


class RayEngine:
    """A Ray cluster.

    Args:
        workers: into how many parts to divide the cluster's cores; None for one a GPU, or else one a core.
        output_dir: of the benchmark, in a file system that all machines of the cluster have.
        address: of an existing cluster; None starts one on this machine, which ends with the benchmark.

    Raises:
        ConnectionError: the cluster cannot be reached, or does not answer in time.
    """

    def __init__(self, workers: int | None, output_dir: str | os.PathLike[str], address: str | None) -> None:
        self.output_dir = output_dir
        self._started = not ray.is_initialized()
        if self._started and address is None:
            _start()
        elif self._started and address is not None:
            _connect(address)
        there = ray.cluster_resources()
        if not there.get("CPU"):  # which may still come, where machines are started on demand
            logger.warning(
                "the Ray cluster has no CPU: tasks wait until a machine with one joins (ray start "
                "--address=... --num-cpus=N)"
            )
        cores, gpus = int(there.get("CPU", 1)), int(there.get("GPU", 0))
        self.slots = workers or gpus or cores
        self._cores = max(1, cores // self.slots)
        self._gpus = 1 if gpus else 0
        self._remote = ray.remote(max_retries=0)(ray_worker.run)
        self._references: list[Any] = []
        self._tuning = threading.Lock()
        self._logged: dict[str, int] = {}

    def _resources(self, task: Task) -> dict[str, float]:
        on_gpu = task.kind in _ON_GPU
        return {"cpu": self._cores if on_gpu else 1, "gpu": self._gpus if on_gpu else 0}

    def submit(self, tasks: Sequence[tuple[Task, Any]]) -> list[Future[Outcome]]:
        """See :class:`monai_sf.benchmark.engines.Engine`; trials go to Ray Tune, those given together as one
        search.
        """  # noqa: D205
        futures: list[Future[Outcome]] = []
        search: dict[str, tuple[dict[str, Any], Future[Outcome]]] = {}
        for task, want in tasks:
            self._logged[task.name] = self._log_size(task)
            resources = self._resources(task)
            content = request(task, want, self.output_dir, threads_of_share(int(resources["cpu"])))
            if task.kind == "trial":
                future: Future[Outcome] = Future()
                search[task.name] = (content, future)
            else:
                reference = self._remote.options(
                    num_cpus=resources["cpu"], num_gpus=resources["gpu"], name=task.name
                ).remote(content)
                self._references.append(reference)
                future = reference.future()
            futures.append(future)
        if search:
            threading.Thread(target=self._search, args=(search,), daemon=True).start()
        return futures

    def _search(self, search: Mapping[str, tuple[dict[str, Any], Future[Outcome]]]) -> None:
        resources = {"cpu": self._cores, "gpu": self._gpus}
        try:
            with self._tuning, tempfile.TemporaryDirectory(prefix="monai_sf-tune-") as folder:
                tuner = tune.Tuner(
                    tune.with_resources(ray_worker.trial, resources),
                    param_space={"request": tune.grid_search([content for content, _ in search.values()])},
                    tune_config=tune.TuneConfig(metric="accuracy", mode="max"),
                    run_config=tune.RunConfig(storage_path=folder, verbose=0),
                )
                found = tuner.fit()
            for trial in found:
                about = trial.metrics or {}
                if "name" in about:
                    search[about["name"]][1].set_result(Outcome(about["result"], about["error"]))
            reason = "; ".join(one_line(error, -1) for error in found.errors)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        for _, future in search.values():
            if not future.done():
                future.set_result(Outcome(None, reason or "Ray Tune gave no result"))

    def is_running(self, task: Task, future: Future[Outcome]) -> bool:
        """See :class:`monai_sf.benchmark.engines.Engine`: Ray does not say, the task's log does."""
        return self._log_size(task) > self._logged[task.name]

    def _log_size(self, task: Task) -> int:
        path = log_path(self.output_dir, task.name)
        return path.stat().st_size if path.is_file() else 0

    def close(self) -> None:
        """End all tasks; a cluster that was there before stays."""
        for reference in self._references:
            ray.cancel(reference, force=True)
        if self._started:
            ray.shutdown()


def threads_of_share(cores: int) -> int:
    """Threads of a task that has so many cores: ``OMP_NUM_THREADS`` where it is set, else as many."""
    return threads_of(1) if os.environ.get("OMP_NUM_THREADS", "").isdecimal() else cores


def _start() -> None:
    """Start Ray on this machine, from the calling thread.

    Ray has Linux kill its processes when the thread that has started them ends, so that must live
    as long as the engine does.
    """
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        _init("local", include_dashboard=False)
    except Exception as error:
        raise ConnectionError(f"Ray cannot be started on this machine: {one_line(error)}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, on_terminate
            )  # Ray's own would end the benchmark without its last words


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
            _init(address, include_dashboard=None)
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_S)
    if thread.is_alive() or problem:
        why = one_line(problem[0]) if problem else "it does not answer"
        raise ConnectionError(f"the Ray cluster {address} cannot be reached within {CONNECT_S:g} s: {why}")


def _init(address: str, include_dashboard: bool | None) -> None:
    ray.init(
        address=address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        include_dashboard=include_dashboard,
        configure_logging=False,
    )
