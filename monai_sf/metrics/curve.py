"""The risk-coverage curve: one sort of the cases, from which this package derives every metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monai_sf.metrics.arrays import Array, ArrayLike, check_cases, check_finite, namespace


class Levels(NamedTuple):
    """The cases at or above each distinct confidence, from the highest confidence down.

    Ties form one level, so no metric depends on the order of rows. A level may repeat the counts of the
    previous one, and the first may be 0: a bootstrap sample may contain none of its cases.

    Attributes:
        kept: (..., K) float64, number of cases with at least this confidence; the last is N.
        wrong: (..., K) float64, the sum of their errors.
    """

    kept: Array
    wrong: Array


class Ranking(NamedTuple):
    """Cases by decreasing confidence.

    Attributes:
        order: (N,) int64, the row of each case.
        ends: (K,) int64, position in this order of the last case of each distinct confidence.
    """

    order: Array
    ends: Array


@dataclass(frozen=True, eq=False)
class RiskCoverageCurve:
    """The risk-coverage curve by increasing coverage: coverage 0, then K distinct confidences.

    Attributes:
        coverages: (K + 1,) share of the cases that are kept, from 0 to 1.
        selective_risks: (K + 1,) mean error of the kept cases; at coverage 0 that of the first level.
        generalized_risks: (K + 1,) sum of the errors of the kept cases over the number of all cases.
        thresholds: (K + 1,) lowest confidence that is kept, decreasing; infinity at coverage 0.

    Examples:
        Both cases of confidence 0.7 are kept together, so the curve has four points:

        >>> import numpy as np
        >>> from monai_sf.metrics import risk_coverage_curve
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> curve = risk_coverage_curve(confidence, error)
        >>> curve.thresholds.tolist()
        [inf, 0.9, 0.7, 0.2]
        >>> curve.coverages.tolist()
        [0.0, 0.25, 0.75, 1.0]
        >>> curve.selective_risks.round(3).tolist()
        [0.0, 0.0, 0.333, 0.5]
    """

    coverages: Array
    selective_risks: Array
    generalized_risks: Array
    thresholds: Array


def risk_coverage_curve(confidence: ArrayLike, error: ArrayLike) -> RiskCoverageCurve:
    """Return risk against coverage at every distinct confidence.

    Geifman & El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017 (selective risk);
    Traub et al., "Overcoming Common Flaws in the Evaluation of Selective Classification", NeurIPS 2024
    (generalized risk). Cases of equal confidence are accepted together, as one point.

    Args:
        confidence: (N,) finite real numbers, higher = more sure, of any dtype.
        error: (N,) in [0, 1], 1 where the prediction is wrong; any residual in between is allowed.

    Returns:
        The curve in float64: NumPy arrays for a NumPy confidence, tensors on its device for a tensor.

    Raises:
        ValueError: For other shapes, unequal lengths, no cases, NaN, infinity or values out of range.

    Examples:
        The same cases as arrays and as tensors; the two of one confidence are one point:

        >>> import numpy as np
        >>> import torch
        >>> from monai_sf.metrics import risk_coverage_curve
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> risk_coverage_curve(confidence, error).generalized_risks
        array([0.  , 0.  , 0.25, 0.5 ])
        >>> risk_coverage_curve(torch.tensor(confidence), torch.tensor(error)).coverages
        tensor([0.0000, 0.2500, 0.7500, 1.0000], dtype=torch.float64)
    """
    values, errors = check_cases(confidence, error)
    ranking = rank_cases(values)
    kept, wrong = levels_of_ranking(ranking, errors)
    thresholds = thresholds_of(ranking, values)
    xp = namespace(kept)
    zero = xp.zeros_like(kept[:1])
    risks = wrong / kept
    points = (
        xp.concatenate((zero, kept / kept[-1])),
        xp.concatenate((risks[:1], risks)),
        xp.concatenate((zero, wrong / kept[-1])),
        xp.concatenate((zero + np.inf, thresholds)),
    )
    if isinstance(confidence, Tensor):
        return RiskCoverageCurve(*(torch.as_tensor(point) for point in points))
    return RiskCoverageCurve(*points)


def levels_of(confidence: ArrayLike, error: ArrayLike) -> Levels:
    """Check the input and sort it once; see `risk_coverage_curve` for the arguments."""
    values, errors = check_cases(confidence, error)
    return levels_of_ranking(rank_cases(values), errors)


def levels_of_ranking(ranking: Ranking, error: Array) -> Levels:
    """Return one level per distinct confidence (K,)."""
    xp = namespace(error)
    # In place, here and below: at ten million cases, fetching memory takes as long as the arithmetic.
    wrong = error[ranking.order]
    xp.cumsum(wrong, 0, out=wrong)
    kept = xp.asarray(ranking.ends, dtype=xp.float64)
    kept += 1
    return Levels(kept, wrong[ranking.ends])


def thresholds_of(ranking: Ranking, confidence: Array) -> Array:
    """Return the distinct confidences (K,), highest first."""
    return confidence[ranking.order[ranking.ends]]


def rank_cases(confidence: Array) -> Ranking:
    """Sort a checked float64 vector (N,) of NumPy or torch.

    Raises:
        ValueError: If a confidence is NaN or infinite.
    """
    order: Array
    ranked: Array
    if isinstance(confidence, Tensor):
        ranked, order = confidence.sort(descending=True)
    else:
        order = np.argsort(confidence)[::-1]
        ranked = confidence[order]
    # Sorting puts NaN at one of the ends, and infinity too unless NaN is beyond it.
    if not (abs(ranked[0]) < np.inf and abs(ranked[-1]) < np.inf):
        check_finite(ranked)
    xp = namespace(ranked)
    last_too = xp.ones_like(ranked[:1] == 0)
    is_end = xp.concatenate((ranked[1:] != ranked[:-1], last_too))
    return Ranking(order, xp.argwhere(is_end)[:, 0])
