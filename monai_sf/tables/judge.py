"""How well a confidence score detects the failures of a classifier, from the results of runs.

The benchmark and the report both build on these functions, so that a number in a table, in a CSV file and
on a page is the same number. Confidence, prediction and error are defined as in Bungert et al.,
"Understanding Silent Failures in Medical Image Classification", MICCAI 2023, section 3.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monai_sf.metrics import aurc, coverage_at_risk
from monai_sf.results import Results, ResultsError
from monai_sf.scores import CSFS, csfs_for
from monai_sf.vocabulary.methods import METHODS
from monai_sf.vocabulary.shifts import SHIFT_OF, SHIFTS

#: ``metric(confidence, error) -> value``, both (n,) float64; see ``monai_sf.metrics``.
Metric = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


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


def benchmark_table(runs: Sequence[Results], metric: Metric = aurc) -> pd.DataFrame:
    """The benchmark of several runs of one dataset: one row a CSF, one column a group of test sets.

    Seeds are averaged per test set, then test sets per group. ``iid`` and ``cor`` are those of the study
    ``iid``, or of all runs when none is of that study; ``acq`` and ``man`` are those of all studies. A score
    that several ways of training have is that of :func:`preferred_method`. What is missing is not marked
    here; :mod:`monai_sf.tables` does that, and its numbers are these.

    Args:
        runs: results of one dataset, any studies, methods and seeds.
        metric: of confidence and error.

    Returns:
        DataFrame with index ``CSF`` in the order of ``CSFS``, columns those of ``iid``, ``cor``, ``acq`` and
        ``man`` that occur, values of the metric in [0, 1], NaN where a CSF was not run.

    Raises:
        ResultsError: no runs, or runs of more than one dataset.
    """
    datasets = sorted({str(r.run["dataset"]) for r in runs})
    if len(datasets) != 1:
        raise ResultsError(f"runs must be the results of one dataset, got {len(runs)} runs of {datasets}")
    has_iid_study = any(r.run["study"] == "iid" for r in runs)
    preferred = preferred_methods(runs)
    seeds: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for results in runs:
        study = str(results.run["study"])
        for test_set in results.test_sets.values():
            shift = SHIFT_OF[test_set.kind]
            if not shift.has_target and has_iid_study and study != "iid":
                continue
            if not len(test_set):
                continue
            for csf in available_csfs(results):
                if preferred[csf] != results.run["method"]:
                    continue
                found = failure_detection(results, test_set.name, csf)
                seeds[csf, shift.column, study, test_set.name].append(
                    float(metric(found.confidence, found.error))
                )
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (csf, group, _, _), values in seeds.items():
        cells[csf, group].append(float(np.mean(values)))
    rows = [name for name in CSFS if any(csf == name for csf, _ in cells)]
    columns = [shift.column for shift in SHIFTS if any(group == shift.column for _, group in cells)]
    table = [[float(np.mean(cells.get((csf, g), [np.nan]))) for g in columns] for csf in rows]
    return pd.DataFrame(table, pd.Index(rows, name="CSF"), columns, dtype=np.float64)


def failure_metrics(results: Results) -> dict[str, float]:
    """Return what is logged of one run: its AURC, as ``AURC/<group of test sets>/<score>``, in [0, 1]."""
    return {
        f"AURC/{group}/{csf}": value
        for group, column in benchmark_table([results]).items()
        for csf, value in column.dropna().to_dict().items()
    }
