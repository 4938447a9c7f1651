"""The matrix as tasks: prepare, (grid search,) train, evaluate, table and report, each with what it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_sf.benchmark import grid
from monai_sf.benchmark.configs import Bundle, merge
from monai_sf.results.format import NOT_REPORTED

#: The study whose validation accuracy decides the grid search.
GRID_STUDY = "iid"

#: Files of a kind of task without which it is not complete.
_OUTPUTS = {
    "train": ("training.json", "best.pt"),
    "trial": ("training.json", "best.pt"),
    "evaluate": ("results/run.json",),
    "table": ("table.csv", "table.txt", "table.html"),
    "report": ("report.html",),
}


@dataclass(frozen=True)
class Task:
    """One step of the benchmark, which runs in a process of its own.

    Attributes:
        name: unique; ``<dataset>/<run>/<kind>`` or ``<dataset>/<kind>``. Its log and its manifest are named
            after it.
        kind: prepare, trial, choose, train, evaluate, table or report.
        dataset: name of its dataset.
        needs: names of the tasks that must be complete before.
        folder: where its outputs go.
        run: the run that it is a step of: ``study``, ``method``, ``seed``; empty if there is none.
        files: config files to merge; empty for tasks that run no config.
        overrides: keys and values that override the files.
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
        """Return the files without which the task is not complete."""
        if self.kind == "choose":
            return [Path(self.options["overlay"]), Path(self.options["overlay"]).with_suffix(".csv")]
        return [Path(self.folder) / name for name in _OUTPUTS.get(self.kind, ())]

    def expected(self) -> list[list[Any]]:
        """Return the runs that a table should hold; a study without data is no gap."""
        runs = zip(self.options["results"], self.options["expected"], strict=True)
        return [list(run) for name, run in runs if name not in self.options.get("unavailable", ())]

    def belongings(self) -> list[Path]:
        """Return what is set aside before the task is run anew."""
        folder = Path(self.folder)
        if self.kind in ("train", "trial"):
            return [folder]
        if self.kind == "evaluate":
            return [folder / name for name in ("results", *NOT_REPORTED, "evaluate.config.json")]
        return []


