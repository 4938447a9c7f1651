"""Operating points: coverage and risk at a threshold on the confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from monai_sf.metrics.arrays import Array, ArrayLike, check_cases, namespace, pick
from monai_sf.metrics.curve import Levels, levels_of_ranking, rank_cases, thresholds_of


class OperatingPoint(NamedTuple):
    """A threshold and its effect on the given cases.

    Attributes:
        threshold: Lowest confidence that is accepted; infinity when nothing is.
        coverage: Share of the cases that are accepted, in [0, 1].
        risk: Mean error of the accepted cases, in [0, 1]; NaN when nothing is accepted.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.metrics import risk_at_coverage
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 0, 0, 1])
        >>> point = risk_at_coverage(confidence, error, coverage=0.5)
        >>> point.threshold, point.coverage, point.risk
        (0.7, 0.75, 0.0)
    """

    threshold: float
    coverage: float
    risk: float


def risk_at_coverage(confidence: ArrayLike, error: ArrayLike, *, coverage: float) -> OperatingPoint:
    """Return the selective risk when at least this share of the cases is accepted.

    The threshold is the highest one that accepts enough cases. Ties can make it accept more, so its actual
    coverage is returned with it.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].
        coverage: Share of the cases to accept, in (0, 1].

    Returns:
        The operating point; its `risk` is the answer.

    Raises:
        ValueError: If coverage is out of range, and as in `risk_coverage_curve`.

    Examples:
        At least half of the cases means three of four, since two have the same confidence:

        >>> import numpy as np
        >>> from monai_sf.metrics import risk_at_coverage
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> point = risk_at_coverage(confidence, error, coverage=0.5)
        >>> point.threshold, point.coverage, round(point.risk, 3)
        (0.7, 0.75, 0.333)
    """
    return _operating_point(confidence, error, partial(_level_at_coverage, coverage=coverage))


def coverage_at_risk(confidence: ArrayLike, error: ArrayLike, *, risk: float) -> OperatingPoint:
    """Return the largest coverage whose selective risk on these cases is at most the given one.

    This holds for the given cases only; `selective_threshold` gives a guarantee for future ones.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].
        risk: Highest mean error to tolerate among the accepted cases, in [0, 1].

    Returns:
        The operating point; its `coverage` is the answer, 0 with an infinite threshold if no level qualifies.

    Raises:
        ValueError: If risk is out of range, and as in `risk_coverage_curve`.

    Examples:
        With up to 40 % of wrong answers three of four cases may be accepted, without any wrong answer the
        surest only:

        >>> import numpy as np
        >>> from monai_sf.metrics import coverage_at_risk
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> coverage_at_risk(confidence, error, risk=0.4).coverage
        0.75
        >>> coverage_at_risk(confidence, error, risk=0.0)
        OperatingPoint(threshold=0.9, coverage=0.25, risk=0.0)
    """
    return _operating_point(confidence, error, partial(_last_level_at_risk, risk=risk))


def risk_at_coverage_of(levels: Levels, *, coverage: float) -> Array:
    """Return the selective risk (...) of cumulated counts (..., K)."""
    level = _level_at_coverage(levels, coverage)
    return pick(levels.wrong, level) / pick(levels.kept, level)


def coverage_at_risk_of(levels: Levels, *, risk: float) -> Array:
    """Return the coverage (...) of cumulated counts (..., K); 0 where no level qualifies."""
    level = _last_level_at_risk(levels, risk)
    return pick(levels.kept, level.clip(min=0)) * (level >= 0) / levels.kept[..., -1]


def _level_at_coverage(levels: Levels, coverage: float) -> Array:
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must lie in (0, 1], got {coverage}")
    return (levels.kept / levels.kept[..., -1:] < coverage).sum(-1)


def _last_level_at_risk(levels: Levels, risk: float) -> Array:
    """Return the index (...) of the lowest level whose selective risk is at most `risk`, -1 without one."""
    if not 0 <= risk <= 1:
        raise ValueError(f"risk must lie in [0, 1], got {risk}")
    kept, wrong = levels
    qualifies = wrong / kept.clip(min=1) <= risk
    # For each level: whether it or a lower one qualifies; their number is the index plus one.
    return namespace(kept).flip(qualifies, (-1,)).cumsum(-1).clip(max=1).sum(-1) - 1


def _operating_point(
    confidence: ArrayLike, error: ArrayLike, level_of: Callable[[Levels], Array]
) -> OperatingPoint:
    values, errors = check_cases(confidence, error)
    ranking = rank_cases(values)
    levels = levels_of_ranking(ranking, errors)
    level = int(level_of(levels))
    if level < 0:
        return OperatingPoint(threshold=math.inf, coverage=0.0, risk=math.nan)
    kept, wrong = float(levels.kept[level]), float(levels.wrong[level])
    threshold = float(thresholds_of(ranking, values)[level])
    return OperatingPoint(threshold, kept / float(levels.kept[-1]), wrong / kept)
