"""Confidence scoring functions (CSFs): as functions, and by name with what each needs."""

from monai_sf.scores.functions import (
    deep_gamblers_confidence,
    energy,
    expected_entropy,
    learned_confidence,
    log_softmax,
    logit_margin,
    max_logit,
    max_logit_p_norm,
    maximum_softmax_response,
    mean_log_softmax,
    mutual_information,
    predictive_entropy,
)
from monai_sf.scores.registry import CSF, CSFS, PAPER_CSFS, csfs_for, needs_dropout_samples

__all__ = [
    "CSF",
    "CSFS",
    "PAPER_CSFS",
    "csfs_for",
    "deep_gamblers_confidence",
    "energy",
    "expected_entropy",
    "learned_confidence",
    "log_softmax",
    "logit_margin",
    "max_logit",
    "max_logit_p_norm",
    "maximum_softmax_response",
    "mean_log_softmax",
    "mutual_information",
    "needs_dropout_samples",
    "predictive_entropy",
]
