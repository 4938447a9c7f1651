"""Tidy cells from folders with results: one pass over each test set gives every number of the tables.

One run's folder is open at a time, and its arrays are memory maps. Kept per test set and score are six
values, a curve of 101 points and, for the significance, one value per resample.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.files import read_json
from monai_sf.metrics.curve import Levels, levels_of
from monai_sf.metrics.paired import group_counts, resampled_values
from monai_sf.results import Results, ResultsError, TestSet, load_results
from monai_sf.tables.cases import CasesOfRun, CasesOfSet, Known, groups_of_others
from monai_sf.tables.defaults import DEFAULT_RISK, RESAMPLES
from monai_sf.tables.ensembles import NoEnsemble, ensemble_csfs, ensembles_of, member_of
from monai_sf.tables.found_runs import chosen_csfs, find_runs
from monai_sf.tables.judge import Detection, available_csfs, failure_detection, unavailable_csfs
from monai_sf.tables.measures import Measure, measure, measures
from monai_sf.vocabulary.ids import Objects
from monai_sf.vocabulary.shifts import NEW_CLASS

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]

#: Shares of trusted cases at which the stored curves are read.
COVERAGES: Float = np.linspace(0, 1, 101)


class RunKey(NamedTuple):
    """The identity of a run.

    Attributes:
        dataset: its name.
        study: the name of the train/test question.
        method: how the network was trained.
        seed: of the training.

    Examples:
        >>> from monai_sf.tables import RunKey
        >>> str(RunKey("dermoscopy", "mskcc", "confidnet", seed=1))
        'dermoscopy/mskcc/confidnet/seed 1'
    """

    dataset: str
    study: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.study}/{self.method}/seed {self.seed}"


def records(cells: pd.DataFrame) -> Iterator[Any]:
    """Return the rows as named tuples."""
    return iter(cells.itertuples())


class ScoreKey(NamedTuple):
    """The identity of one score of one run on one test set; ``seed`` is the smallest of an ensemble's."""

    dataset: str
    study: str
    test_set: str
    csf: str
    method: str
    seed: int


@dataclass(frozen=True, eq=False)
class Judged:
    """One score of one run on one test set, the source of all its numbers in tables and reports.

    Cases of new classes are all failures, which no score can rank. So the curve and metrics of a test set of
    that kind are those of its cases together with the run's ordinary (iid) ones; failures are the errors
    among the ordinary cases and all new ones (Jaeger et al., "A Call to Reflect on Evaluation Practices for
    Failure Detection in Image Classification", ICLR 2023).

    Attributes:
        key: its identity.
        test_set: the one it was judged on.
        detection: confidence, prediction, error and failure of every case of the test set.
        ranked: the same of the cases that curve and metrics are computed on; none if these are undefined.
        cases: those that curve and metrics are computed on.
        levels: their cumulative counts; None without any.
        undefined: why there are no levels; empty if there are.
        members: the seeds of an ensemble; empty for a single run.
    """

    key: ScoreKey
    test_set: TestSet
    detection: Detection
    ranked: Detection
    cases: CasesOfSet
    levels: Levels | None
    undefined: str = ""
    members: tuple[int, ...] = ()

    @property
    def curve(self) -> tuple[Float, Float]:
        """Return coverages and selective risks; at coverage 0 the risk is that of the first level."""
        assert self.levels is not None
        kept, wrong = self.levels
        risks = wrong / kept
        return np.concatenate([[0.0], kept / kept[-1]]), np.concatenate([risks[:1], risks])

    def allows(self, entry: Measure) -> bool:
        """Return whether a metric is defined for the errors: some are for right and wrong answers only."""
        return not entry.needs_binary or bool(np.isin(self.ranked.error, (0.0, 1.0)).all())

    def cells(self, data_kind: str, risk: float = DEFAULT_RISK) -> list[dict[str, Any]]:
        """Return one row per metric, with the columns of :attr:`Collection.cells`."""
        key, test_set = self.key, self.test_set
        about = {
            **{"dataset": key.dataset, "study": key.study, "kind": test_set.kind, "test_set": key.test_set},
            **{"corruption": test_set.corruption or "", "severity": test_set.severity},
            **{"csf": key.csf, "method": key.method, "seed": key.seed},
            "members": " ".join(map(str, self.members)),
        }
        sizes = {
            "cases": len(self.test_set),
            "errors": int(self.detection.failed.sum()),
            "fingerprint": self.cases.fingerprint,
            "group_fingerprint": self.cases.group_fingerprint,
            "data_kind": data_kind,
        }
        rows = []
        for name, entry in measures(risk).items():
            value, why = float("nan"), ""
            if self.levels is None:
                why = self.undefined
            elif name == "accuracy" and test_set.kind == NEW_CLASS:
                why = "every answer on new classes is wrong"
            elif not self.allows(entry):
                why = "defined for errors of 0 and 1 only"
            elif np.isnan(value := float(entry.of_levels(self.levels))):
                why = "only failures" if self.ranked.failed.any() else "no failure"
            rows.append({**about, "metric": name, "value": value, "undefined": why, **sizes})
        return rows


