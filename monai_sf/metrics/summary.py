"""All metrics of the curve from one sort."""

from __future__ import annotations

import math
from dataclasses import dataclass

from monai_sf.metrics.areas import augrc_of, aurc_of, eaugrc_of, eaurc_of, error_rate_of
from monai_sf.metrics.arrays import Array, ArrayLike, check_cases
from monai_sf.metrics.curve import levels_of_ranking, rank_cases
from monai_sf.metrics.failure import failure_auroc_of, failure_average_precision_of, failure_fpr_of


@dataclass(frozen=True)
class RiskCoverageMetrics:
    """All metrics of one confidence.

    Undefined metrics are NaN here, so that one row of a table does not spoil the others: the three failure
    metrics where all cases are correct or all are wrong (the average precision only where all are correct),
    or where an error is neither 0 nor 1.

    Attributes:
        error_rate: Mean error of all cases, the risk at full coverage.
        aurc: See `aurc`.
        eaurc: See `eaurc`.
        augrc: See `augrc`.
        eaugrc: See `eaugrc`.
        failure_auroc: See `failure_auroc`.
        failure_fpr: See `failure_fpr`, at a true-positive rate of 0.95.
        failure_average_precision: See `failure_average_precision`.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.metrics import risk_coverage_metrics
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> metrics = risk_coverage_metrics(confidence, error)
        >>> metrics.error_rate, metrics.augrc, metrics.failure_auroc
        (0.5, 0.15625, 0.875)
        >>> risk_coverage_metrics(np.array([0.9, 0.7]), np.array([0, 0])).failure_auroc
        nan
    """

    error_rate: float
    aurc: float
    eaurc: float
    augrc: float
    eaugrc: float
    failure_auroc: float
    failure_fpr: float
    failure_average_precision: float


def risk_coverage_metrics(confidence: ArrayLike, error: ArrayLike) -> RiskCoverageMetrics:
    """Return every metric of the curve from one sort.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        The metrics as floats.

    Raises:
        ValueError: See `risk_coverage_curve`.

    Examples:
        >>> from dataclasses import asdict
        >>> import numpy as np
        >>> from monai_sf.metrics import risk_coverage_metrics
        >>> confidence, error = np.array([0.9, 0.7, 0.7, 0.2]), np.array([0, 1, 0, 1])
        >>> metrics = risk_coverage_metrics(confidence, error)
        >>> for name, value in asdict(metrics).items():
        ...     print(f"{name:25} {value:.3f}")
        error_rate                0.500
        aurc                      0.188
        eaurc                     0.034
        augrc                     0.156
        eaugrc                    0.031
        failure_auroc             0.875
        failure_fpr               0.500
        failure_average_precision 0.833
    """
    values, errors = check_cases(confidence, error)
    levels = levels_of_ranking(rank_cases(values), errors)
    areas = (error_rate_of, aurc_of, eaurc_of, augrc_of, eaugrc_of)
    failure = (failure_auroc_of, failure_fpr_of, failure_average_precision_of)
    found: list[Array] = [of_levels(levels) for of_levels in areas]
    is_binary = not ((errors != 0) & (errors != 1)).any()
    found += [of_levels(levels) if is_binary else math.nan for of_levels in failure]
    return RiskCoverageMetrics(*map(float, found))
