"""Risk-coverage and failure-detection metrics; the guide :doc:`/guides/metrics` explains use and choices."""

from typing import TYPE_CHECKING

from monai_sf.metrics.areas import augrc, aurc, eaugrc, eaurc
from monai_sf.metrics.bootstrap import Interval, bootstrap_ci
from monai_sf.metrics.curve import RiskCoverageCurve, risk_coverage_curve
from monai_sf.metrics.failure import failure_auroc, failure_average_precision, failure_fpr
from monai_sf.metrics.groups import by_group
from monai_sf.metrics.guarantee import SelectiveThreshold, cases_for_guarantee, selective_threshold
from monai_sf.metrics.monitor import RiskMonitor
from monai_sf.metrics.operating import OperatingPoint, coverage_at_risk, risk_at_coverage
from monai_sf.metrics.paired import Difference, holm, paired_bootstrap
from monai_sf.metrics.summary import RiskCoverageMetrics, risk_coverage_metrics
from monai_sf.vocabulary.late import late

if TYPE_CHECKING:
    from monai_sf.metrics.ignite import (
        AUGRC,
        AURC,
        EAUGRC,
        EAURC,
        ConfidenceAndError,
        FailureAUROC,
        RiskCoverageMetric,
    )
else:
    __getattr__ = late(__name__, "ignite")

__all__ = [
    "AUGRC",
    "AURC",
    "EAUGRC",
    "EAURC",
    "ConfidenceAndError",
    "Difference",
    "FailureAUROC",
    "Interval",
    "OperatingPoint",
    "RiskCoverageCurve",
    "RiskCoverageMetric",
    "RiskCoverageMetrics",
    "RiskMonitor",
    "SelectiveThreshold",
    "augrc",
    "aurc",
    "bootstrap_ci",
    "by_group",
    "cases_for_guarantee",
    "coverage_at_risk",
    "eaugrc",
    "eaurc",
    "failure_auroc",
    "failure_average_precision",
    "failure_fpr",
    "holm",
    "paired_bootstrap",
    "risk_at_coverage",
    "risk_coverage_curve",
    "risk_coverage_metrics",
    "selective_threshold",
]
