"""Failure detection by the confidence scores of a run, from its results.

The benchmark and the report both build on these functions, so that numbers in tables, CSV files and pages
agree. Confidence, prediction and error are defined as in Bungert et al.,
"Understanding Silent Failures in Medical Image Classification", MICCAI 2023, section 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.results import Results, ResultsError
from monai_sf.results.format import LOG_PROBABILITIES
from monai_sf.scores import (
    CSF,
    CSFS,
    Fit,
    FittedScores,
    applies_to,
    as_float64,
    csfs_for,
    deciding_csf,
    derivable,
    derived,
    fit_scores,
)
from monai_sf.scores.csf import Arrays
from monai_sf.scores.functions import ArrayLike
from monai_sf.vocabulary.methods import METHODS


class Detection(NamedTuple):
    """Output of a CSF for every case of a test set, in the order of its arrays.

    Attributes:
        confidence: (n,) float64, higher = more sure.
        prediction: (n,) int64, the predicted class in 0..C-1; None without classes.
        error: (n,) float64, 1 where the prediction is not the label, else 0; without classes, the given error
            in [0, 1].
        failed: (n,) bool, whether the case counts as a failure: a wrong prediction, or an error above
            ``Results.failure_above``.

    Examples:
        >>> from monai_sf.metrics import aurc
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import Detection, failure_detection
        >>> logits = [[4.0, 0], [3, 0], [0, 1], [0.5, 0]]
        >>> results = Results.from_arrays(logits, [0, 0, 0, 1])
        >>> found: Detection = failure_detection(results, "iid", "MSR")
        >>> # MSR is a log probability
        >>> found.confidence.round(2).tolist(), found.failed.tolist()
        ([-0.02, -0.05, -0.31, -0.47], [False, False, True, True])
        >>> round(float(aurc(found.confidence, found.error)), 3)
        0.146
    """

    confidence: NDArray[np.float64]
    prediction: NDArray[np.int64] | None
    error: NDArray[np.float64]
    failed: NDArray[np.bool_]


@dataclass
class _Computed:
    """What is computed once per run: its fitted scores, and the arrays that they derive."""

    fitted: FittedScores
    derived: dict[tuple[str, str], dict[str, Tensor]] = field(default_factory=dict)

    def derived_of(self, test_set: str, fit: Fit, arrays: Arrays) -> dict[str, Tensor]:
        """Return what a fit derives from the arrays of a test set."""
        if (test_set, fit.name) not in self.derived:
            if fit.uses is not None:
                arrays = {**arrays, **self.derived_of(test_set, fit.uses, arrays)}
            self.derived[test_set, fit.name] = derived(fit, arrays, self.fitted.arrays)
        return self.derived[test_set, fit.name]


_COMPUTED: WeakKeyDictionary[Results, _Computed] = WeakKeyDictionary()


def fitted_scores(results: Results) -> FittedScores:
    """Return what the scores of a run were fitted to: as stored with it, or fitted now to its reference."""
    return _computed(results).fitted


def _computed(results: Results) -> _Computed:
    if results not in _COMPUTED:
        if results.reference:
            fitted = fit_scores(results.reference, str(results.run["method"]))
        else:
            failed = results.run.get("not_fitted")
            fitted = FittedScores(results.fitted, dict(failed) if isinstance(failed, Mapping) else {})
        _COMPUTED[results] = _Computed(fitted)
    return _COMPUTED[results]


def csf_of(results: Results, name: str) -> CSF:
    """Return a score by its name: a registered one, or one of the run's own (``Results.scores``).

    Raises:
        ResultsError: there is none of this name, or the run's own has the name of a registered one.
    """
    array = results.scores.get(name)
    if array is None and name in CSFS:
        return CSFS[name]
    if array is None:
        raise ResultsError(f"csf must be one of {sorted([*CSFS, *results.scores])}, got {name!r}")
    if name in CSFS:
        raise ResultsError(f"the run's own score {name} has the name of a registered score: rename it")
    return CSF(name, (array,), lambda arrays: as_float64(arrays[array], name), "Given with the results.")


def available_csfs(results: Results) -> tuple[str, ...]:
    """Return the CSFs for which every test set of a run has the arrays, as in ``CSFS``, then its own.

    Scores that are fitted need what they were fitted to. A run of an unknown method gets every CSF that its
    arrays allow.

    Raises:
        ResultsError: a score of the run's own has the name of a registered one.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import available_csfs
        >>> results = Results.from_arrays(
        ...     [[4.0, 0], [0, 1]], [0, 1], scores={"mine": [0.3, 0.9]}
        ... )
        >>> available = available_csfs(results)
        >>> "MSR" in available, "MCD-MSR" in available, "mine" in available
        (True, False, True)
    """
    own = [csf_of(results, name).name for name in results.scores]
    sets = [set(test_set.arrays) for test_set in results.test_sets.values()]
    common = set.intersection(*sets) if sets else set()
    there = common | derivable(common, fitted_scores(results).arrays)
    lost = results.run.get(LOG_PROBABILITIES) is True
    names = [n for n in csfs_for(str(results.run["method"]), there) if not (lost and CSFS[n].reads_level)]
    return (*(name for name in names if CSFS[name].prediction in common), *own)


def deciding_score(results: Results) -> str:
    """Return the name of the CSF that decides by default, which was fixed before any case was seen.

    A run need not have it.
    """
    return "DE-MSR" if "members" in results.run else deciding_csf(str(results.run["method"]))


def unavailable_csfs(results: Results) -> dict[str, str]:
    """Return the scores of a run that could not be fitted, with the reason."""
    failed = fitted_scores(results).failed
    return {
        name: failed[csf.fit.name]
        for name, csf in CSFS.items()
        if csf.fit is not None and csf.fit.name in failed and applies_to(csf, str(results.run["method"]))
    }


def failure_detection(results: Results, test_set: str, csf: str) -> Detection:
    """Return confidence, prediction and error of one CSF on one test set.

    For CSFs of a mean softmax, as of MC dropout, prediction and error are those of that mean. Results without
    classes have the errors that they were given, for all of their own scores.

    Args:
        results: the results of a run.
        test_set: name of one of its test sets.
        csf: name of a CSF, one of ``monai_sf.scores.CSFS`` or of the run's own.

    Raises:
        ResultsError: the test set or CSF does not exist, the test set lacks an array that the CSF needs, or
            the CSF is undefined for some case.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import failure_detection
        >>> logits = [[4.0, 0], [3, 0], [0, 1], [0.5, 0]]
        >>> results = Results.from_arrays(logits, [0, 0, 0, 1])
        >>> confidence, prediction, error, failed = failure_detection(results, "iid", "PE")
        >>> prediction.tolist(), error.tolist()
        ([0, 0, 1, 0], [0.0, 0.0, 1.0, 1.0])
        >>> failure_detection(results, "iid", "MCD-MSR")
        Traceback (most recent call last):
        ...
        monai_sf.results.format.ResultsError: MCD-MSR needs the arrays
        ['mcd_log_softmax'], which test set ...
    """
    if test_set not in results.test_sets:
        raise ResultsError(f"test_set must be one of {sorted(results.test_sets)}, got {test_set!r}")
    score = csf_of(results, csf)
    arrays: dict[str, ArrayLike] = dict(results.test_sets[test_set].arrays)
    if not results.is_classification and csf not in results.scores:
        raise ResultsError(f"{csf} needs class logits: these results hold errors, and no classes")
    if results.run.get(LOG_PROBABILITIES) is True and score.reads_level:
        raise ResultsError(
            f"{csf} needs the logits: these are logarithms of probabilities, which do not tell the constant "
            "that all logits of a case share"
        )
    needed = score.stored if not results.is_classification else (*score.stored, score.prediction)
    missing = [name for name in dict.fromkeys(needed) if name not in arrays]
    if missing:
        raise ResultsError(f"{csf} needs the arrays {missing}, which test set {test_set} does not have")
    if (fit := score.fit) is not None:
        computed = _computed(results)
        if why := computed.fitted.failed.get(fit.name):
            raise ResultsError(f"{csf} could not be fitted: {why}")
        if fit.gives and not derivable(arrays, computed.fitted.arrays).issuperset(fit.gives):
            needs = " or to ".join(", ".join(names) for names in (fit.needs, fit.otherwise) if names)
            raise ResultsError(f"{csf} needs to be fitted to {needs}, which the run lacks")
        try:
            arrays |= computed.derived_of(test_set, fit, arrays)
        except Exception as reason:  # also out of memory, or a mistake in another package
            kind = "" if isinstance(reason, ValueError) else f"{type(reason).__name__}: "
            raise ResultsError(f"{csf} cannot be computed on test set {test_set}: {kind}{reason}") from reason
    confidence = score(arrays)
    undefined = int((~torch.isfinite(confidence)).sum())
    if undefined:
        raise ResultsError(f"{csf} is NaN or infinite for {undefined} cases of test set {test_set}")
    stored = results.test_sets[test_set].arrays
    if results.is_classification:
        prediction = np.asarray(stored[score.prediction]).argmax(axis=1).astype(np.int64)
        error = (prediction != results.labels_of(test_set)).astype(np.float64)
    else:
        prediction, error = None, np.asarray(stored["errors"], np.float64)
    return Detection(confidence.cpu().numpy(), prediction, error, error > results.failure_above)


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
    """Return the method that each score of the runs is read from, by the score's name.

    A score such as MSR can be computed from the runs of several methods; a table shows it once.

    Args:
        runs: results of one dataset.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import preferred_methods
        >>> outputs = {
        ...     "logits": [[4.0, 0], [0, 1]],
        ...     "labels": [0, 1],
        ...     "learned_confidence": [0.9, 0.4],
        ... }
        >>> runs = [
        ...     Results.from_arrays(**outputs, method=name)
        ...     for name in ("devries", "confidnet")
        ... ]
        >>> preferred = preferred_methods(runs)
        >>> preferred["MSR"], preferred["DeVries"]
        ('confidnet', 'devries')
    """
    methods: dict[str, set[str]] = defaultdict(set)
    for results in runs:
        for csf in available_csfs(results):
            methods[csf].add(str(results.run["method"]))
    return {csf: preferred_method(found) for csf, found in methods.items()}
