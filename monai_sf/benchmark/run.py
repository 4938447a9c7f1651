"""The benchmark in one call: which task may run, what happens when one fails, and what is said at the end."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from monai_sf.benchmark import grid
from monai_sf.benchmark.configs import Bundle
from monai_sf.benchmark.engine import Engine, open_engine
from monai_sf.benchmark.manifests import examine, read_manifest, wanted
from monai_sf.benchmark.names import BenchmarkError, Terminated, one_line
from monai_sf.benchmark.overview import Overview
from monai_sf.benchmark.process import Outcome
from monai_sf.benchmark.status import failures
from monai_sf.benchmark.tasks import Task, build_tasks, studies_of
from monai_sf.datasets.tree import check_folder
from monai_sf.files.locks import locked
from monai_sf.vocabulary.methods import PAPER_METHODS


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
    dry_run: bool = False,
) -> dict[str, str]:
    """Train and evaluate every study, method and seed of every bundle; then a table and a report of each.

    What is complete with the same config and inputs is not run again, what was begun is gone on with, and
    what was run with another config or other inputs is set aside and run anew. So the call may be stopped or
    killed at any time, and given again.

    Args:
        bundles: folders of bundles, one a dataset.
        output_dir: where everything goes. A dataset's runs go to ``<dataset>/<study>-<method>-<seed>``,
            ``table.csv`` and ``report.html`` to ``<dataset>``, what tasks print to ``logs``.
        studies: names of studies; a dataset that does not have one leaves it out. None for all of them.
        methods: names of methods: that of ``train.yaml``, those with a file ``<method>.yaml``, and those that
            are registered with an overlay.
        seeds: of the runs.
        dataset_dirs: dataset to the folder of its files, where that is not the config's own.
        overlays: config files that are laid over all others: names of files that every bundle has in its
            folder ``configs``, or paths.
        overrides: config keys and values, laid over all files.
        search: whether to choose learning rate and weight decay before, by validation accuracy
            (:data:`monai_sf.benchmark.grid.GRID`), or config keys to the values to try.
        engine: ``local`` or ``ray``, see :func:`monai_sf.benchmark.engine.open_engine`.
        workers: tasks side by side; None for what the machine has GPUs, or cores and memory for.
        address: of an existing Ray cluster.
        report_points: cases of a run that a report shows one by one.
        dry_run: say what each task would do, and do nothing.

    Returns:
        Task to its state: ``done``, ``skipped`` or ``unavailable`` (the data do not allow its study); with
        ``dry_run`` what there is of it: ``complete``, ``begun``, ``stale``, ``new`` or ``unavailable``.

    Raises:
        BenchmarkError: a task failed; lists them with their errors and logs.
        ValueError: an argument is not usable.
        FileNotFoundError: a bundle, an overlay or a folder of ``dataset_dirs`` is not there.
        ConnectionError: the cluster cannot be reached.
        BusyError: another benchmark runs in ``output_dir``.
        OSError: ``output_dir`` cannot be written to.
    """
    root = Path(output_dir).expanduser().resolve()
    dirs = {name: os.path.expanduser(folder) for name, folder in (dataset_dirs or {}).items()}
    opened = [Bundle.open(folder, overlays, overrides or {}, dirs) for folder in bundles]
    if unknown := [name for name in dirs if name not in [bundle.dataset for bundle in opened]]:
        raise ValueError(
            f"dataset_dirs names {unknown[0]!r}; the bundles' datasets are "
            f"{', '.join(bundle.dataset for bundle in opened)}"
        )
    for folder in dirs.values():
        check_folder(folder)
    points: Mapping[str, Sequence[float]] | None = grid.GRID if search is True else search or None
    if both := [key for key in points or {} if key in (overrides or {})]:
        raise ValueError(f"{both[0]} is both searched for and set to a value: choose one")
    tasks = build_tasks(
        opened,
        output_dir=root,
        studies=studies_of(opened, studies),
        methods=methods,
        seeds=seeds,
        search=points,
        report_points=report_points,
    )
    if dry_run:
        return _look(tasks, root)
    with (
        locked(root / ".lock", f"another benchmark runs in {root}: wait for it or choose another output_dir"),
        _terminable(),
    ):
        chosen = open_engine(engine, workers=workers, output_dir=root, address=address)
        scheduler = Scheduler(tasks, chosen, root)
        scheduler.run()
    return _conclude(tasks, scheduler.overview, root)


def _look(tasks: Sequence[Task], root: Path) -> dict[str, str]:
    """Say what each task would do, as far as that can be known before those that it needs are run."""
    states: dict[str, str] = {}
    for task in tasks:
        reason, needed = "", {need: states[need] for need in task.needs}
        if task.kind == "prepare":  # it will look at the data again; what it found before is assumed
            states[task.name] = "complete" if "result" in read_manifest(root, task.name) else "new"
        elif not set(needed.values()) <= {"complete", "unavailable"}:
            states[task.name] = "stale" if read_manifest(root, task.name) else "new"
        elif (reason := unavailable(task, root)) or "complete" not in needed.values():
            states[task.name] = "unavailable"
        else:
            there = [need for need, state in needed.items() if state == "complete"]
            task = of_what_there_is(task, there, needed)
            found = examine(task, wanted(task, root), root)
            states[task.name], reason = found.state, found.reason
        print(f"{states[task.name]:9} {task.name}" + (f": {reason}" if reason else ""))
    return states


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the benchmark as Ctrl-C does: with its tasks, and with what is done kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def unavailable(task: Task, root: Path) -> str:
    """Why the data do not allow a training, as their preparation has found; empty where they do."""
    if task.kind not in ("train", "trial"):
        return ""
    prepared = read_manifest(root, f"{task.dataset}/prepare")
    reason: str = prepared["result"]["unavailable"].get(task.run["study"], "")
    return reason


def of_what_there_is(task: Task, there: Sequence[str], needed: Mapping[str, str]) -> Task:
    """The task, needing only what is there, and knowing what there cannot be."""
    gone = [need for need, state in needed.items() if state == "unavailable"]
    return dataclasses.replace(task, needs=tuple(there), options={**task.options, "unavailable": gone})


class Scheduler:
    """Gives an engine each task when what it needs is complete.

    Args:
        tasks: all tasks, each after those that it needs.
        engine: that runs them; closed at the end.
        output_dir: of the benchmark.
    """

    def __init__(self, tasks: Sequence[Task], engine: Engine, output_dir: Path) -> None:
        self.tasks = {task.name: task for task in tasks}
        self.engine, self.output_dir = engine, output_dir
        self.overview = Overview(tasks, output_dir, engine.slots)
        self.futures: dict[Future[Outcome], Task] = {}
        self._ready: list[tuple[Task, Any]] = []

    def run(self) -> None:
        """Run all tasks that can be run."""
        state = "stopped"
        try:
            while True:
                self._submit()
                if not self.futures:
                    break
                self._wait()
            failed = self.overview.counts()["failed"]
            state = "failed" if failed else "complete"
        finally:
            if state == "stopped":
                for task in self.futures.values():
                    if self.overview.states[task.name] == "running":
                        self.overview.set(task.name, "stopped")
            self.engine.close()
            self.overview.close(state)

    def _submit(self) -> None:
        """Begin what can be begun; in the order of the tasks one pass sees all that follows from it."""
        for task in self.tasks.values():
            if self.overview.states[task.name] != "waiting":
                continue
            needed = {need: self.overview.states[need] for need in task.needs}
            blocking = [n for n, state in needed.items() if state in ("failed", "not run")]
            ended = set(needed.values()) <= {"done", "skipped", "unavailable", "failed", "not run"}
            of_what_is_there = task.kind in ("table", "report") and (
                not ended or bool({"done", "skipped"} & set(needed.values()))
            )
            if blocking and not of_what_is_there:
                self.overview.set(task.name, "not run", f"needs {blocking[0]}")
            elif ended:
                self._ready += self._examine(task, needed)
        given = self._take()
        for (task, _), future in zip(given, self.engine.submit(given) if given else (), strict=True):
            self.futures[future] = task
        self._note_running()

    def _take(self) -> list[tuple[Task, Any]]:
        """Of what is ready, as much as keeps the engine busy, in the order of the tasks.

        An engine runs first what it is given first. If it had all trainings at once, the first evaluation
        would wait for the last training, and with it the first result and a time left that can be known.
        """
        order = {name: position for position, name in enumerate(self.tasks)}
        self._ready.sort(key=lambda pair: order[pair[0].name])
        room = max(0, 2 * self.engine.slots - len(self.futures))
        given, self._ready = self._ready[:room], self._ready[room:]
        return given

    def _examine(self, task: Task, needed: Mapping[str, str]) -> list[tuple[Task, Any]]:
        """The task with what it is to be run with; nothing when there is nothing to run."""
        there = tuple(need for need, state in needed.items() if state in ("done", "skipped"))
        reason = unavailable(task, self.output_dir)
        if not reason and task.needs and not there:
            reason = self.overview.reasons[task.needs[0]]
        if reason:
            self.overview.set(task.name, "unavailable", reason)
            return []
        task = of_what_there_is(task, there, needed)
        try:
            want = wanted(task, self.output_dir)
            found = examine(task, want, self.output_dir)
        except (OSError, ValueError, KeyError) as error:
            self.overview.set(task.name, "failed", f"{type(error).__name__}: {error}")
            return []
        if found.state == "complete":
            self.overview.set(task.name, "skipped", seconds=(found.result or {}).get("seconds"))
            return []
        if found.state == "stale" and any(path.exists() for path in task.belongings()):
            self.overview.say(f"{task.name} is run anew, what is there is set aside: {found.reason}")
        self.overview.set(task.name, "queued")
        return [(task, want)]

    def _wait(self) -> None:
        done, _ = wait(self.futures, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            task = self.futures.pop(future)
            try:
                outcome = future.result()
            except Exception as error:
                outcome = Outcome(None, ": ".join(dict.fromkeys((type(error).__name__, one_line(error)))))
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
    """Print tables, the reports' places and the studies that there are no data for."""
    states = overview.states
    for task in tasks:
        if states[task.name] in ("done", "skipped"):
            if task.kind == "table":
                print((Path(task.folder) / "table.txt").read_text(encoding="utf-8").rstrip("\n"))
                print("tables:", Path(task.folder) / "table.html")
            elif task.kind == "report":
                print("report:", Path(task.folder) / "report.html")
    shown = {
        name: {"state": state, "reason": overview.reasons.get(name, ""), "log": f"logs/{name}.log"}
        for name, state in states.items()
    }
    lines = "\n".join(failures(shown, root))
    failed = overview.counts()["failed"]
    if failed:
        raise BenchmarkError(
            f"{failed} of {len(states)} tasks failed. Mend the cause and give the same command again: what "
            f"is complete is kept.\n{lines}"
        )
    if lines:
        print(lines)
    return dict(states)
