"""Intervals of rates whose cases come in clusters, such as several images of one patient."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from monai_sf.metrics.bootstrap import Interval

Float = NDArray[np.float64]


def effective_sizes(wrong: Float, counted: Float, cases: Float | None = None) -> Float:
    """Return the numbers of independent cases that tell as much about a rate as the clustered ones.

    Images of one patient are alike: 100 images of 20 patients tell less than those of 100 patients. The
    variance of the rate is that of a ratio over clusters (Cochran, "Sampling Techniques", 1977, section
    2.11), and the size is that of independent cases with the same variance, never more than the cases. Few
    clusters do not tell this variance well: the size is multiplied by (t(n - 1) / t(G - 1))^2, with Student's
    quantiles for n cases and G clusters (Korn & Graubard, Survey Methodology 24, 1998).

    Args:
        wrong: (G, ...) sum of the errors, each in [0, 1], of the counted cases of every cluster.
        counted: (G, ...) number of these cases, or the sum of their weights, by which errors count then.
        cases: (...) number of the counted cases of all clusters; None for cases without weights.

    Returns:
        (...) float64, for intervals of 95 %; 0 where no case is counted, or if there is one cluster only:
        then there is no interval. Where all or none of the counted cases are wrong, the variance is not
        known, and every cluster counts once.
    """
    total: Float = counted.sum(axis=0)
    number = total if cases is None else cases
    if len(counted) < 2:
        return np.zeros(counted.shape[1:])
    rate = wrong.sum(axis=0) / np.where(total > 0, total, 1)
    variance = ((wrong - rate * counted) ** 2).sum(axis=0) / np.where(total > 0, total, 1) ** 2
    clusters = (counted > 0).sum(axis=0)
    # rounding leaves a variance of about 1e-32 where all clusters have one rate
    clear = (variance > 1e-28) & (clusters > 1) & (rate > 0) & (rate < 1)
    worth = np.minimum(rate * (1 - rate) / np.where(clear, variance, 1), number)
    quantiles = [stdtrit(np.maximum(n - 1, 1), 0.975) for n in (number, clusters)]
    sizes: Float = np.where(clear, worth * (quantiles[0] / quantiles[1]) ** 2, np.minimum(clusters, number))
    return sizes


def wilson(rate: float, size: float, level: float = 0.95) -> Interval:
    """Return Wilson's interval for a rate of independent cases; (NaN, NaN) without cases.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    Args:
        rate: In [0, 1].
        size: Number of independent cases, not necessarily a whole one, see `effective_sizes`.
        level: Nominal coverage of the interval, in (0, 1).
    """
    if not size > 0:
        return Interval(math.nan, math.nan)
    z = float(ndtri((1 + level) / 2))
    middle = rate + z * z / (2 * size)
    half = z * math.sqrt(rate * (1 - rate) / size + z * z / (4 * size * size))
    scale = 1 + z * z / size
    return Interval(max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))
