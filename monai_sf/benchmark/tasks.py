"""The matrix as tasks: prepare, (grid search,) train, evaluate, table and report, each with what it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_sf.benchmark import grid
from monai_sf.benchmark.configs import Bundle, merge
from monai_sf.datasets import STUDIES

#: The study whose validation accuracy the grid search looks at.
GRID_STUDY = "iid"

KINDS = ("prepare", "trial", "choose", "train", "evaluate", "table", "report")


@dataclass(frozen=True)
class Task:
    """One step of the benchmark, to be run in a process of its own.

    Attributes:
        name: unique; ``<dataset>/<run>/<kind>`` or ``<dataset>/<kind>``. Log and manifest are named after it.
        kind: one of :data:`KINDS`.
        dataset: whose it is.
        needs: names of the tasks that must be complete before.
        folder: where its outputs go.
        run: what it is a step of: ``study``, ``method``, ``seed``, as far as there is one.
        files: config files to merge, empty for tasks that run no config.
        overrides: keys and values laid over the files.
        options: further arguments of kinds that run no config.
    """

    name: str
    kind: str
    dataset: str
    needs: tuple[str, ...]
    folder: str
    run: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def outputs(self) -> list[Path]:
        """The files without which the task is not complete."""
        names = {
            "train": ("training.json", "best.pt"),
            "trial": ("training.json", "best.pt"),
            "evaluate": ("results/run.json",),
            "table": ("table.csv", "table.txt", "table.html"),
            "report": ("report.html",),
        }
        if self.kind == "choose":
            return [Path(self.options["overlay"]), Path(self.options["overlay"]).with_suffix(".csv")]
        return [Path(self.folder) / name for name in names.get(self.kind, ())]

    def expected(self) -> list[list[Any]]:
        """Of a table, the runs that should be in it; a study without data is no gap."""
        runs = zip(self.options["results"], self.options["expected"], strict=True)
        return [list(run) for name, run in runs if name not in self.options.get("unavailable", ())]

    def belongings(self) -> list[Path]:
        """What is set aside before the task is run anew."""
        folder = Path(self.folder)
        if self.kind in ("train", "trial"):
            return [folder]
        if self.kind == "evaluate":
            return [folder / name for name in ("results", "validation", "evaluate.config.json")]
        return []


def studies_of(bundles: Sequence[Bundle], wanted: Sequence[str] | None) -> dict[str, list[str]]:
    """Dataset to the studies to run on it: those wanted that it has, or all that it has.

    Raises:
        ValueError: a study is one of none of the datasets, or a dataset is left without one; lists those
            there are.
    """
    known = {b.dataset: [study.name for study in STUDIES.get(b.dataset, ())] for b in bundles}
    if wanted is not None and not wanted:
        raise ValueError("studies must name at least one study")
    for name in wanted or ():
        if not any(name in names or not names for names in known.values()):
            listed = "; ".join(f"{dataset}: {', '.join(names)}" for dataset, names in known.items())
            raise ValueError(f"unknown study {name!r}; there are {listed}")
    chosen = {}
    for dataset, names in known.items():
        if not names and wanted is None:
            raise ValueError(f"the studies of {dataset} are not known here: name them in studies")
        chosen[dataset] = names if wanted is None else [n for n in wanted if n in names or not names]
        if not chosen[dataset]:
            raise ValueError(
                f"{dataset} has none of the studies {', '.join(wanted or ())}; it has {', '.join(names)}"
            )
    return chosen


def build_tasks(
    bundles: Sequence[Bundle],
    *,
    output_dir: str | os.PathLike[str],
    studies: Mapping[str, Sequence[str]],
    methods: Sequence[str],
    seeds: Sequence[int],
    search: Mapping[str, Sequence[float]] | None = None,
    report_points: int = 3000,
) -> list[Task]:
    """All tasks of the matrix, each after those that it needs.

    Args:
        bundles: one a dataset.
        output_dir: where everything goes; a dataset's runs to ``<dataset>/<study>-<method>-<seed>``.
        studies: dataset to names of studies.
        methods: names of methods.
        seeds: of the runs.
        search: config key to the values to try, for a grid search before the matrix; None for none.
        report_points: cases of a run that a report shows one by one.

    Raises:
        ValueError: a method or seed is not usable, or two bundles are of one dataset.
    """
    _check(bundles, methods, seeds)
    tasks = [
        task
        for bundle in bundles
        for task in _of_one(
            bundle, Path(output_dir), studies[bundle.dataset], methods, seeds, search, report_points
        )
    ]
    evaluations = [task for task in tasks if task.kind == "evaluate"]
    if len(bundles) > 1:
        tasks.append(_table_of("all", Path(output_dir) / "tables", evaluations))
    return tasks


def _table_of(dataset: str, folder: Path, evaluations: Sequence[Task]) -> Task:
    return Task(
        name=f"{dataset}/table",
        kind="table",
        dataset=dataset,
        needs=tuple(task.name for task in evaluations),
        folder=str(folder),
        options={
            "results": {task.name: str(Path(task.folder) / "results") for task in evaluations},
            "expected": [[task.dataset, *task.run.values()] for task in evaluations],
        },
    )


def _check(bundles: Sequence[Bundle], methods: Sequence[str], seeds: Sequence[int]) -> None:
    datasets = [bundle.dataset for bundle in bundles]
    for name, values in (("bundles", datasets), ("methods", methods), ("seeds", seeds)):
        if not values:
            raise ValueError(f"{name} must not be empty")
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must differ from each other, got {', '.join(map(str, values))}")
    if wrong := [s for s in seeds if isinstance(s, bool) or not isinstance(s, int) or s < 0]:
        raise ValueError(f"seeds must be whole numbers from 0, got {wrong[0]!r}")


def _of_one(
    bundle: Bundle,
    output_dir: Path,
    studies: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    search: Mapping[str, Sequence[float]] | None,
    report_points: int,
) -> Iterator[Task]:
    dataset = bundle.dataset
    root = output_dir / dataset
    prepare = Task(
        name=f"{dataset}/prepare",
        kind="prepare",
        dataset=dataset,
        needs=(),
        folder=str(root),
        files=bundle.training_files(_own_method(bundle)),
        overrides=_overrides(bundle, output_dir=str(root)),
    )
    yield prepare
    overlays: dict[str, Task] = {}
    for method in methods if search else ():
        *trials, choose = _search(bundle, output_dir, prepare.name, method, seeds[0], search or {})
        yield from [*trials, choose]
        overlays[method] = choose
    evaluations = []
    for study in studies:
        for method in methods:
            for seed in seeds:
                train, evaluate = _run(
                    bundle, root, prepare.name, overlays.get(method), study=study, method=method, seed=seed
                )
                yield from (train, evaluate)
                evaluations.append(evaluate)
    table = _table_of(dataset, root / "tables", evaluations)
    yield table
    report = {"results": table.options["results"], "max_points": report_points}
    yield Task(f"{dataset}/report", "report", dataset, table.needs, str(root), options=report)


def _own_method(bundle: Bundle) -> str:
    return str(merge([str(bundle.folder / "configs" / "train.yaml")], {}).get("method"))


def _overrides(bundle: Bundle, **more: Any) -> dict[str, Any]:
    return {**(bundle.overrides or {}), **more}


def _run(
    bundle: Bundle, root: Path, prepare: str, choose: Task | None, *, study: str, method: str, seed: int
) -> tuple[Task, Task]:
    dataset, run = bundle.dataset, f"{study}-{method}-{seed}"
    folder = str(root / run)
    found = (choose.options["overlay"],) if choose else ()
    overrides = _overrides(bundle, output_dir=str(root), run_dir=folder, study=study, seed=seed)
    needs = (prepare, choose.name) if choose else (prepare,)
    what = {"study": study, "method": method, "seed": seed}
    train = Task(
        name=f"{dataset}/{run}/train",
        kind="train",
        dataset=dataset,
        needs=needs,
        folder=folder,
        run=what,
        files=(*bundle.training_files(method), *found),
        overrides=overrides,
    )
    evaluate = Task(
        name=f"{dataset}/{run}/evaluate",
        kind="evaluate",
        dataset=dataset,
        needs=(train.name,),
        folder=folder,
        run=what,
        files=(*bundle.evaluation_files(method), *found),
        overrides=overrides,
    )
    return train, evaluate


def _search(
    bundle: Bundle,
    output_dir: Path,
    prepare: str,
    method: str,
    seed: int,
    search: Mapping[str, Sequence[float]],
) -> Iterator[Task]:
    dataset = bundle.dataset
    files = bundle.training_files(method)
    config = merge(files, bundle.overrides or {})
    grid.check_read(search, config)
    stages = grid.classifier_stages(config)
    root = output_dir / "grid" / f"{dataset}-{method}"
    trials: dict[str, dict[str, float]] = {}
    for point in grid.points(search):
        label = grid.label(point)
        trials[f"{dataset}/grid-{method}/{label}"] = point
        yield Task(
            name=f"{dataset}/grid-{method}/{label}",
            kind="trial",
            dataset=dataset,
            needs=(prepare,),
            folder=str(root / label),
            run={"study": GRID_STUDY, "method": method, "seed": seed},
            files=files,
            overrides=_overrides(
                bundle,
                **point,
                **stages,
                output_dir=str(root),
                run_dir=str(root / label),
                study=GRID_STUDY,
                seed=seed,
            ),
        )
    yield Task(
        name=f"{dataset}/grid-{method}/choose",
        kind="choose",
        dataset=dataset,
        needs=tuple(trials),
        folder=str(root),
        options={"trials": trials, "overlay": str(output_dir / "grid" / f"{dataset}-{method}.yaml")},
    )
