"""The benchmark in one call: which task may run, what happens when one fails, and the summary at the end."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_sf.benchmark import grid
from monai_sf.benchmark.configs import Bundle, refuse_reserved
from monai_sf.benchmark.local_engine import LocalEngine
from monai_sf.benchmark.manifests import Finding, examine, read_manifest, wanted
from monai_sf.benchmark.names import ENGINES, BenchmarkError, one_line
from monai_sf.benchmark.overview import Overview
from monai_sf.benchmark.process import Engine, Outcome
from monai_sf.benchmark.status import failures
from monai_sf.benchmark.tasks import Task, build_tasks, studies_of
from monai_sf.datasets.tree import check_folder
from monai_sf.files.locks import locked
from monai_sf.tables.found_runs import refuse_unknown_csfs
from monai_sf.vocabulary.methods import PAPER_METHODS

__all__ = ["run_benchmark"]

#: States of tasks whose outputs exist, in a run and in a dry run.
_COMPLETE = {"done", "skipped", "complete"}


def run_benchmark(
    bundles: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    *,
    studies: Sequence[str] | None = None,
    methods: Sequence[str] = PAPER_METHODS,
    seeds: Sequence[int] = (0, 1, 2),
    dataset_dirs: Mapping[str, str | os.PathLike[str]] | None = None,
    overlays: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    search: bool | Mapping[str, Sequence[float]] = False,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    report_points: int = 3000,
    csfs: Sequence[str] | None = None,
    dry_run: bool = False,
) -> dict[str, str]:
    """Train and evaluate every study, method and seed of every bundle, then make tables and reports.

    Tasks that are complete with the same config and inputs are skipped, interrupted ones are resumed, and
    outputs of another config or other inputs are set aside and made anew. So the call may be stopped or
    killed at any time, and repeated.

    Args:
        bundles: folders of bundles, one per dataset.
        output_dir: where everything goes. A dataset's runs go to ``<dataset>/<study>-<method>-<seed>``,
            ``table.csv`` and ``report.html`` to ``<dataset>``, the output of tasks to ``logs``.
        studies: names of studies; a dataset that does not have one leaves it out. None for all of them.
        methods: names of methods: that of ``train.yaml``, those with a file ``<method>.yaml``, and those that
            are registered with an overlay. A bundle that audits a given model has its own only.
        seeds: of the runs; an audit takes the first.
        dataset_dirs: dataset to the folder of its files, if that is not the config's own.
        overlays: config files that override all others: names of files that every bundle has in its folder
            ``configs``, or paths.
        overrides: config keys and values that override all files.
        search: whether to choose learning rate and weight decay first, by validation accuracy, or
            config keys to the values to try; not in an audit.
        engine: ``local`` for the processes of this machine, ``ray`` for a cluster.
        workers: number of parallel tasks; None for one per GPU, or what cores and memory allow without one.
        address: of an existing Ray cluster; None starts one on this machine.
        report_points: number of cases per run that a report shows one by one.
        csfs: names of the scores in tables and reports, or ``["all"]``; None for
            :func:`monai_sf.scores.usual_csfs` (a report offers the others on request).
        dry_run: print what each task would do, and do nothing.

    Returns:
        Task to its state: ``done``, ``skipped`` or ``unavailable`` (the data do not allow its study); with
        ``dry_run`` what exists of it: ``complete``, ``started``, ``stale``, ``new`` or ``unavailable``.

    Raises:
        BenchmarkError: a task failed; lists failed tasks with their errors and logs.
        ValueError: an argument is not usable.
        FileNotFoundError: a bundle, an overlay or a folder of ``dataset_dirs`` does not exist.
        ModuleNotFoundError: ray is not installed; says how to install it.
        ConnectionError: the cluster cannot be reached.
        RuntimeError: another benchmark runs in ``output_dir``.
        OSError: ``output_dir`` cannot be written to.

    Examples:
        >>> from monai_sf.benchmark import run_benchmark
        >>> from monai_sf.bundle.published import copy_bundle
        >>> # as python -m monai_sf.bundle new does
        >>> bundle = copy_bundle("dermoscopy", "skin")
        >>> asked = {"studies": ["iid"], "methods": ["confidnet"], "seeds": [0]}
        >>> plan = run_benchmark([bundle], "benchmark", **asked, dry_run=True)
        new       dermoscopy/prepare
        new       dermoscopy/iid-confidnet-0/train
        new       dermoscopy/iid-confidnet-0/evaluate
        new       dermoscopy/table
        new       dermoscopy/report
        >>> plan["dermoscopy/iid-confidnet-0/train"]
        'new'
    """
    root = Path(output_dir).expanduser().resolve()
    dirs = {name: os.path.expanduser(folder) for name, folder in (dataset_dirs or {}).items()}
    opened = [Bundle.open(folder, overlays, overrides or {}, dirs) for folder in bundles]
    datasets = [bundle.dataset for bundle in opened]
    if unknown := [name for name in dirs if name not in datasets]:
        raise ValueError(
            f"dataset_dirs names {', '.join(map(repr, unknown))}; the bundles' datasets are "
            f"{', '.join(datasets)}"
        )
    for folder in dirs.values():
        check_folder(folder)
    points: Mapping[str, Sequence[float]] | None = grid.GRID if search is True else search or None
    refuse_reserved(points or {}, "the grid")
    if both := [key for key in points or {} if key in (overrides or {})]:
        raise ValueError(f"{', '.join(both)} is both searched for and set to a value: choose one")
    refuse_unknown_csfs(csfs or (), ())
    tasks = build_tasks(
        opened,
        output_dir=root,
        studies=studies_of(opened, studies),
        methods=methods,
        seeds=seeds,
        search=points,
        report_points=report_points,
        csfs=csfs,
    )
    if dry_run:
        return _dry_run(tasks, root)
    with (
        locked(root / ".lock", f"another benchmark runs in {root}: wait for it or choose another output_dir"),
        _terminable(),
    ):
        scheduler = Scheduler(tasks, open_engine(engine, workers, root, address), root)
        scheduler.run()
    return _conclude(tasks, scheduler.overview, root)


def open_engine(name: str, workers: int | None, output_dir: Path, address: str | None = None) -> Engine:
    """Return the engine of this name; see :func:`run_benchmark` for arguments and errors."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be positive, got {workers}")
    if name == "local":
        if address is not None:
            raise ValueError(
                f"address {address!r} is of a Ray cluster, the engine is local: choose engine ray"
            )
        return LocalEngine(workers, output_dir)
    if name == "ray":
        from monai_sf.benchmark.ray_engine import RayEngine  # Ray need not be installed

        return RayEngine(workers, output_dir, address)
    raise ValueError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")


