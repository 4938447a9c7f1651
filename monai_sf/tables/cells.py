"""From folders with results to tidy cells: one pass over each test set gives every number of the tables.

One run's folder is open at a time, its arrays are memory maps, and what stays of a test set and a score are
six values, a curve of 101 points and, for the significance, one value a resample.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.files import read_json
from monai_sf.metrics.curve import Levels, levels_of
from monai_sf.metrics.paired import group_counts, resampled_values
from monai_sf.results import Results, ResultsError, TestSet, load_results
from monai_sf.results.format import SET_ASIDE, VALIDATION
from monai_sf.scores import CSFS, usual_csfs
from monai_sf.tables.cases import CasesOfRun, groups_of_others
from monai_sf.tables.judge import available_csfs, failure_detection
from monai_sf.tables.measures import DEFAULT_RISK, Measure, measure, measures

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]

#: Shares of trusted cases at which the stored curves are read.
COVERAGES: Float = np.linspace(0, 1, 101)
RESAMPLES = 2000


class RunKey(NamedTuple):
    """What tells one run from another."""

    dataset: str
    study: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.study}/{self.method}/seed {self.seed}"


def records(cells: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples."""
    yield from cells.itertuples()


class Judged(NamedTuple):
    """One score of one run on one test set."""

    dataset: str
    study: str
    test_set: str
    csf: str
    method: str
    seed: int


@dataclass(frozen=True)
class Collection:
    """The numbers of a collection of runs.

    Attributes:
        cells: one row a run, test set, score and metric, with the columns ``dataset``, ``study``, ``kind``
            (iid, corruption, acquisition, manifestation), ``test_set``, ``corruption`` (empty for clean
            images), ``severity`` (0 for clean images), ``csf``, ``method``, ``seed``, ``metric``, ``value``
            (as a share, not in per cent; NaN where not defined), ``undefined`` (why), ``cases``, ``errors``
            (counts), ``fingerprint`` (equal for test sets of the same cases and labels),
            ``group_fingerprint`` (equal where they belong to the same groups too), ``data_kind``.
        curves: selective risk at :data:`COVERAGES` (101,).
        resampled: value of ``measure`` in every resample of groups (R,); empty where that was not asked for
            or a test set has a single group.
        measure: the metric that was resampled, and that tables show.
        runs: each run and its folder.
        unfinished: folders of evaluations that have not finished.
        left_out: folders of results that cannot be read, and why.
        versions: of the software, as a run names them, and how many runs do.
        n_resamples: how many resamples were asked for.
        notes: what is to be said about the groups; no id.
        roots: the folders in which runs were looked for.
    """

    cells: pd.DataFrame
    curves: dict[Judged, Float]
    resampled: dict[Judged, Float]
    measure: Measure
    runs: dict[RunKey, Path]
    unfinished: tuple[Path, ...] = field(default=())
    left_out: Mapping[Path, Exception] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    n_resamples: int = 0
    notes: tuple[str, ...] = ()
    roots: tuple[Path, ...] = field(default=())


