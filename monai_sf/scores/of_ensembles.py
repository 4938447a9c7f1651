"""Scores of several networks that were trained alike (deep ensembles).

Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
NeurIPS 2017. With the mean softmax p of the networks, DE-MSR is log max p, DE-PE is -H(p), DE-EE is minus the
mean of the networks' entropies, and DE-MI is DE-PE - DE-EE, minus the mutual information of answer and
network. With two classes DE-PE ranks as DE-MSR does.
"""

from __future__ import annotations

from monai_sf.scores.csf import CSF
from monai_sf.scores.of_means import log_response, mutual_information_of, negative, predictive_entropy_of

OF_ENSEMBLES: tuple[CSF, ...] = (
    CSF(
        "DE-MSR",
        ("ensemble_log_softmax",),
        log_response("ensemble_log_softmax"),
        "Probability of the answer, averaged over several models that were trained alike.",
        prediction="ensemble_log_softmax",
        scale="log_probability",
    ),
    CSF(
        "DE-PE",
        ("ensemble_log_softmax",),
        predictive_entropy_of("ensemble_log_softmax"),
        "How little the averaged probability of several models spreads over the classes (negative entropy).",
        prediction="ensemble_log_softmax",
        scale="nats",
    ),
    CSF(
        "DE-EE",
        ("ensemble_entropy",),
        negative("ensemble_entropy"),
        "How little each of several models spreads its probability, on average (negative entropy).",
        prediction="ensemble_log_softmax",
        scale="nats",
    ),
    CSF(
        "DE-MI",
        ("ensemble_log_softmax", "ensemble_entropy"),
        mutual_information_of("ensemble_log_softmax", "ensemble_entropy"),
        "How much several models agree with each other (negative mutual information).",
        prediction="ensemble_log_softmax",
        scale="nats",
    ),
)