def _dry_run(tasks: Sequence[Task], root: Path) -> dict[str, str]:
    """Print what each task would do, as far as that is known before those that it needs are run."""
    states: dict[str, str] = {}
    for task in tasks:
        if task.kind == "prepare":  # it will examine the data again; what it found before is assumed
            found = Finding("complete" if "result" in read_manifest(root, task.name) else "new")
        elif {states[need] for need in task.needs} <= {"complete", "unavailable"}:
            _, _, found = _look(task, states, root)
        else:
            found = Finding("stale" if read_manifest(root, task.name) else "new")
        states[task.name] = found.state
        print(f"{found.state:9} {task.name}" + (f": {found.reason}" if found.reason else ""))
    return states


def _look(task: Task, states: Mapping[str, str], root: Path) -> tuple[Task, dict[str, Any], Finding]:
    """Examine a task whose needs have ended.

    Returns:
        The task, needing only what is complete; what it would be run with; and what exists of it.
    """
    complete = tuple(need for need in task.needs if states[need] in _COMPLETE)
    reason = ""
    if task.run and f"{task.dataset}/prepare" in task.needs:
        prepared = read_manifest(root, f"{task.dataset}/prepare")
        reason = prepared["result"]["unavailable"].get(task.run["study"], "")
    if reason or (task.needs and not complete):
        return task, {}, Finding("unavailable", reason)
    gone = [need for need in task.needs if states[need] == "unavailable"]
    task = dataclasses.replace(task, needs=complete, options={**task.options, "unavailable": gone})
    want = wanted(task, root)
    return task, want, examine(task, want, root)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the benchmark as Ctrl-C does: with its tasks, keeping what is complete."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Scheduler:
    """Gives an engine each task when what it needs is complete.

    Args:
        tasks: all tasks, each after those that it needs.
        engine: runs them; closed at the end.
        output_dir: of the benchmark.
    """

    def __init__(self, tasks: Sequence[Task], engine: Engine, output_dir: Path) -> None:
        self.tasks = {task.name: task for task in tasks}
        self.engine, self.output_dir = engine, output_dir
        self.overview = Overview(tasks, output_dir, engine.slots)
        self.futures: dict[Future[Outcome], Task] = {}
        self._ready: dict[str, tuple[Task, Any]] = {}

    def run(self) -> None:
        """Run all tasks that can be run."""
        state = "stopped"
        try:
            self._submit()
            while self.futures:
                self._wait()
                self._submit()
            state = "failed" if self.overview.counts()["failed"] else "complete"
        finally:
            if state == "stopped":
                for task in self.futures.values():
                    if self.overview.states[task.name] == "running":
                        self.overview.set(task.name, "stopped")
            self.engine.close()
            self.overview.close(state)

    def _submit(self) -> None:
        """Submit tasks that can be run; as tasks are in order, one pass finds all that follows."""
        for task in self.tasks.values():
            if self.overview.states[task.name] != "waiting":
                continue
            states = {self.overview.states[need] for need in task.needs}
            ended = states <= {"done", "skipped", "unavailable", "failed", "not run"}
            # of what there is
            partial = task.kind in ("table", "report") and (not ended or bool(states & _COMPLETE))
            if not partial and states & {"failed", "not run"}:
                blocking = [n for n in task.needs if self.overview.states[n] in ("failed", "not run")]
                self.overview.set(task.name, "not run", f"needs {blocking[0]}")
            elif ended:
                self._examine(task)
        # An engine first runs what it is given first. If it had all trainings at once, the first evaluation
        # would wait for the last training, and with it the first result and an estimate of the time left.
        room = max(0, 2 * self.engine.slots - len(self.futures))
        for name in [name for name in self.tasks if name in self._ready][:room]:
            task, want = self._ready.pop(name)
            self.futures[self.engine.submit(task, want)] = task
        self._note_running()

    def _examine(self, task: Task) -> None:
        """Make a task ready unless there is nothing to run."""
        try:
            task, want, found = _look(task, self.overview.states, self.output_dir)
        except (OSError, ValueError, KeyError) as error:
            self.overview.set(task.name, "failed", f"{type(error).__name__}: {error}")
            return
        if found.state == "unavailable":
            self.overview.set(task.name, "unavailable", found.reason or self.overview.reasons[task.needs[0]])
        elif found.state == "complete":
            self.overview.set(task.name, "skipped", seconds=(found.result or {}).get("seconds"))
        else:
            if found.state == "stale" and any(path.exists() for path in task.belongings()):
                self.overview.say(f"{task.name} is run anew, its outputs are set aside: {found.reason}")
            self.overview.set(task.name, "queued")
            self._ready[task.name] = task, want

    def _wait(self) -> None:
        done, _ = wait(self.futures, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            task = self.futures.pop(future)
            try:
                outcome = future.result()
            except Exception as error:
                outcome = Outcome(None, one_line(error))
            if outcome.result is None:
                self.overview.set(task.name, "failed", outcome.error)
            else:
                self.overview.set(task.name, "done", seconds=outcome.result["seconds"])
        self._note_running()
        self.overview.refresh()

    def _note_running(self) -> None:
        for future, task in self.futures.items():
            if self.overview.states[task.name] == "queued" and self.engine.is_running(task, future):
                self.overview.set(task.name, "running")


def _conclude(tasks: Sequence[Task], overview: Overview, root: Path) -> dict[str, str]:
    """Print tables, paths of reports, and the studies without data; raise if a task failed."""
    for task in tasks:
        if overview.states[task.name] in ("done", "skipped"):
            if task.kind == "table":
                print((Path(task.folder) / "table.txt").read_text(encoding="utf-8").rstrip("\n"))
                print("tables:", Path(task.folder) / "table.html")
            elif task.kind == "report":
                print("report:", Path(task.folder) / "report.html")
    lines = "\n".join(failures(overview.tasks(), root))
    if failed := overview.counts()["failed"]:
        raise BenchmarkError(
            f"{failed} of {len(tasks)} tasks failed. Fix the cause and give the same command again: complete "
            f"tasks are kept.\n{lines}"
        )
    if lines:
        print(lines)
    return dict(overview.states)
