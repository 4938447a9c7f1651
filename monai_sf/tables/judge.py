"""Failure detection by the confidence scores of a run, from its results.

The benchmark and the report both build on these functions, so that numbers in tables, CSV files and pages
agree. Confidence, prediction and error are defined as in Bungert et al.,
"Understanding Silent Failures in Medical Image Classification", MICCAI 2023, section 3.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from monai_sf.metrics import coverage_at_risk
from monai_sf.results import Results, ResultsError
from monai_sf.scores import CSFS, csfs_for
from monai_sf.vocabulary.methods import METHODS


class Detection(NamedTuple):
    """Output of a CSF for every case of a test set, in the order of its arrays.

    Attributes:
        confidence: (n,) float64, higher = more sure.
        prediction: (n,) int64, the predicted class in 0..C-1.
        error: (n,) float64, 1 where the prediction is not the label, else 0.
    """

    confidence: NDArray[np.float64]
    prediction: NDArray[np.int64]
    error: NDArray[np.float64]


def available_csfs(results: Results) -> tuple[str, ...]:
    """Return the CSFs for which every test set of a run has the arrays, in the order of ``CSFS``.

    A run of an unknown method gets every CSF that its arrays allow.
    """
    sets = [set(test_set.arrays) for test_set in results.test_sets.values()]
    common = set.intersection(*sets) if sets else set()
    names = csfs_for(str(results.run["method"]), common)
    return tuple(name for name in names if CSFS[name].prediction in common)


def failure_detection(results: Results, test_set: str, csf: str) -> Detection:
    """Return confidence, prediction and error of one CSF on one test set.

    For CSFs of MC dropout, prediction and error are those of the mean softmax.

    Args:
        results: the results of a run.
        test_set: name of one of its test sets.
        csf: name of a CSF, one of ``monai_sf.scores.CSFS``.

    Raises:
        ResultsError: the test set or CSF does not exist, the test set lacks an array that the CSF needs, or
            the CSF is undefined for some case.
    """
    if test_set not in results.test_sets:
        raise ResultsError(f"test_set must be one of {sorted(results.test_sets)}, got {test_set!r}")
    if csf not in CSFS:
        raise ResultsError(f"csf must be one of {sorted(CSFS)}, got {csf!r}")
    score = CSFS[csf]
    arrays = results.test_sets[test_set].arrays
    missing = [name for name in (*score.needs, score.prediction) if name not in arrays]
    if missing:
        raise ResultsError(f"{csf} needs the arrays {missing}, which test set {test_set} does not have")
    confidence = score(arrays)
    undefined = int((~torch.isfinite(confidence)).sum())
    if undefined:
        raise ResultsError(f"{csf} is NaN or infinite for {undefined} cases of test set {test_set}")
    prediction = np.asarray(arrays[score.prediction]).argmax(axis=1).astype(np.int64)
    error = (prediction != results.labels_of(test_set)).astype(np.float64)
    return Detection(confidence.cpu().numpy(), prediction, error)


def thresholds(results: Results, test_set: str, target_risk: float) -> dict[str, Any]:
    """Return the confidence threshold above which predictions are trusted, for every CSF of a run.

    It is the lowest threshold whose selective risk on these cases is at most the target, see
    :func:`monai_sf.metrics.coverage_at_risk`. Cases from another source may fail more often.

    Args:
        results: outputs on cases that are not reported, usually the validation split.
        test_set: name of their test set.
        target_risk: highest error rate to tolerate among trusted predictions, in [0, 1].

    Returns:
        ``target_risk``, ``cases`` (their number), and ``csfs``: name to ``threshold`` (on the scale of the
        CSF; None if no threshold reaches the target, so that every case is deferred), ``coverage`` (share of
        trusted cases) and ``risk`` (their error rate, None without any).

    Raises:
        ValueError: ``target_risk`` is out of range.
    """
    points = {}
    for csf in available_csfs(results):
        found = failure_detection(results, test_set, csf)
        point = coverage_at_risk(found.confidence, found.error, risk=target_risk)
        points[csf] = {
            name: value if math.isfinite(value) else None for name, value in point._asdict().items()
        }
    return {"target_risk": target_risk, "cases": len(results.test_sets[test_set]), "csfs": points}


def preferred_method(methods: Collection[str]) -> str:
    """Return the method whose network a score is read from, of several methods that have it.

    Networks of different methods are not averaged. As in the paper, scores that any network has are read from
    the classifier under ConfidNet; without one, from the plain classifier. Other methods come after those of
    the package, by name.

    Raises:
        ValueError: there are no methods.
    """
    if not methods:
        raise ValueError("methods must hold at least one method, got none")
    return next((name for name in METHODS if name in methods), min(methods))


def preferred_methods(runs: Sequence[Results]) -> dict[str, str]:
    """Return the method that each score of the runs is read from, by the score's name."""
    methods: dict[str, set[str]] = defaultdict(set)
    for results in runs:
        for csf in available_csfs(results):
            methods[csf].add(str(results.run["method"]))
    return {csf: preferred_method(found) for csf, found in methods.items()}
