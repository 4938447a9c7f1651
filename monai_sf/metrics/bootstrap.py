"""Bootstrap confidence intervals of the metrics, without sorting again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from monai_sf.metrics.areas import augrc, augrc_of, aurc, aurc_of, eaugrc, eaugrc_of, eaurc, eaurc_of
from monai_sf.metrics.arrays import Array, ArrayLike, NumpyArray, check_binary, check_cases
from monai_sf.metrics.curve import Levels, rank_cases
from monai_sf.metrics.failure import (
    failure_auroc,
    failure_auroc_of,
    failure_average_precision,
    failure_average_precision_of,
    failure_fpr,
    failure_fpr_of,
)
from monai_sf.metrics.operating import (
    coverage_at_risk,
    coverage_at_risk_of,
    risk_at_coverage,
    risk_at_coverage_of,
)
from monai_sf.vocabulary.ids import Groups, group_cases
from monai_sf.vocabulary.outputs import refuse_other_order

Metric = Callable[..., Any]

_OF_LEVELS: MappingProxyType[Metric, Callable[..., Array]] = MappingProxyType(
    {
        aurc: aurc_of,
        eaurc: eaurc_of,
        augrc: augrc_of,
        eaugrc: eaugrc_of,
        failure_auroc: failure_auroc_of,
        failure_fpr: failure_fpr_of,
        failure_average_precision: failure_average_precision_of,
        risk_at_coverage: risk_at_coverage_of,
        coverage_at_risk: coverage_at_risk_of,
    }
)
_NEEDS_BINARY = (failure_auroc, failure_fpr, failure_average_precision)
# Counts of the resamples that are processed together: few enough to stay in the processor's cache.
BLOCK_CELLS = 2**16

_log = logging.getLogger(__name__)


class Interval(NamedTuple):
    """A confidence interval; both ends are NaN where there is none.

    Attributes:
        low: Lower end.
        high: Upper end.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.metrics import aurc, bootstrap_ci
        >>> low, high = bootstrap_ci(aurc, np.linspace(0, 1, 50), np.arange(50) < 5)
        >>> 0 <= low < high <= 1
        True
        >>> both, wrong = np.array([0.9, 0.2]), np.array([0, 1])
        >>> bootstrap_ci(aurc, both, wrong, groups=["patient 1", "patient 1"])
        Interval(low=nan, high=nan)
    """

    low: float
    high: float


def bootstrap_ci(
    metric: Metric,
    confidence: ArrayLike,
    error: ArrayLike,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    groups: ArrayLike | Sequence[Any] | Groups | None = None,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval of a metric.

    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    The cases are sorted once. A resample is then how often each of them was drawn: multinomial counts in the
    order of the confidence, of which only cumulative sums are needed. The draws are made on the CPU, so a
    seed gives the same interval on every device.

    Args:
        metric: One of this package's functions `aurc`, `eaurc`, `augrc`, `eaugrc`, `failure_auroc`,
            `failure_fpr`, `failure_average_precision`, `risk_at_coverage` (its risk), `coverage_at_risk` (its
            coverage); options are given by ``functools.partial(risk_at_coverage, coverage=0.8)``.
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1]; only 0 and 1 for the failure metrics.
        n_resamples: Number of resamples.
        level: Nominal coverage of the interval, in (0, 1).
        groups: (N,) of numbers or strings, or groups of `monai_sf.vocabulary.ids`. Cases of one group, such
            as the images of one patient, are drawn together, since they are not independent; each resample
            draws as many groups as there are. Ids are compared as in `monai_sf.vocabulary.ids`: "P1" and
            "p1 " are one, and so are 1, 1.0 and "01"; a case whose id is missing (None, NaN, "unknown", ...)
            is its own group. Merged spellings are logged.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        (low, high). Resamples in which the metric is undefined (without a failure, say) are left out.
        (NaN, NaN) for a single group (or case), which says nothing about the variation between groups.

    Raises:
        ValueError: If metric is not one of those, an argument is out of range, a placeholder such as
            "anonymous" is the group of most cases, the metric is undefined in every resample, and as in
            `risk_coverage_curve`, also for the order of groups.

    Examples:
        Each of 100 patients has four images, which are all right or all wrong: the interval is too narrow
        where images are taken for independent. Options of the metric are given by ``functools.partial``.

        >>> from functools import partial
        >>> import numpy as np
        >>> from monai_sf.metrics import bootstrap_ci, risk_at_coverage
        >>> patient = np.repeat(np.arange(100), 4)
        >>> confidence, error = np.linspace(0, 1, 400), patient % 10 == 0
        >>> metric = partial(risk_at_coverage, coverage=0.8)
        >>> low, high = bootstrap_ci(metric, confidence, error)
        >>> grouped = bootstrap_ci(metric, confidence, error, groups=patient)
        >>> grouped.high - grouped.low > 1.5 * (high - low)
        True
    """
    of_levels = metric_of_levels(metric)
    check_draws(n_resamples, level)
    values, errors = check_judged(metric, confidence, error)
    cases = RankedCases(values, errors)
    beside = {"confidence": confidence, "error": error}
    known = None if groups is None else groups_of(groups, len(values), beside)
    n_units = len(values) if known is None else len(known)
    if n_units < 2:
        return Interval(float("nan"), float("nan"))
    group = None if known is None else known.of_case[cases.order]
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_CELLS // len(values))
    parts = []
    for start in range(0, n_resamples, block):
        draws = rng.integers(0, n_units, (min(block, n_resamples - start), n_units))
        draws += n_units * np.arange(len(draws))[:, None]
        counts = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape)
        parts.append(of_levels(cases.levels(counts if group is None else counts.take(group, axis=1))))
    estimates = np.concatenate(parts)
    defined = estimates[~np.isnan(estimates)]
    if len(defined) == 0:
        raise ValueError(
            f"error must hold failures and successes, got {int((errors > 0).sum())} wrong among "
            f"{len(errors)} cases: {base(metric).__name__} is not defined in any of {n_resamples} resamples"
        )
    return percentile_interval(defined, level)


