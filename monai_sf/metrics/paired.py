"""Paired bootstrap over groups: is one confidence better than another on the same patients?

Both are judged on the *same* resampled patients, so that what makes a resample easy or hard for both cancels
in the difference. Each group (patient) is drawn independently, Poisson(1) times per resample, from its own
stream of random numbers, seeded by its id in canonical spelling (`monai_sf.vocabulary.ids`). This is the
bootstrap with a random number of draws (Hanley & MacGibbon, "Creating non-parametric bootstrap samples using
Poisson frequencies", Comput. Methods Programs Biomed. 2006). The reason: a patient is then drawn equally
often wherever it occurs - in the image with and without corruption, in the runs of all methods and seeds, in
two overlapping test sets, however its id is spelled there - although no two of these are ever in memory
together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_sf.metrics.arrays import Array, ArrayLike, NumpyArray, check_cases
from monai_sf.metrics.bootstrap import (
    BLOCK_CELLS,
    Metric,
    RankedCases,
    check_draws,
    check_judged,
    groups_of,
    metric_of_levels,
    percentile_interval,
)
from monai_sf.metrics.curve import Levels
from monai_sf.vocabulary.ids import Groups

#: P(count <= k) of the Poisson distribution with mean 1; beyond 17 it is 1 in float64.
_POISSON_STEPS = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(18)])


class Difference(NamedTuple):
    """The difference of a metric between two confidences, first minus second.

    Attributes:
        estimate: On all cases, in the metric's unit.
        low: Lower end of the percentile interval; NaN where there is none.
        high: Upper end; NaN where there is none.
        p_value: Two-sided, in [2 / (resamples + 1), 1]; below 1 - level where the interval excludes 0. NaN
            where there is no interval.

    Examples:
        An interval that excludes 0; the first has the lower AURC, which is better:

        >>> from monai_sf.metrics import Difference
        >>> found = Difference(estimate=-0.012, low=-0.02, high=-0.003, p_value=0.008)
        >>> found.low > 0 or found.high < 0
        True
    """

    estimate: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    metric: Metric,
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    groups: ArrayLike | Sequence[Any] | Groups | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Estimate the difference of a metric between two confidences on the same cases, by resampling groups.

    Args:
        metric: As for `bootstrap_ci`.
        first: Confidence (N,) and error (N,); its predictions may differ from the second's.
        second: The same of the other, for the same cases.
        groups: (N,) names or numbers, as for `bootstrap_ci`; cases of one group are drawn together. By
            default each case is its own group.
        n_resamples: Number of resamples; no p-value is smaller than 2 / (n_resamples + 1).
        level: Nominal coverage of the interval, in (0, 1).
        seed: Of the draws.

    Returns:
        The difference, first minus second. Resamples in which the metric is undefined are left out. With a
            single group, interval and p-value are NaN.

    Raises:
        ValueError: If the two differ in the number of cases, a placeholder such as "anonymous" is the group
            of most of them, an argument is out of range, the metric is undefined in every resample, pandas
            columns hold the same index in another order, and as in `risk_coverage_curve`.

    Examples:
        Two confidences of the same 200 cases, of which 20 are wrong: the first gives all of these a low
        rank, the second is the same but for 15 of them. The AURC of the first is lower, which is better.

        >>> import numpy as np
        >>> from monai_sf.metrics import aurc, paired_bootstrap
        >>> error = np.arange(200) < 20
        >>> first = np.linspace(0, 1, 200)
        >>> second = np.where(np.arange(200) < 15, first + 0.5, first)
        >>> found = paired_bootstrap(aurc, (first, error), (second, error))
        >>> print(f"{found.estimate:.3f}, p = {found.p_value:.3f}")
        -0.047, p = 0.001
        >>> found.low < found.estimate < found.high < 0
        True
    """
    of_levels = metric_of_levels(metric)
    pairs = [check_judged(metric, *first), check_judged(metric, *second)]
    n_cases = len(pairs[0][0])
    if len(pairs[1][0]) != n_cases:
        raise ValueError(
            f"first and second must hold the same cases, got {n_cases} and {len(pairs[1][0])} of them"
        )
    check_draws(n_resamples, level)
    given = {
        f"{part} of {pair}": array
        for pair, arrays in (("first", first), ("second", second))
        for part, array in zip(("confidence", "error"), arrays, strict=True)
    }
    known = groups_of(np.arange(n_cases) if groups is None else groups, n_cases, given)
    estimate = float(metric(*first)) - float(metric(*second))
    if len(known) < 2:
        return Difference(estimate, float("nan"), float("nan"), float("nan"))
    counts = group_counts(known.ids, n_resamples, seed)
    one, two = (resampled_values(of_levels, c, e, counts, known.of_case) for c, e in pairs)
    return difference_of(estimate, one - two, level)


