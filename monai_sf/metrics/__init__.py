"""Risk-coverage and failure-detection metrics; docs/metrics.md tells how to use them and why they are so."""

from monai_sf.metrics.areas import augrc, aurc, eaugrc, eaurc
from monai_sf.metrics.curve import RiskCoverageCurve, risk_coverage_curve

__all__ = [
    "RiskCoverageCurve",
    "augrc",
    "aurc",
    "eaugrc",
    "eaurc",
    "risk_coverage_curve",
]
