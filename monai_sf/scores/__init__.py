"""Confidence scoring functions (CSFs), as functions and as a registry with the arrays that each needs.

:doc:`/reference/scores` describes every score with its source.

Examples:
    A score of three cases from its arrays; the higher, the surer. Their probabilities are the
    exponentials of MSR:

    >>> import torch
    >>> from monai_sf.scores import CSFS
    >>> logits = torch.tensor([[4.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    >>> CSFS["MSR"]({"logits": logits}).exp().round(decimals=2).tolist()
    [0.96, 0.51, 0.33]
    >>> CSFS["MSR"].needs, CSFS["MDS"].needs
    (('logits',), ('mahalanobis_distance',))
    >>> CSFS["MDS"].fit.needs
    ('training_features', 'training_labels')

    The paper's scores, the methods and the kinds of scores; "all" stands for every score:

    >>> from monai_sf.scores import ALL, GROUPS, METHODS, PAPER_CSFS, PAPER_METHODS
    >>> PAPER_CSFS
    ('MSR', 'PE', 'MCD-MSR', 'MCD-PE', 'MCD-EE',
     'ConfidNet', 'DG-MCD-MSR', 'DG-RES', 'DeVries')
    >>> list(METHODS)
    ['confidnet', 'classifier', 'deepgamblers', 'devries']
    >>> PAPER_METHODS
    ('confidnet', 'deepgamblers', 'devries')
    >>> list(GROUPS), ALL
    (['paper', 'outputs', 'samples', 'fitted', 'runs', 'given'], 'all')
"""

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
from monai_sf.scores.groups import GROUPS, group_of, in_groups
from monai_sf.scores.ranks import rank_average, rank_product
from monai_sf.scores.reference import Reference
from monai_sf.scores.registry import (
    ALL,
    PAPER_CSFS,
    applies_to,
    csfs_for,
    deciding_csf,
    is_chosen,
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
from monai_sf.scores.sirc import sirc, sirc_parameters
from monai_sf.vocabulary.methods import METHODS, PAPER_METHODS, Method, register_method

__all__ = [
    "ALL",
    "CSF",
    "CSFS",
    "GROUPS",
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
    "group_of",
    "in_groups",
    "is_chosen",
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
    "rank_average",
    "rank_product",
    "register_csf",
    "register_method",
    "sirc",
    "sirc_parameters",
    "softmax_variance",
    "usual_csfs",
    "view_arrays",
    "waic",
]