def group_counts(names: Sequence[Any] | NumpyArray, n_resamples: int, seed: int) -> NDArray[np.uint8]:
    """Draw how often each group is in each resample; a group's counts depend on its name and the seed only.

    Args:
        names: (G,) distinct ids of groups in canonical spelling, at least two.
        n_resamples: R.
        seed: Of the draws.

    Returns:
        (R, G) Poisson(1) counts.

    Raises:
        ValueError: If there are fewer than two groups or no resamples.
    """
    check_draws(n_resamples)
    if len(names) < 2:
        raise ValueError(f"groups must hold at least two groups to resample, got {len(names)}")
    counts = np.empty((n_resamples, len(names)), np.uint8)
    for column, name in enumerate(names):
        start = f"{seed}/{name}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(start, digest_size=16).digest()
        stream = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))
        counts[:, column] = _POISSON_STEPS.searchsorted(stream.random(n_resamples), side="right")
    return counts


def resampled_values(
    of_levels: Callable[[Levels], Array],
    confidence: ArrayLike,
    error: ArrayLike,
    counts: NDArray[np.uint8],
    group_of_case: NumpyArray,
) -> NDArray[np.float64]:
    """Return a metric in every resample.

    Args:
        of_levels: The metric of cumulated counts (..., K), such as `monai_sf.metrics.areas.aurc_of`.
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].
        counts: (R, G), see `group_counts`.
        group_of_case: (N,) index of each case's group in 0..G-1.

    Returns:
        (R,) values, NaN where the metric is undefined or no group was drawn.
    """
    cases = RankedCases(*check_cases(confidence, error))
    ranked_group = np.asarray(group_of_case)[cases.order]
    result = np.full(len(counts), np.nan)
    drawn = np.flatnonzero(counts[:, np.unique(ranked_group)].any(axis=1))
    block = max(1, BLOCK_CELLS // 2 // len(ranked_group))
    for start in range(0, len(drawn), block):
        rows = drawn[start : start + block]
        result[rows] = of_levels(cases.levels(counts[rows].take(ranked_group, axis=1)))
    return result


def difference_of(estimate: float, resampled: NDArray[np.float64], level: float = 0.95) -> Difference:
    """Return interval and p-value of a difference from its resampled values (R,), leaving out NaN.

    Raises:
        ValueError: If level is out of range or every resampled value is NaN.
    """
    check_draws(len(resampled), level)
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        raise ValueError(f"the metric is not defined in any of {len(resampled)} resamples")
    low, high = percentile_interval(defined, level)
    rarer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    # One is added since the data are themselves a possible sample: a p-value is never 0.
    p_value = min(1.0, 2 * (rarer + 1) / (len(defined) + 1))
    return Difference(estimate, low, high, p_value)


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values to bound the probability of any false positive in the family (Holm's correction).

    Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979.

    Args:
        p_values: (n,) in [0, 1]; NaN for a comparison that was not made, which the family does not include.

    Returns:
        (n,) adjusted, at least as large; NaN where the input is.

    Raises:
        ValueError: If a p-value is out of range.

    Examples:
        Three comparisons and one that was not made: the smallest p-value is multiplied by 3, the next by 2.

        >>> import math
        >>> from monai_sf.metrics import holm
        >>> holm([0.01, 0.5, math.nan, 0.02]).round(3).tolist()
        [0.03, 0.5, nan, 0.04]
    """
    given = np.asarray(p_values, np.float64)
    made = np.flatnonzero(~np.isnan(given))
    if not ((given[made] >= 0) & (given[made] <= 1)).all():
        raise ValueError(f"p_values must lie in [0, 1], got {given[made].min()} to {given[made].max()}")
    order = made[np.argsort(given[made], kind="stable")]
    adjusted = np.full(len(given), np.nan)
    if len(order):
        factors = np.arange(len(order), 0, -1)
        adjusted[order] = np.maximum.accumulate(np.minimum(factors * given[order], 1.0))
    return adjusted
