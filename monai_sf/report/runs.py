"""One run in the report: every score on every test set, and the individually shown cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.metrics import aurc, bootstrap_ci
from monai_sf.report import words, working_points
from monai_sf.report.promise import Promise, Seen, promise_of, seen_at
from monai_sf.report.sampling import Outcome, Sample, sample_cases
from monai_sf.report.words import KINDS, trainings
from monai_sf.results import Results, ResultsError, TestSet
from monai_sf.scores import ALL, is_chosen
from monai_sf.tables.cases import CasesOfRun
from monai_sf.tables.cells import Judged, judge_run
from monai_sf.tables.judge import Detection, available_csfs, unavailable_csfs
from monai_sf.vocabulary.ids import Groups
from monai_sf.vocabulary.shifts import NEW_CLASS, SHIFT_OF, UNKNOWN

#: Points of a drawn risk-coverage curve; more cannot be told apart on a screen.
CURVE_POINTS = 160
#: Resamples of an interval, fewer for large test sets, since a study has a dozen scores.
RESAMPLES, MIN_RESAMPLES, RESAMPLED_CASES = 500, 200, 1_000_000

Float = NDArray[np.float64]


class Note(NamedTuple):
    """A sentence on what is missing, with its subject, by which the page's scripts find it.

    ``report`` is about the runs and columns, ``numbers`` about what is counted and how.
    """

    about: Literal["report", "numbers", "pictures", "map"]
    text: str


@dataclass(frozen=True)
class ShownScore:
    """Numbers of one CSF on one test set of n cases, all of them, not the sample.

    Attributes:
        detection: confidence, prediction, error and failure of every case.
        trusted: (101,) number of cases at or above the threshold of each working point.
        silent: (101,) how many of these are failures.
        mean_error: (101,) mean error of these, NaN without any; None with classes, where it is their share.
        effective: (102,) effective number of independent trusted cases; the last entry is for all cases,
            trusted or not.
        seen: what was seen at the promised threshold, where patients count alike.
        errors: number of failures.
        aurc: area under the risk-coverage curve, in [0, 1]; that of new classes is on their cases and the
            ordinary ones, and NaN without these.
        aurc_interval: its 95 % interval by bootstrap over groups; None for corrupted sets and single groups.
        coverage: (k,) of the drawn curve, on the same cases as the area.
        risk: (k,) of the drawn curve.
    """

    detection: Detection
    trusted: NDArray[np.int64]
    silent: NDArray[np.int64]
    mean_error: Float | None
    effective: Float
    seen: Seen | None
    errors: int
    aurc: float
    aurc_interval: tuple[float, float] | None
    coverage: Float
    risk: Float


@dataclass(frozen=True)
class Run:
    """A run, evaluated for the report.

    Attributes:
        results: the run's results.
        sets: its non-empty test sets: iid, which is the reference, targets, corruptions.
        csfs: names of its CSFs.
        promise: the risk that the run's thresholds promise; None without thresholds.
        thresholds: CSF name to (101,) thresholds, see ``working_points``.
        cells: for Table 1, see :class:`monai_sf.tables.Collection`.
        shown: (test set name, CSF name) to its numbers.
        effective: (kind of test set, CSF name) to (102,) effective numbers of independent trusted cases of
            this kind, and of all of its cases, see ``working_points.effective_sizes``.
        seen: (kind of test set, CSF name) to what was seen on this kind at the promised threshold.
        sample: the individually shown cases; ``test_set`` is an index into ``sets``.
        embedding: (m, 3) float32 of the sample, NaN where a case has no usable features; None without, and
            before :func:`monai_sf.report.maps.with_maps`.
        notes: what is missing.
    """

    results: Results
    sets: tuple[TestSet, ...]
    csfs: tuple[str, ...]
    promise: Promise | None
    thresholds: Mapping[str, Float]
    cells: pd.DataFrame
    shown: Mapping[tuple[str, str], ShownScore]
    effective: Mapping[tuple[str, str], Float]
    seen: Mapping[tuple[str, str], Seen | None]
    sample: Sample
    embedding: NDArray[np.float32] | None
    notes: tuple[Note, ...]

    def sampled(self, csf: str) -> Detection:
        """Return confidence, prediction and error of the sampled cases."""
        parts = [self.shown[s.name, csf].detection for s in self.sets]
        chosen = [
            [
                None if values is None else values[self.sample.position[self.sample.test_set == i]]
                for values in part
            ]
            for i, part in enumerate(parts)
        ]
        confidence, prediction, error, failed = zip(*chosen, strict=True)
        return Detection(
            np.concatenate(confidence),
            None if prediction[0] is None else np.concatenate(prediction),
            np.concatenate(error),
            np.concatenate(failed),
        )

    def errors(self) -> Float:
        """Return the (m,) errors of the sampled cases, the same for all scores without classes."""
        return self.sampled(self.csfs[0]).error

    def rows(self) -> NDArray[np.int64]:
        """Return the (m,) rows of the case table of the sampled cases."""
        return np.concatenate(
            [s.rows[self.sample.position[self.sample.test_set == i]] for i, s in enumerate(self.sets)]
        )


def evaluate(results: Results, max_points: int, seed: int, chosen: Collection[str] = (ALL,)) -> Run:
    """Score one run, and sample the cases that are shown.

    Args:
        results: the run's results; missing arrays are allowed and noted.
        max_points: maximum number of individually shown cases over all test sets.
        seed: of the sampling.
        chosen: names of the scores to show, or ``all``.

    Raises:
        ResultsError: no test set holds a case, or no CSF can be computed from the arrays.
    """
    order = sorted(results.test_sets.values(), key=lambda s: KINDS.index(SHIFT_OF[s.kind]))  # stable
    sets = tuple(s for s in order if len(s))
    if not sets:
        raise ResultsError(f"{_name(results)} has no test set with a case: evaluate the run first")
    csfs = tuple(name for name in available_csfs(results) if is_chosen(name, chosen))
    if not csfs:
        raise ResultsError(
            f"{_name(results)}: no confidence score can be computed from its arrays, or none of those chosen"
        )
    try:
        cases = CasesOfRun(results, {})
    except ResultsError as error:
        raise ResultsError(f"{_name(results)}: {error}") from error
    groups = cases.groups
    promise = promise_of(results.run)
    levels: dict[str, Float] = {}
    cells: list[dict[str, Any]] = []
    shown: dict[tuple[str, str], ShownScore] = {}
    undefined = {name: why for name, why in unavailable_csfs(results).items() if is_chosen(name, chosen)}
    for judged in judge_run(results, cases, csfs, sets, undefined):
        csf = judged.key.csf
        promised = promise.threshold(csf) if promise else None
        if csf not in levels:  # the first test set is the reference
            levels[csf] = working_points.working_points(judged.detection.confidence, promised)
        own = judged.cells(str(results.run["data_kind"]))
        cells += own
        shown[judged.test_set.name, csf] = _shown(judged, own, levels[csf], promised, groups, seed)
    csfs = tuple(csf for csf in csfs if csf not in undefined)
    if not csfs:
        raise ResultsError(f"{_name(results)}: {'; '.join(undefined.values())}")
    effective, seen = {}, {}
    for kind in dict.fromkeys(s.kind for s in sets):  # not a set: its order differs between processes
        for c in csfs:
            pool = _pooled([s for s in sets if s.kind == kind], c, shown, groups)
            effective[kind, c] = working_points.effective_sizes(
                *pool[:2], np.append(levels[c], -np.inf), pool[2]
            )
            seen[kind, c] = seen_at(promise.threshold(c) if promise else None, *pool)
    sample = sample_cases([_outcome(results, s, csfs, shown) for s in sets], max_points, seed)
    about_groups = [f"{text[0].upper()}{text[1:]}." for text in cases.notes]
    left_out = [f"{name} is left out: {why}." for name, why in undefined.items()]
    numbers = [*_missing(results, sets, shown), *about_groups, *left_out]
    notes = (
        *(Note("numbers", text) for text in numbers),
        *(Note("pictures", text) for text in _without_images(sets)),
    )
    table = pd.DataFrame([cell for cell in cells if cell["csf"] in csfs])
    return Run(results, sets, csfs, promise, levels, table, shown, effective, seen, sample, None, notes)


def truths(results: Results) -> list[str]:
    """Return what the cases of a run can be: its classes, and the names of cases of none of them."""
    return words.truths(results.run["class_names"], _unknown_names(results))


def _unknown_names(results: Results) -> list[str]:
    if "label" not in results.cases:
        return []
    others = results.cases[results.cases["label"] == UNKNOWN]
    return sorted(set(others["label_name"].astype(str))) if "label_name" in others else ["unknown"]


def shown_labels(results: Results) -> NDArray[np.int64]:
    """Return the place in :func:`truths` of every case of the case table; without classes, 0."""
    if not results.is_classification:
        return np.zeros(len(results.cases), np.int64)
    labels = results.cases["label"].to_numpy(np.int64, copy=True)
    if (unknown := labels == UNKNOWN).any():
        place = {name: k for k, name in enumerate(_unknown_names(results), len(results.run["class_names"]))}
        names = results.cases.get("label_name", pd.Series("unknown", results.cases.index))
        labels[unknown] = [place[name] for name in names[unknown].astype(str)]
    return labels


def shown_answers(found: Detection) -> NDArray[np.int64]:
    """Return the prediction of every case for the page's scripts; without classes, 1 for failures."""
    return found.failed.astype(np.int64) if found.prediction is None else found.prediction


