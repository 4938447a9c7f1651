"""One run as the report sees it: every score on every test set, and the cases that are shown one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_sf.metrics import aurc, bootstrap_ci, risk_coverage_curve
from monai_sf.report import working_points
from monai_sf.report.embedding import MIN_CASES, embed
from monai_sf.report.notes import Note
from monai_sf.report.sampling import Outcome, Sample, sample_cases
from monai_sf.report.words import KINDS
from monai_sf.results import Results, ResultsError, TestSet
from monai_sf.tables.judge import Detection, available_csfs, failure_detection
from monai_sf.vocabulary.ids import Groups, group_cases
from monai_sf.vocabulary.shifts import SHIFT_OF

#: Points of a drawn risk-coverage curve; more cannot be told apart on a screen.
CURVE_POINTS = 160
#: Draws behind an interval, fewer for large test sets: what they cost, a study has a dozen scores.
RESAMPLES, MIN_RESAMPLES, RESAMPLED_CASES = 500, 200, 1_000_000

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One CSF on one test set of n cases, all of them, not the sample.

    Attributes:
        detection: confidence, prediction and error of every case.
        trusted: (100,) number of cases at or above the threshold of each working point.
        silent: (100,) how many of these are wrong.
        effective: (101,) how many independent cases the trusted ones are worth; the last entry is for all
            cases, trusted or not.
        aurc: area under the risk-coverage curve, in [0, 1].
        aurc_interval: its 95 % interval by bootstrap over groups; None for corrupted sets, and where a single
            group leaves none.
        coverage: (k,) of the drawn curve.
        risk: (k,) of the drawn curve.
    """

    detection: Detection
    trusted: NDArray[np.int64]
    silent: NDArray[np.int64]
    effective: Float
    aurc: float
    aurc_interval: tuple[float, float] | None
    coverage: Float
    risk: Float


@dataclass(frozen=True)
class Run:
    """A run, evaluated for the report.

    Attributes:
        results: the run's results.
        sets: its test sets that hold at least one case: iid, which is the reference, targets, corruptions.
        csfs: names of the CSFs it can be judged by.
        thresholds: CSF name to (100,) thresholds, see ``working_points``.
        judged: (test set name, CSF name) to what came out.
        effective: (kind of test set, CSF name) to (101,) independent cases that all trusted cases of this
            kind, and at last all of its cases, are worth, see ``working_points.effective_sizes``.
        sample: the cases shown one by one; ``test_set`` counts in ``sets``.
        embedding: (m, 3) float32 of the sample, NaN where a case has no usable features; None without.
        notes: what is missing.
    """

    results: Results
    sets: tuple[TestSet, ...]
    csfs: tuple[str, ...]
    thresholds: Mapping[str, Float]
    judged: Mapping[tuple[str, str], Judged]
    effective: Mapping[tuple[str, str], Float]
    sample: Sample
    embedding: NDArray[np.float32] | None
    notes: tuple[Note, ...]

    def sampled(self, csf: str) -> Detection:
        """Confidence, prediction and error of the sampled cases."""
        parts = [self.judged[s.name, csf].detection for s in self.sets]
        chosen = [
            [values[self.sample.position[self.sample.test_set == i]] for values in part]
            for i, part in enumerate(parts)
        ]
        return Detection(*(np.concatenate(columns) for columns in zip(*chosen, strict=True)))

    def rows(self) -> NDArray[np.int64]:
        """(m,) rows of the case table of the sampled cases."""
        return np.concatenate(
            [s.rows[self.sample.position[self.sample.test_set == i]] for i, s in enumerate(self.sets)]
        )


def evaluate(results: Results, max_points: int, seed: int, cache: Path | None) -> Run:
    """Score, sample and embed one run.

    Args:
        results: the run's results; missing arrays are allowed and noted.
        max_points: how many cases to show one by one, over all test sets.
        seed: of the sampling and the embedding.
        cache: folder for the embedding, None to compute it anew.

    Raises:
        ResultsError: no test set holds a case, or no CSF can be computed from the arrays.
    """
    order = sorted(results.test_sets.values(), key=lambda s: KINDS.index(SHIFT_OF[s.kind]))  # stable
    sets = tuple(s for s in order if len(s))
    if not sets:
        raise ResultsError(f"{_name(results)} has no test set with a case: evaluate the run first")
    csfs = available_csfs(results)
    if not csfs:
        raise ResultsError(f"{_name(results)}: no confidence score can be computed from its arrays")
    detections = {(s.name, c): failure_detection(results, s.name, c) for s in sets for c in csfs}
    levels = {c: working_points.thresholds(detections[sets[0].name, c].confidence) for c in csfs}
    groups = group_cases(results.cases.get("group"), results.cases["case_id"])
    try:
        groups.check()
    except ValueError as error:
        raise ResultsError(f"{_name(results)}: {error}") from error
    judged = {
        (s, c): _judge(
            found, levels[c], groups.at(results.test_sets[s].rows), _drawn(results.test_sets[s]), seed
        )
        for (s, c), found in detections.items()
    }
    effective = {
        (kind, c): _pooled([s for s in sets if s.kind == kind], c, detections, levels[c], groups)
        for kind in {s.kind for s in sets}
        for c in csfs
    }
    sample = sample_cases([_outcome(results, s, csfs, judged) for s in sets], max_points, seed)
    numbers = [*_missing(results, sets, judged), *_told(sets, groups)]
    embedding, problems = _embedding(sets, sample, seed, cache)
    notes = (
        *(Note("numbers", text) for text in numbers),
        *(Note("pictures", text) for text in _without_images(sets)),
        *(Note("map", text) for text in problems),
    )
    return Run(results, sets, csfs, levels, judged, effective, sample, embedding, notes)


