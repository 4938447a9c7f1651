"""Scores of several networks that were trained alike (deep ensembles).

Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
NeurIPS 2017. With the mean softmax p of the networks, DE-MSR is log max p, DE-PE is -H(p), DE-EE is minus the
mean of the networks' entropies, and DE-MI is DE-PE - DE-EE, minus the mutual information of answer and
network. With two classes DE-PE ranks as DE-MSR does.
"""

from __future__ import annotations

from torch import Tensor

from monai_sf.scores.csf import CSF, Arrays
from monai_sf.scores.functions import as_float64, entropy_of_log_probabilities, log_probabilities_of


def _log_mean(arrays: Arrays) -> Tensor:
    return log_probabilities_of(arrays["ensemble_log_softmax"], "ensemble_log_softmax")


def _entropy_of_mean(arrays: Arrays) -> Tensor:
    return entropy_of_log_probabilities(_log_mean(arrays))


def _mean_entropy(arrays: Arrays) -> Tensor:
    return as_float64(arrays["ensemble_entropy"], "ensemble_entropy")


OF_ENSEMBLES: tuple[CSF, ...] = (
    CSF(
        "DE-MSR",
        ("ensemble_log_softmax",),
        lambda a: _log_mean(a).amax(dim=-1),
        "Probability of the answer, averaged over several models that were trained alike.",
        prediction="ensemble_log_softmax",
        scale="log_probability",
    ),
    CSF(
        "DE-PE",
        ("ensemble_log_softmax",),
        lambda a: -_entropy_of_mean(a),
        "How little the averaged probability of several models spreads over the classes (negative entropy).",
        prediction="ensemble_log_softmax",
        scale="nats",
    ),
    CSF(
        "DE-EE",
        ("ensemble_entropy",),
        lambda a: -_mean_entropy(a),
        "How little each of several models spreads its probability, on average (negative entropy).",
        prediction="ensemble_log_softmax",
        scale="nats",
    ),
    CSF(
        "DE-MI",
        ("ensemble_log_softmax", "ensemble_entropy"),
        lambda a: _mean_entropy(a) - _entropy_of_mean(a),
        "How much several models agree with each other (negative mutual information).",
        prediction="ensemble_log_softmax",
        scale="nats",
    ),
)