def studies_of(bundles: Sequence[Bundle], wanted: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the studies to run, by dataset: those of ``wanted`` that it has, or all that it has.

    Raises:
        ValueError: no dataset has a study, or a dataset is left without one; lists the existing ones.
    """
    known = {b.dataset: list(b.studies) for b in bundles}
    if isinstance(wanted, (str, Mapping)):
        raise ValueError(
            f"studies must be names of studies to run, got {wanted!r}; what a study is stands in the key "
            "studies of train.yaml"
        )
    if wanted is not None and not wanted:
        raise ValueError("studies must name at least one study")
    if unknown := [n for n in wanted or () if not any(n in names or not names for names in known.values())]:
        listed = "; ".join(f"{dataset}: {', '.join(names)}" for dataset, names in known.items())
        raise ValueError(f"unknown study {', '.join(map(repr, unknown))}; there are {listed}")
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
    search: Mapping[str, Sequence[float]] | None,
    report_points: int,
    csfs: Sequence[str] | None,
) -> list[Task]:
    """Return all tasks of the matrix, each after those that it needs.

    The arguments are those of :func:`monai_sf.benchmark.run_benchmark`, with the studies of each dataset, and
    the values to try of each config key, or None to search none.

    Raises:
        ValueError: a method or seed is not usable, or two bundles are of one dataset.
    """
    datasets = [bundle.dataset for bundle in bundles]
    for name, values in (("bundles", datasets), ("methods", methods), ("seeds", seeds)):
        if not values:
            raise ValueError(f"{name} must not be empty")
        if len(set(values)) < len(values):
            raise ValueError(f"{name} must differ from each other, got {', '.join(map(str, values))}")
    if wrong := [s for s in seeds if isinstance(s, bool) or not isinstance(s, int) or s < 0]:
        raise ValueError(f"seeds must be whole numbers from 0, got {', '.join(map(repr, wrong))}")
    kinds = {bundle.dataset: bundle.studies for bundle in bundles}
    root, tasks, evaluations = Path(output_dir), [], []
    for bundle in bundles:
        matrix = list(_matrix(bundle, root, studies[bundle.dataset], methods, seeds, search))
        own = [task for task in matrix if task.kind == "evaluate"]
        table = _table(bundle.dataset, root / bundle.dataset / "tables", own, kinds, csfs)
        report = {"results": table.options["results"], "max_points": report_points, "csfs": csfs}
        name, folder = f"{bundle.dataset}/report", str(root / bundle.dataset)
        tasks += [*matrix, table, Task(name, "report", bundle.dataset, table.needs, folder, options=report)]
        evaluations += own
    if len(bundles) > 1:
        tasks.append(_table("all", root / "tables", evaluations, kinds, csfs))
    return tasks


def _table(
    dataset: str,
    folder: Path,
    evaluations: Sequence[Task],
    kinds: Mapping[str, Mapping[str, str]],
    csfs: Sequence[str] | None,
) -> Task:
    options: dict[str, Any] = {
        "csfs": csfs,
        "results": {task.name: str(Path(task.folder) / "results") for task in evaluations},
        "expected": [
            [task.dataset, *task.run.values(), kinds[task.dataset].get(task.run["study"], "")]
            for task in evaluations
        ],
    }
    needs = tuple(task.name for task in evaluations)
    return Task(f"{dataset}/table", "table", dataset, needs, str(folder), options=options)


def _matrix(
    bundle: Bundle,
    output_dir: Path,
    studies: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    search: Mapping[str, Sequence[float]] | None,
) -> Iterator[Task]:
    """Yield the preparation of a dataset, its grid search, and its trainings and evaluations."""
    dataset, root = bundle.dataset, output_dir / bundle.dataset
    if bundle.audits is not None:  # nothing is trained, so that there is nothing to repeat or to search
        methods, seeds, search = (bundle.audits,), seeds[:1], None
        method = bundle.audits
    else:
        method = str(merge([str(bundle.folder / "configs" / "train.yaml")], {}).get("method"))
    prepare = Task(
        name=f"{dataset}/prepare",
        kind="prepare",
        dataset=dataset,
        needs=(),
        folder=str(root),
        files=bundle.files(method),
        overrides={**bundle.overrides_in_training(method), "output_dir": str(root)},
    )
    yield prepare
    trained_with = {method: bundle.overrides_in_training(method) for method in methods}
    needs: dict[str, tuple[str, ...]] = dict.fromkeys(methods, (prepare.name,))
    chosen: dict[str, tuple[str, ...]] = dict.fromkeys(methods, ())
    for method in methods if search else ():
        *trials, choose = _search(bundle, output_dir, prepare.name, method, seeds[0], search or {})
        yield from [*trials, choose]
        needs[method] += (choose.name,)
        chosen[method] = (choose.options["overlay"],)
    for study in studies:
        for method in methods:
            for seed in seeds:
                run = f"{study}-{method}-{seed}"
                shared: dict[str, Any] = {
                    "dataset": dataset,
                    "folder": str(root / run),
                    "run": {"study": study, "method": method, "seed": seed},
                }
                own = _own_keys(root, run, study, seed)
                train, evaluate = (f"{dataset}/{run}/{kind}" for kind in ("train", "evaluate"))
                needed, more = prepare.name, list[str]()
                if bundle.audits is None:
                    files, keys = bundle.files(method) + chosen[method], {**trained_with[method], **own}
                    yield Task(train, "train", needs=needs[method], files=files, overrides=keys, **shared)
                    needed, more = train, ["evaluate.yaml"]
                files, keys = bundle.files(method, *more) + chosen[method], {**bundle.overrides, **own}
                yield Task(evaluate, "evaluate", needs=(needed,), files=files, overrides=keys, **shared)


def _own_keys(root: Path, run: str, study: str, seed: int) -> dict[str, Any]:
    return {"output_dir": str(root), "run_dir": str(root / run), "study": study, "seed": seed}


def _search(
    bundle: Bundle,
    output_dir: Path,
    prepare: str,
    method: str,
    seed: int,
    search: Mapping[str, Sequence[float]],
) -> Iterator[Task]:
    """Yield the trials of a method's grid search, and the choice among them."""
    dataset, root = bundle.dataset, output_dir / "grid" / f"{bundle.dataset}-{method}"
    files, overrides = bundle.files(method), bundle.overrides_in_training(method)
    config = merge(files, overrides)
    grid.check_read(search, config)
    stages = grid.classifier_stages(config)
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
            overrides={**overrides, **_own_keys(root, label, GRID_STUDY, seed), **point, **stages},
        )
    yield Task(
        name=f"{dataset}/grid-{method}/choose",
        kind="choose",
        dataset=dataset,
        needs=tuple(trials),
        folder=str(root),
        options={"trials": trials, "overlay": f"{root}.yaml"},
    )