def _name(results: Results) -> str:
    return "run {dataset}, study {study}, method {method}, seed {seed}".format(**results.run)


def _told(sets: Sequence[TestSet], groups: Groups) -> list[str]:
    """What is to be said about the groups; no id of a patient."""
    single = [s.name for s in sets if len(groups.at(s.rows)) == 1]
    notes = [f"{text}." for text in groups.summary]
    if single:
        notes.append(
            f"All cases are of one group (patient) in {', '.join(single)}, which says nothing about others: "
            "there is no interval."
        )
    return notes


def _pooled(
    sets: Sequence[TestSet],
    csf: str,
    detections: Mapping[tuple[str, str], Detection],
    levels: Float,
    groups: Groups,
) -> Float:
    found = [detections[s.name, csf] for s in sets]
    return working_points.effective_sizes(
        np.concatenate([f.confidence for f in found]),
        np.concatenate([f.error for f in found]),
        np.append(levels, -np.inf),
        groups.of_case[np.concatenate([s.rows for s in sets])],
    )


def _drawn(test_set: TestSet) -> int:
    """How many resamples the interval of a test set's AURC gets; 0 for none."""
    if test_set.corruption is not None:
        return 0
    return min(max(RESAMPLED_CASES // len(test_set), MIN_RESAMPLES), RESAMPLES)


def _judge(found: Detection, levels: Float, groups: Groups, resamples: int, seed: int) -> Judged:
    trusted, silent = working_points.counts(found.confidence, found.error, levels)
    effective = working_points.effective_sizes(
        found.confidence, found.error, np.append(levels, -np.inf), groups.of_case
    )
    curve = risk_coverage_curve(found.confidence, found.error)
    coverage, risk = curve.coverages, curve.selective_risks
    # evenly spaced in coverage, first and last included
    wanted = np.searchsorted(coverage, np.linspace(coverage[0], coverage[-1], CURVE_POINTS))
    drawn = np.unique(np.minimum(wanted, len(coverage) - 1))
    area = aurc(found.confidence, found.error)
    interval = None
    if resamples and len(groups) > 1:
        interval = bootstrap_ci(
            aurc, found.confidence, found.error, n_resamples=resamples, groups=groups, seed=seed
        )
    return Judged(found, trusted, silent, effective, area, interval, coverage[drawn], risk[drawn])


def _outcome(
    results: Results,
    test_set: TestSet,
    csfs: tuple[str, ...],
    judged: Mapping[tuple[str, str], Judged],
) -> Outcome:
    found = [judged[test_set.name, c].detection for c in csfs]
    return Outcome(
        results.labels_of(test_set.name),
        np.stack([d.error > 0 for d in found], axis=1),
        np.stack([d.confidence for d in found], axis=1),
        test_set.corruption is not None,
    )


def _missing(
    results: Results, sets: tuple[TestSet, ...], judged: Mapping[tuple[str, str], Judged]
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
    labels = np.concatenate([results.labels_of(s.name) for s in sets])
    if len(np.unique(labels)) == 1:
        only = results.run["class_names"][int(labels[0])]
        notes.append(f"All cases are of one class ({only}): mistakes in the other direction cannot show.")
    if not any(j.detection.error.any() for j in judged.values()):
        notes.append("The classifier made no mistake on any case, so there is no failure to show.")
    return notes


def _without_images(sets: tuple[TestSet, ...]) -> list[str]:
    without = [s.name for s in sets if "images" not in s.arrays]
    which = "the test sets" if len(without) == len(sets) else ", ".join(without)
    return [f"No images are stored for {which}: cases are shown without pictures."] if without else []


def _embedding(
    sets: tuple[TestSet, ...], sample: Sample, seed: int, cache: Path | None
) -> tuple[NDArray[np.float32] | None, list[str]]:
    without = [s.name for s in sets if "features" not in s.arrays]
    if len(without) == len(sets):
        return None, ["No features are stored, so there is no map of the latent space."]
    widths = {s.arrays["features"].shape[1] for s in sets if s.name not in without}
    if len(widths) > 1:
        return None, [f"The test sets have features of different lengths {sorted(widths)}: no map is made."]
    features = np.full((len(sample.position), widths.pop()), np.nan, np.float32)
    for i, test_set in enumerate(sets):
        if test_set.name not in without:
            mine = sample.test_set == i
            features[mine] = test_set.arrays["features"][sample.position[mine]]
    notes = [f"No features are stored for {', '.join(without)}: not on the map."] if without else []
    usable = np.isfinite(features).all(axis=1)
    broken = int(
        (~usable & ~np.isin(sample.test_set, [i for i, s in enumerate(sets) if s.name in without])).sum()
    )
    if broken:
        which = "case has" if broken == 1 else "cases have"
        notes.append(f"{broken} shown {which} NaN or infinite features: not on the map.")
    if usable.sum() < MIN_CASES:
        return None, [*notes, f"Fewer than {MIN_CASES} cases have usable features: no map is made."]
    embedding = np.full((len(features), 3), np.nan, np.float32)
    embedding[usable] = embed(features[usable], seed, cache)
    if not embedding[usable].any():
        notes.append("All shown cases have the same features: on the map they are one point.")
    return embedding, notes