_NOTHING = Detection(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))


def judge_run(
    results: Results,
    cases: CasesOfRun,
    csfs: Sequence[str],
    test_sets: Iterable[TestSet],
    undefined: dict[str, str],
) -> Iterator[Judged]:
    """Judge scores of a run, one test set after the other.

    A score that is undefined for some case is left out of that test set; the others are there.

    Args:
        results: the run's results.
        cases: of the run.
        csfs: names of scores of the run, see :func:`monai_sf.tables.available_csfs`.
        test_sets: some of the run's test sets.
        undefined: gets the reasons by the names of the scores that are left out of a test set.

    Raises:
        ResultsError: two test sets have the same corruption and severity.
    """
    places = [(s.corruption, s.severity) for s in results.test_sets.values() if s.corruption]
    if len(set(places)) < len(places):
        raise ResultsError("two of its test sets have the same corruption and severity")
    run = run_key(results.run)
    members = tuple(results.run.get("members", ()))
    for test_set in test_sets:
        beside, of_cases = cases.beside(test_set), cases.of(test_set)
        why = "" if len(test_set) else "no case"
        if test_set.kind == NEW_CLASS and beside is None:
            why = why or "no ordinary (iid) case, and every case of a new class is a failure"
        for csf in csfs:
            found = ranked = _NOTHING
            try:
                if len(test_set):
                    found = failure_detection(results, test_set.name, csf)
                if not why:
                    ranked = (
                        found
                        if beside is None
                        else _joined(found, failure_detection(results, beside.name, csf))
                    )
            except ResultsError as error:
                undefined.setdefault(csf, str(error))
                continue
            levels = None if why else levels_of(ranked.confidence, ranked.error)
            key = ScoreKey(run.dataset, run.study, test_set.name, csf, run.method, run.seed)
            yield Judged(key, test_set, found, ranked, of_cases, levels, why, members)


def _joined(first: Detection, second: Detection) -> Detection:
    """Return the outputs on the cases of two test sets with classes."""
    assert first.prediction is not None
    assert second.prediction is not None
    return Detection(
        np.concatenate([first.confidence, second.confidence]),
        np.concatenate([first.prediction, second.prediction]),
        np.concatenate([first.error, second.error]),
        np.concatenate([first.failed, second.failed]),
    )


def run_key(run: Mapping[str, Any]) -> RunKey:
    """Return the identity of a run."""
    return RunKey(str(run["dataset"]), str(run["study"]), str(run["method"]), run["seed"])


@dataclass(frozen=True)
class Collection:
    """The numbers of a collection of runs.

    Attributes:
        cells: one row per run, test set, score and metric, with the columns ``dataset``, ``study``, ``kind``
            (iid, corruption, acquisition, manifestation, new_class), ``test_set``, ``corruption`` (empty for
            clean images), ``severity`` (0 for clean images), ``csf``, ``method``, ``seed`` (for an ensemble
            the smallest of its members'), ``members`` (the seeds of an ensemble, such as "0 1 2"; empty for a
            single run), ``metric``, ``value`` (as a share, not in per cent; NaN if undefined), ``undefined``
            (why), ``cases``, ``errors`` (numbers of cases and failures of the test set), ``fingerprint``
            (equal if the metric is computed on the same cases and labels), ``group_fingerprint`` (equal if
            they belong to the same groups, too), ``data_kind``. Metrics of new classes are computed on their
            cases together with the ordinary ones, since no score can rank failures alone.
        measure: the metric that is resampled and shown in tables.
        runs: each run and its folder; None for one in memory.
        curves: selective risk at the coverages 0, 0.01, ..., 1 (101,).
        resampled: value of ``measure`` in every resample of groups (R,); missing without resamples, or where
            a test set has a single group.
        unfinished: folders of unfinished evaluations.
        left_out: folders of results that cannot be read, and why.
        versions: software versions in the words of run.json, and the number of runs with them.
        n_resamples: number of resamples.
        notes: remarks on the groups, without any id, and on scores that are left out.
        roots: the folders that were searched for runs.
        subgroups: rows of the file ``groups.csv`` of :func:`monai_sf.tables.write_tables`, once they are
            added.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import Collection, collect
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> run = Results.from_arrays(logits, [0, 0, 1, 0, 0, 1, 1, 0], dataset="skin")
        >>> run.save("runs/seed_0")
        >>> found: Collection = collect(["runs"], csfs=["MSR"], n_resamples=0)
        >>> [str(key) for key in found.runs]
        ['skin/iid/classifier/seed 0']
        >>> found.cells.set_index("metric")["value"].round(3).to_dict()
        {'aurc': 0.042, 'eaurc': 0.008, 'augrc': 0.039, 'auroc_f': 0.958,
         'accuracy': 0.75, 'coverage_at_risk': 0.625}
    """

    cells: pd.DataFrame
    measure: Measure
    runs: Mapping[RunKey, Path | None]
    curves: Mapping[ScoreKey, Float] = field(default_factory=dict)
    resampled: Mapping[ScoreKey, Float] = field(default_factory=dict)
    unfinished: tuple[Path, ...] = ()
    left_out: Mapping[Path, Exception] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    n_resamples: int = 0
    notes: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    subgroups: pd.DataFrame = field(default_factory=pd.DataFrame)


