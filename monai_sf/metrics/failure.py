"""Failure detection as a two-class problem: the positive class is "the prediction is wrong".

The detector flags *low* confidence as a failure, so a true positive is a detected failure, a false positive a
false alarm on a correct prediction, and a false negative a silent failure.
"""

from __future__ import annotations

import numpy as np

from monai_sf.metrics.arrays import Array, ArrayLike, check_binary, check_cases, namespace, pick
from monai_sf.metrics.curve import Levels, levels_of_ranking, rank_cases


def failure_auroc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Return the probability that a random wrong case has a lower confidence than a correct one (ties: 1/2).

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) of 0 and 1, 1 where the prediction is wrong.

    Returns:
        A float in [0, 1], higher = better, 0.5 for an uninformative confidence.

    Raises:
        ValueError: If all cases are correct or all are wrong, if an error is neither 0 nor 1, and as in
            `risk_coverage_curve`.

    Examples:
        Of the four pairs of a wrong and a correct case, the wrong one has the lower confidence in three;
        one is a tie:

        >>> import numpy as np
        >>> from monai_sf.metrics import failure_auroc
        >>> failure_auroc(np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1]))
        0.875
    """
    return float(failure_auroc_of(_failures_and_successes(confidence, error)))


def failure_fpr(confidence: ArrayLike, error: ArrayLike, *, tpr: float = 0.95) -> float:
    """Return the share of correct cases that are flagged when at least `tpr` of the wrong ones are.

    Of the thresholds that reach the true-positive rate, the one with the fewest false alarms is taken;
    nothing is interpolated between thresholds.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) of 0 and 1, 1 where the prediction is wrong.
        tpr: True-positive rate to reach, in (0, 1].

    Returns:
        A float in [0, 1], lower = better.

    Raises:
        ValueError: If tpr is out of range, and as in `failure_auroc`.

    Examples:
        To find both wrong cases one has to flag those of confidence 0.7, too, of which one is correct; for
        one of two wrong cases that is not necessary:

        >>> import numpy as np
        >>> from monai_sf.metrics import failure_fpr
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> failure_fpr(confidence, error), failure_fpr(confidence, error, tpr=0.5)
        (0.5, 0.0)
    """
    return float(failure_fpr_of(_failures_and_successes(confidence, error), tpr=tpr))


def failure_average_precision(confidence: ArrayLike, error: ArrayLike) -> float:
    """Return the average precision of finding the wrong cases by low confidence (errors as positives).

    It is the sum over thresholds of precision times the gain in recall, as in scikit-learn.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) of 0 and 1, 1 where the prediction is wrong.

    Returns:
        A float in (0, 1], higher = better; the error rate for an uninformative confidence.

    Raises:
        ValueError: If no case is wrong, if an error is neither 0 nor 1, and as in `risk_coverage_curve`.

    Examples:
        Flagging the least sure case finds one of two errors with a precision of 1, and flagging three finds
        both with 2/3: 1/2 · 1 + 1/2 · 2/3.

        >>> import numpy as np
        >>> from monai_sf.metrics import failure_average_precision
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> round(failure_average_precision(confidence, error), 4)
        0.8333
    """
    levels = _binary_levels(confidence, error)
    if not levels.wrong[-1]:
        raise ValueError(
            f"error must hold at least one failure, got 0 wrong among {int(levels.kept[-1])} cases"
        )
    return float(failure_average_precision_of(levels))


def failure_auroc_of(levels: Levels) -> Array:
    """Return the AUROC (...) of cumulated counts (..., K); NaN without failures or without successes."""
    wrong, correct = levels.wrong, levels.kept - levels.wrong
    n_wrong, n_correct = wrong[..., -1], correct[..., -1]
    # The correct cases of a level win against the failures below it and draw with those beside them.
    twice_won = 2 * wrong[..., -1:] - wrong - _level_above(wrong)
    pairs = ((correct - _level_above(correct)) * twice_won).sum(-1)
    return _ratio(pairs, 2 * n_wrong * n_correct)


def failure_fpr_of(levels: Levels, *, tpr: float = 0.95) -> Array:
    """Return the false-positive rate (...) of cumulated counts (..., K); NaN as :func:`failure_auroc_of`."""
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must lie in (0, 1], got {tpr}")
    wrong, correct = levels.wrong, levels.kept - levels.wrong
    n_wrong, n_correct = wrong[..., -1], correct[..., -1]
    # Accept down to the lowest level that leaves enough failures flagged; if none does, flag everything.
    share = (wrong[..., -1:] - wrong) / wrong[..., -1:].clip(min=1)
    n_levels = (share >= tpr).sum(-1)
    accepted = pick(correct, (n_levels - 1).clip(min=0)) * (n_levels > 0)
    return _ratio(n_correct - accepted, n_correct * (n_wrong > 0))


def failure_average_precision_of(levels: Levels) -> Array:
    """Return the average precision (...) of cumulated counts (..., K); NaN without failures."""
    kept, wrong = levels
    above = _level_above(wrong)
    n_flagged = kept[..., -1:] - _level_above(kept)
    precision = (wrong[..., -1:] - above) / n_flagged.clip(min=1)
    return _ratio(((wrong - above) * precision).sum(-1), wrong[..., -1])


def _binary_levels(confidence: ArrayLike, error: ArrayLike) -> Levels:
    values, errors = check_cases(confidence, error)
    check_binary(errors)
    return levels_of_ranking(rank_cases(values), errors)


def _failures_and_successes(confidence: ArrayLike, error: ArrayLike) -> Levels:
    levels = _binary_levels(confidence, error)
    n_wrong, n_cases = int(levels.wrong[-1]), int(levels.kept[-1])
    if n_wrong in (0, n_cases):
        raise ValueError(
            f"error must hold both failures and successes, got {n_wrong} wrong among {n_cases} cases"
        )
    return levels


def _level_above(cumulated: Array) -> Array:
    above = namespace(cumulated).zeros_like(cumulated)
    above[..., 1:] = cumulated[..., :-1]
    return above


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Return the quotient of counts, NaN over 0."""
    return namespace(denominator).where(denominator > 0, numerator / denominator.clip(min=1), np.nan)
