"""Confidence scoring functions (CSFs), as functions and as a registry with the arrays that each needs."""

from monai_sf.scores.csf import CSF, CSFS, Fit
from monai_sf.scores.fitting import FittedScores, derivable, derived, fit_scores, fits_for
from monai_sf.scores.functions import (
    as_float64,
    deep_gamblers_confidence,
    energy,
    learned_confidence,
    log_softmax,
    logit_margin,
    max_logit,
    max_logit_p_norm,
    maximum_softmax_response,
    predictive_entropy,
)
from monai_sf.scores.reference import Reference
from monai_sf.scores.registry import (
    PAPER_CSFS,
    applies_to,
    csfs_for,
    deciding_csf,
    needs_dropout_samples,
    needs_views,
    register_csf,
    usual_csfs,
)
from monai_sf.scores.samples import (
    dropout_arrays,
    expected_entropy,
    mean_log_softmax,
    mutual_information,
    softmax_variance,
    view_arrays,
    waic,
)
from monai_sf.vocabulary.methods import METHODS, PAPER_METHODS, Method, register_method

__all__ = [
    "CSF",
    "CSFS",
    "METHODS",
    "PAPER_CSFS",
    "PAPER_METHODS",
    "Fit",
    "FittedScores",
    "Method",
    "Reference",
    "applies_to",
    "as_float64",
    "csfs_for",
    "deciding_csf",
    "deep_gamblers_confidence",
    "derivable",
    "derived",
    "dropout_arrays",
    "energy",
    "expected_entropy",
    "fit_scores",
    "fits_for",
    "learned_confidence",
    "log_softmax",
    "logit_margin",
    "max_logit",
    "max_logit_p_norm",
    "maximum_softmax_response",
    "mean_log_softmax",
    "mutual_information",
    "needs_dropout_samples",
    "needs_views",
    "predictive_entropy",
    "register_csf",
    "register_method",
    "softmax_variance",
    "usual_csfs",
    "view_arrays",
    "waic",
]