def collect(
    paths: Sequence[str | os.PathLike[str]],
    *,
    metric: str = "aurc",
    risk: float = DEFAULT_RISK,
    csfs: Sequence[str] | None = None,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Collection:
    """Judge every score of every run on every test set.

    Args:
        paths: folders of runs, or folders that hold them at any depth.
        metric: the metric to resample for the significance; ``aurc``, ``eaurc``, ``augrc``,
            ``auroc_f``, ``accuracy`` or ``coverage_at_risk``. The cells
            hold all of them.
        risk: for the metric ``coverage_at_risk``.
        csfs: names of the scores to judge, or ``["all"]``; None for
            :func:`monai_sf.scores.usual_csfs` and the runs' own.
        n_resamples: number of resamples of the groups; 0 for no significance tests.
        seed: of the resampling.

    Raises:
        FileNotFoundError: a path is not a folder, or none of them holds finished results.
        OSError: a folder cannot be read.
        ResultsError: all folders are damaged (a single damaged one is left out and noted with the reason), or
            two folders hold the same run.
        ValueError: unknown metric or score, or a risk out of range.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import collect
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> run = Results.from_arrays(logits, [0, 0, 1, 0, 0, 1, 1, 0], dataset="skin")
        >>> run.save("runs/seed_0")
        >>> found = collect(["runs"], csfs=["MSR", "PE"], n_resamples=100)
        >>> aurc = found.cells.query("metric == 'aurc'")
        >>> aurc[["csf", "test_set", "cases", "errors"]].values.tolist()
        [['MSR', 'iid', 8, 2], ['PE', 'iid', 8, 2]]
    """
    shown = measure(metric, risk)
    if n_resamples < 0:
        raise ValueError(f"n_resamples must be 0 or more, got {n_resamples}")
    csfs = chosen_csfs(paths, csfs)
    folders, unfinished, others = find_runs(paths)
    if not folders:
        unreported = "training, validation or calibration cases, which are not reported"
        only = f"; {len(others)} of {unreported}" if others else ""
        waiting = f"; not finished: {', '.join(map(str, unfinished))}" if unfinished else ""
        raise FileNotFoundError(
            f"no finished results (run.json) at or below {', '.join(map(str, paths))}{only}{waiting}: "
            "run the evaluation first"
        )
    runs: dict[RunKey, Path] = {}
    left_out: dict[Path, Exception] = {}
    for folder in folders:
        try:
            key = _key_of(folder)
        except (ResultsError, OSError) as error:
            left_out[folder] = error
            continue
        if key in runs:
            raise ResultsError(
                f"the run {key} occurs twice, in {runs[key]} and {folder}: leave one of them out"
            )
        runs[key] = folder
    runs = dict(sorted(runs.items()))
    numbers = _Numbers(shown, risk, n_resamples, seed)
    versions: Counter[str] = Counter()
    notes: dict[str, None] = {}
    known = groups_of_others((key.dataset, folder) for key, folder in runs.items())
    number = 0
    for (dataset, study, method), alike in groupby(runs.items(), lambda run: run[0][:3]):
        wanted = [name for name in ensemble_csfs(method) if name in csfs]
        members: list[Results] = []
        for key, folder in alike:
            number += 1
            logger.info("%d of %d runs: %s", number, len(runs), key)
            try:
                results = load_results(folder)
                own = member_of(results)
                remarks = numbers.add(results, csfs, known.get(dataset, {}))
            except (ValueError, OSError) as error:  # ResultsError, and errors of a metric
                left_out[folder] = error
                continue
            if wanted:
                members.append(own)
            versions[_versions(results.run)] += 1
            notes |= dict.fromkeys(f"{dataset}: {text}" for text in remarks.groups)
            notes |= dict.fromkeys(
                f"{key}: {name} is left out: {why}" for name, why in remarks.undefined.items()
            )
        ensembles, missing = ensembles_of(members)
        for ensemble in ensembles:
            logger.info("ensemble of %d runs: %s/%s/%s", len(ensemble.run["members"]), dataset, study, method)
            try:
                left = numbers.add(ensemble, csfs, known.get(dataset, {})).undefined
            except ValueError as error:
                missing.append(NoEnsemble(dataset, study, method, str(error)))
                continue
            notes |= dict.fromkeys(
                f"{dataset}: {study}, {method}: {name} is left out: {why}" for name, why in left.items()
            )
        notes |= dict.fromkeys(f"{no.dataset}: {no.text}" for no in missing)
    for folder, problem in left_out.items():
        logger.warning("left out: %s: %s", folder, problem)
    runs = {key: folder for key, folder in runs.items() if folder not in left_out}
    if not runs:
        reasons = "\n".join(f"{folder}: {problem}" for folder, problem in left_out.items())
        raise ResultsError(f"no results can be read:\n{reasons}")
    if not numbers.rows:
        raise ResultsError(f"no run has the arrays or methods of the scores {', '.join(csfs) or '(none)'}")
    roots = tuple(Path(path).resolve() for path in paths)
    return Collection(
        pd.DataFrame(numbers.rows), shown, runs, numbers.curves, numbers.resampled, tuple(unfinished),
        left_out, versions, n_resamples, tuple(notes), roots,
    )  # fmt: skip


class _Remarks(NamedTuple):
    """Remarks on the groups of a run, and why scores are left out, by name."""

    groups: list[str]
    undefined: dict[str, str]


@dataclass
class _Numbers:
    """What is kept of runs that were judged; the arguments are those of :func:`collect`."""

    shown: Measure
    risk: float
    n_resamples: int
    seed: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[ScoreKey, Float] = field(default_factory=dict)
    resampled: dict[ScoreKey, Float] = field(default_factory=dict)

    def add(self, results: Results, csfs: Sequence[str], known: Known) -> _Remarks:
        """Judge a run; on an error nothing of it is kept."""
        rows: list[dict[str, Any]] = []
        curves: dict[ScoreKey, Float] = {}
        resampled: dict[ScoreKey, Float] = {}
        drawn: tuple[Objects, NDArray[np.uint8]] | None = None
        cases = CasesOfRun(results, known)
        names = [name for name in available_csfs(results) if name in csfs]
        undefined = {name: why for name, why in unavailable_csfs(results).items() if name in csfs}
        for judged in judge_run(results, cases, names, results.test_sets.values(), undefined):
            rows += judged.cells(str(results.run["data_kind"]), self.risk)
            if judged.levels is None:
                continue
            curves[judged.key] = np.interp(COVERAGES, *judged.curve)
            ids, of_case = judged.cases.ids, judged.cases.of_case
            if not self.n_resamples or len(ids) < 2 or not judged.allows(self.shown):
                continue
            if drawn is None or not np.array_equal(drawn[0], ids):
                drawn = ids, group_counts(ids.tolist(), self.n_resamples, self.seed)
            found = judged.ranked
            resampled[judged.key] = resampled_values(
                self.shown.of_levels, found.confidence, found.error, drawn[1], of_case
            )
        self.rows += rows
        self.curves |= curves
        self.resampled |= resampled
        return _Remarks(cases.notes, undefined)


def _versions(run: Mapping[str, Any]) -> str:
    named = run.get("versions")
    there = named if isinstance(named, Mapping) else {}
    known = [f"{name} {there[name]}" for name in ("monai-sf", "monai", "torch") if name in there]
    return ", ".join(known) or "unknown"


def _key_of(folder: Path) -> RunKey:
    try:
        key = run_key(read_json(folder / "run.json", "run the evaluation again"))
    except (ValueError, KeyError, RecursionError):
        load_results(folder)  # says what is wrong with it
        raise
    if type(key.seed) is not int:
        raise ResultsError(f"{folder / 'run.json'}: seed must be an integer, got {key.seed!r}")
    return key
