"""How well a confidence score detects the failures of a classifier, from the results of runs.

The benchmark and the report both build on these functions, so that a number in a table, in a CSV file and
on a page is the same number. Confidence, prediction and error are defined as in Bungert et al.,
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
    """What a CSF says about every case of a test set, in the order of its arrays.

    Attributes:
        confidence: (n,) float64, higher = more sure.
        prediction: (n,) int64, the predicted class in 0..C-1.
        error: (n,) float64, 1 where the prediction is not the label, else 0.
    """

    confidence: NDArray[np.float64]
    prediction: NDArray[np.int64]
    error: NDArray[np.float64]


def available_csfs(results: Results) -> tuple[str, ...]:
    """Names of the CSFs that every test set of a run has the arrays for, in the order of ``CSFS``.

    A run of a way of training that the package does not know gets every CSF that its arrays allow.
    """
    sets = [set(test_set.arrays) for test_set in results.test_sets.values()]
    common = set.intersection(*sets) if sets else set()
    method = str(results.run["method"])
    names = csfs_for(method, common)
    return tuple(name for name in names if CSFS[name].prediction in common)


def failure_detection(results: Results, test_set: str, csf: str) -> Detection:
    """Confidence, prediction and error of one CSF on one test set.

    For the CSFs of MC-dropout the prediction, and so the error, is that of the mean softmax.

    Args:
        results: the results of a run.
        test_set: name of one of its test sets.
        csf: name of a CSF, one of ``monai_sf.scores.CSFS``.

    Raises:
        ResultsError: there is no such test set or CSF, the test set lacks an array that the CSF needs, or the
            CSF is not defined for some case.
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
    """The confidence from which on a prediction is to be trusted, for every CSF of a run.

    Per CSF the lowest threshold whose selective risk on these cases is at most the target, see
    :func:`monai_sf.metrics.coverage_at_risk`. It describes these cases; cases from elsewhere may fail more.

    Args:
        results: outputs on cases that are not reported, as a rule those of the validation split.
        test_set: name of the test set that holds them.
        target_risk: highest error rate to tolerate among trusted predictions, in [0, 1].

    Returns:
        ``target_risk``, ``cases`` (their number), and ``csfs``: name to ``threshold`` (on the scale that the
        CSF computes; None when no threshold reaches the target, so that everything is deferred), ``coverage``
        (share of the cases that is trusted) and ``risk`` (error rate of those, None without any).

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
    """The way of training whose network a score is read from, of several that have it.

    Networks that were trained in different ways are not averaged. As in the paper, the scores of any network
    are those of the classifier under ConfidNet; without one, those of the plain classifier. A bundle's own
    method never stands for one that the package knows; of several of them it is the first by name.

    Raises:
        ValueError: there are no methods.
    """
    if not methods:
        raise ValueError("methods must hold at least one way of training, got none")
    return next((name for name in METHODS if name in methods), min(methods))


def preferred_methods(runs: Sequence[Results]) -> dict[str, str]:
    """Name of every score that some of the runs have to the way of training it is read from."""
    methods: dict[str, set[str]] = defaultdict(set)
    for results in runs:
        for csf in available_csfs(results):
            methods[csf].add(str(results.run["method"]))
    return {csf: preferred_method(found) for csf, found in methods.items()}