def find_runs(paths: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """Folders with results at or below the given ones.

    Links are followed. Those of validation cases, which an evaluation writes beside its results, are not to
    be reported and are left out, as are hidden folders and those that a benchmark has set aside.

    Returns:
        Folders that hold run.json, and those of evaluations that have not finished; each sorted.

    Raises:
        FileNotFoundError: a path is no folder, or none of them holds finished results.
        OSError: a folder cannot be read.
    """
    seen: set[Path] = set()
    finished: set[Path] = set()
    unfinished: set[Path] = set()
    for path in map(Path, paths):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder: give folders of runs, or folders that hold them")
        for folder, below, files in os.walk(path, onerror=_refuse, followlinks=True):
            place = Path(folder).resolve()
            known = place in seen  # by a link, which may lead back to a folder above it
            seen.add(place)
            below[:] = [name for name in below if not (known or name.startswith(".") or name == SET_ASIDE)]
            if "run.json" in files:
                finished.add(place)
                below.clear()
            elif "cases.csv" in files and place.name != "validation":
                unfinished.add(place)
                below.clear()
    kept = sorted(folder for folder in finished if not _is_validation(folder))
    if not kept:
        only = f"; {len(finished)} of validation cases, which are not to be reported" if finished else ""
        waiting = f"; not finished: {', '.join(map(str, sorted(unfinished)))}" if unfinished else ""
        raise FileNotFoundError(
            f"no finished results (run.json) at or below {', '.join(map(str, paths))}{only}{waiting}: "
            "run the evaluation first"
        )
    return kept, sorted(unfinished)


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
        metric: the metric to resample for the significance; one of :func:`~.measures.measures`. The cells
            hold all of them.
        risk: for the metric ``coverage_at_risk``.
        csfs: names of the scores to judge; None for :func:`monai_sf.scores.usual_csfs`.
        n_resamples: how many times to resample the groups; 0 for none, then there is no significance.
        seed: of the resampling.

    Raises:
        FileNotFoundError: see :func:`find_runs`.
        ResultsError: all folders are damaged (one that is among others is left out, and named with the
            reason), or two folders hold the same run.
        ValueError: unknown metric or score, or a risk out of range.
    """
    shown = measure(metric, risk)
    csfs = usual_csfs() if csfs is None else csfs
    unknown = [name for name in csfs if name not in CSFS]
    if unknown:
        raise ValueError(f"csfs must be among {', '.join(CSFS)}, got {', '.join(unknown)}")
    if n_resamples < 0:
        raise ValueError(f"n_resamples must be 0 or more, got {n_resamples}")
    folders, unfinished = find_runs(paths)
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
    rows: list[dict[str, Any]] = []
    curves: dict[Judged, Float] = {}
    resampled: dict[Judged, Float] = {}
    versions: Counter[str] = Counter()
    notes: dict[str, None] = {}
    known = groups_of_others((key.dataset, folder) for key, folder in runs.items())
    for number, (key, folder) in enumerate(runs.items(), 1):
        logger.info("%d of %d runs: %s", number, len(runs), key)
        own: list[dict[str, Any]] = []
        own_curves: dict[Judged, Float] = {}
        own_resampled: dict[Judged, Float] = {}
        try:
            results = load_results(folder)
            cases = CasesOfRun(results, known.get(key.dataset, {}))
            for at, found, levels, draws in _judge(results, cases, key, csfs, n_resamples, seed):
                own += _rows(at, found, levels, risk, str(results.run["data_kind"]))
                if levels is not None:
                    own_curves[at] = np.interp(
                        COVERAGES, *_points(levels.kept / levels.kept[-1], levels.wrong / levels.kept)
                    )
                if draws is not None:
                    own_resampled[at] = resampled_values(
                        shown.of_levels, found.confidence, found.error, *draws
                    )
        except (ValueError, OSError) as error:  # ResultsError, and what a metric cannot be computed of
            left_out[folder] = error
            continue
        versions[_versions(results.run)] += 1
        notes |= dict.fromkeys(f"{key.dataset}: {text}" for text in cases.notes)
        rows += own
        curves |= own_curves
        resampled |= own_resampled
    for folder, problem in left_out.items():
        logger.warning("left out: %s: %s", folder, problem)
    runs = {key: folder for key, folder in runs.items() if folder not in left_out}
    if not runs:
        reasons = "\n".join(f"{folder}: {problem}" for folder, problem in left_out.items())
        raise ResultsError(f"no results can be read:\n{reasons}")
    return Collection(
        pd.DataFrame(rows),
        curves,
        resampled,
        shown,
        runs,
        tuple(unfinished),
        left_out,
        versions,
        n_resamples,
        tuple(notes),
        tuple(Path(path).resolve() for path in paths),
    )


class _Found(NamedTuple):
    test_set: TestSet
    confidence: Float
    error: Float
    fingerprint: str
    group_fingerprint: str


_Draws = tuple[NDArray[np.uint8], NDArray[np.int64]]


def _judge(
    results: Results, cases: CasesOfRun, key: RunKey, csfs: Sequence[str], n_resamples: int, seed: int
) -> Iterator[tuple[Judged, _Found, Levels | None, _Draws | None]]:
    """Each test set and score of a run, with its cumulated counts and the draws of its cases' groups."""
    names = [name for name in available_csfs(results) if name in csfs]
    places = [(s.kind, s.corruption, s.severity) for s in results.test_sets.values() if s.corruption]
    if len(set(places)) < len(places):
        raise ResultsError("two of its test sets are of the same corruption and severity")
    drawn: tuple[list[str], NDArray[np.uint8]] | None = None
    for test_set in results.test_sets.values():
        of_set = cases.of(test_set)
        groups = of_set.ids.tolist()
        if n_resamples and len(groups) > 1 and (drawn is None or drawn[0] != groups):
            drawn = groups, group_counts(groups, n_resamples, seed)
        draws = (drawn[1], of_set.of_case) if drawn is not None and len(groups) > 1 else None
        prints = of_set.fingerprint, of_set.group_fingerprint
        for name in names:
            at = Judged(key.dataset, key.study, test_set.name, name, key.method, key.seed)
            if not len(test_set):
                yield at, _Found(test_set, np.zeros(0), np.zeros(0), *prints), None, None
                continue
            confidence, _, error = failure_detection(results, test_set.name, name)
            found = _Found(test_set, confidence, error, *prints)
            yield at, found, levels_of(confidence, error), draws


def _rows(
    at: Judged, found: _Found, levels: Levels | None, risk: float, data_kind: str
) -> Iterator[dict[str, Any]]:
    test_set, wrong = found.test_set, int(found.error.sum())
    for name, entry in measures(risk).items():
        value = float("nan") if levels is None else float(entry.of_levels(levels))
        why = ""
        if np.isnan(value):
            why = "no case" if levels is None else "no failure" if wrong == 0 else "only failures"
        yield {
            "dataset": at.dataset,
            "study": at.study,
            "kind": test_set.kind,
            "test_set": at.test_set,
            "corruption": test_set.corruption or "",
            "severity": test_set.severity,
            "csf": at.csf,
            "method": at.method,
            "seed": at.seed,
            "metric": name,
            "value": value,
            "undefined": why,
            "cases": len(found.error),
            "errors": wrong,
            "fingerprint": found.fingerprint,
            "group_fingerprint": found.group_fingerprint,
            "data_kind": data_kind,
        }


def _points(coverages: Float, risks: Float) -> tuple[Float, Float]:
    """The curve from coverage 0 on, where the risk is that of the first level."""
    return np.concatenate([[0.0], coverages]), np.concatenate([risks[:1], risks])


def _versions(run: Mapping[str, Any]) -> str:
    """What computed the run."""
    named = run.get("versions")
    there = named if isinstance(named, Mapping) else {}
    known = [f"{name} {there[name]}" for name in ("monai-sf", "monai", "torch") if name in there]
    return ", ".join(known) or "unknown"


def _refuse(error: OSError) -> None:
    """A folder that cannot be read may hold runs, so it is not left out; one that is gone holds none."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _read(folder: Path) -> dict[str, Any]:
    return read_json(folder / "run.json", "run the evaluation again")


def _is_validation(folder: Path) -> bool:
    try:
        return _read(folder).get("role") == VALIDATION
    except (ValueError, RecursionError, OSError):
        return False  # opening it will say what is wrong


def _key_of(folder: Path) -> RunKey:
    try:
        run = _read(folder)
        key = RunKey(str(run["dataset"]), str(run["study"]), str(run["method"]), run["seed"])
    except (ValueError, KeyError, RecursionError):
        load_results(folder)  # says what is wrong with it
        raise
    if type(key.seed) is not int:
        raise ResultsError(f"{folder / 'run.json'}: seed must be an integer, got {key.seed!r}")
    return key