def _name(results: Results) -> str:
    return "run {dataset}, study {study}, method {method}, ".format(**results.run) + trainings(results.run)


def _pooled(
    sets: Sequence[TestSet], csf: str, shown: Mapping[Any, ShownScore], groups: Groups
) -> tuple[Float, Float, NDArray[np.int64]]:
    """Return confidence, failure and patient of the cases of several test sets."""
    found = [shown[s.name, csf].detection for s in sets]
    return (
        np.concatenate([f.confidence for f in found]),
        np.concatenate([f.failed for f in found]).astype(np.float64),
        groups.of_case[np.concatenate([s.rows for s in sets])],
    )


def _shown(
    judged: Judged,
    cells: Sequence[Mapping[str, Any]],
    levels: Float,
    promised: float | None,
    groups: Groups,
    seed: int,
) -> ShownScore:
    confidence, prediction, error, failed = judged.detection
    wrong = failed.astype(np.float64)
    trusted, silent = working_points.counts(confidence, wrong, levels)
    mean_error = working_points.mean_errors(confidence, error, levels) if prediction is None else None
    own = groups.at(judged.test_set.rows)
    effective = working_points.effective_sizes(confidence, wrong, np.append(levels, -np.inf), own.of_case)
    seen = seen_at(promised, confidence, wrong, own.of_case)
    coverage, risk = (np.array([0.0, 1.0]), np.ones(2)) if judged.levels is None else judged.curve
    # evenly spaced in coverage, first and last included
    wanted = np.searchsorted(coverage, np.linspace(coverage[0], coverage[-1], CURVE_POINTS))
    drawn = np.unique(np.minimum(wanted, len(coverage) - 1))
    cell = next(cell for cell in cells if cell["metric"] == "aurc")
    interval = None
    ranked, groups = judged.ranked, groups.at(judged.cases.rows)
    if judged.test_set.corruption is None and judged.levels is not None and len(groups) > 1:
        resamples = min(max(RESAMPLED_CASES // len(ranked.error), MIN_RESAMPLES), RESAMPLES)
        interval = bootstrap_ci(
            aurc, ranked.confidence, ranked.error, n_resamples=resamples, groups=groups, seed=seed
        )
    area, errors = cell["value"], cell["errors"]
    return ShownScore(
        judged.detection, trusted, silent, mean_error, effective, seen, errors, area, interval,
        coverage[drawn], risk[drawn],
    )  # fmt: skip


def _outcome(
    results: Results, test_set: TestSet, csfs: Sequence[str], shown: Mapping[tuple[str, str], ShownScore]
) -> Outcome:
    found = [shown[test_set.name, c].detection for c in csfs]
    return Outcome(
        shown_labels(results)[test_set.rows],
        np.stack([d.failed for d in found], axis=1),
        np.stack([d.confidence for d in found], axis=1),
        test_set.corruption is not None,
        test_set.kind == NEW_CLASS,
    )


def _missing(
    results: Results, sets: tuple[TestSet, ...], shown: Mapping[tuple[str, str], ShownScore]
) -> list[str]:
    notes = []
    empty = [s.name for s in results.test_sets.values() if not len(s)]
    if empty:
        notes.append(f"Test sets without a case are left out: {', '.join(empty)}.")
    if sets[0].kind != "iid":
        notes.append(
            f"There is no test set of ordinary cases (iid), so the working point is set on {sets[0].name}."
        )
    if sum(s.kind == "iid" for s in sets) > 1:
        notes.append(
            f"There are several sets of ordinary cases (iid); the working point is set on {sets[0].name}."
        )
    labels = np.concatenate([shown_labels(results)[s.rows] for s in sets])
    if results.is_classification and len(np.unique(labels)) == 1:
        only = truths(results)[int(labels[0])]
        notes.append(f"All cases are of one class ({only}): mistakes in the other direction cannot show.")
    if not results.is_classification:
        notes.append(
            f"There are errors and no classes: cases with an error above {results.failure_above:g} are "
            "counted and shown as wrong. AURC and the curves use the errors themselves."
        )
    if not any(score.errors for score in shown.values()):
        notes.append("The model made no mistake on any case, so there is no failure to show.")
    return notes


def _without_images(sets: tuple[TestSet, ...]) -> list[str]:
    without = [s.name for s in sets if "images" not in s.arrays]
    which = "the test sets" if len(without) == len(sets) else ", ".join(without)
    return [f"No images are stored for {which}: cases are shown without pictures."] if without else []
