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
from monai_sf.scores.registry import (
    CSF,
    CSFS,
    PAPER_CSFS,
    csfs_for,
    deciding_csf,
    needs_dropout_samples,
    register_csf,
    usual_csfs,
)
from monai_sf.vocabulary.methods import METHODS, PAPER_METHODS, Method, register_method

__all__ = [
    "CSF",
    "CSFS",
    "METHODS",
    "PAPER_CSFS",
    "PAPER_METHODS",
    "Method",
    "csfs_for",
    "deciding_csf",
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
    "register_csf",
    "register_method",
    "usual_csfs",
]