def percentile_interval(resampled: NumpyArray, level: float) -> Interval:
    """Return the interval that holds the share ``level`` of the resampled values (R,), none of them NaN."""
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(float(low), float(high))


def base(metric: Metric) -> Metric:
    """Return the function of a metric with or without options."""
    return metric.func if isinstance(metric, partial) else metric


def check_judged(metric: Metric, confidence: ArrayLike, error: ArrayLike) -> tuple[Array, Array]:
    """Return both as `check_cases` does, after refusing errors that the metric is not defined for."""
    values, errors = check_cases(confidence, error)
    if base(metric) in _NEEDS_BINARY:
        check_binary(errors)
    return values, errors


def metric_of_levels(metric: Metric) -> Callable[[Levels], Array]:
    """Return a metric as a function of cumulated counts."""
    of_levels = _OF_LEVELS.get(base(metric))
    if of_levels is None:
        known = ", ".join(function.__name__ for function in _OF_LEVELS)
        raise ValueError(f"metric must be one of {known}, or a functools.partial of one, got {metric!r}")
    return partial(of_levels, **metric.keywords) if isinstance(metric, partial) else of_levels


def on_cpu(array: Array) -> NumpyArray:
    """Return an array of NumPy or torch as one of NumPy."""
    result: NumpyArray = array.cpu().numpy() if isinstance(array, Tensor) else array
    return result


def check_draws(n_resamples: int, level: float = 0.95) -> None:
    """Raise ValueError unless there are resamples and the level lies in (0, 1)."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")


def groups_of(groups: Any, n_cases: int, beside: Mapping[str, Any], name: str = "groups") -> Groups:
    """Return the groups of the cases, by the rule for ids.

    Args:
        groups: (N,) ids, or groups.
        n_cases: N.
        beside: The other arguments (N,) as they were given, by name.
        name: Of the argument, for messages.

    Raises:
        ValueError: If the numbers of entries and cases differ, a placeholder is the group of most cases, or
            pandas columns among all these hold the same index in another order.
    """
    refuse_other_order({**beside, name: groups})
    if isinstance(groups, Groups) and groups.of_case.shape == (n_cases,):
        return groups
    given = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else groups
    names = given if isinstance(given, np.ndarray) else np.asarray(given, object)
    if names.shape != (n_cases,):
        raise ValueError(f"{name} must have shape ({n_cases},) like confidence, got {names.shape}")
    known = group_cases(names)
    if len(known) > 1:  # a single group has no interval, whatever it is called
        known.check()
    for note in known.notes:
        _log.warning("%s: %s", name, note)
    return known


class RankedCases:
    """Cases in the order of their confidence, of which resamples are drawn.

    Args:
        values: (N,) confidences, checked.
        errors: (N,) errors, checked.

    Attributes:
        order: (N,) the row of each case.
    """

    def __init__(self, values: Array, errors: Array) -> None:
        # NumPy orders ties in its own way, and which of them a resample draws depends on that.
        self.order, self._ends = rank_cases(on_cpu(values))
        error = on_cpu(errors)[self.order]
        # Most cases are right and contribute nothing, so only the others are summed.
        self._faulty = np.flatnonzero(error)
        self._n_faulty = np.searchsorted(self._faulty, self._ends, side="right")
        self._error = error[self._faulty]
        self._is_binary = bool((self._error == 1).all())

    def levels(self, counts: NumpyArray) -> Levels:
        """Return levels (R, K) from how often each case, in this order, is in each resample (R, N)."""
        # NumPy cumulates integers eight times as fast as floats, whose additions wait for each other.
        kept = counts.cumsum(axis=1, dtype=np.int64)
        if len(self._ends) < len(self.order):
            kept = kept.take(self._ends, axis=1)
        of_faulty = counts.take(self._faulty, axis=1)
        wrong = np.zeros((len(counts), len(self._faulty) + 1))
        if self._is_binary:
            wrong[:, 1:] = of_faulty.cumsum(axis=1, dtype=np.int64)
        else:
            np.cumsum(of_faulty * self._error, axis=1, out=wrong[:, 1:])
        return Levels(kept.astype(np.float64), wrong.take(self._n_faulty, axis=1))
