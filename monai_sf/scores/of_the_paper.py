"""The nine scores of the paper, in the order of its table."""

from __future__ import annotations

from monai_sf.scores.csf import CSF
from monai_sf.scores.functions import (
    deep_gamblers_confidence,
    learned_confidence,
    log_softmax,
    predictive_entropy,
)
from monai_sf.scores.of_means import log_response, negative, predictive_entropy_of

PAPER: tuple[CSF, ...] = (
    CSF(
        "MSR",
        ("logits",),
        lambda a: log_softmax(a["logits"]).amax(dim=-1),
        "Probability that the model gives to its own answer.",
        scale="log_probability",
    ),
    CSF(
        "PE",
        ("logits",),
        lambda a: -predictive_entropy(a["logits"]),
        "How little the model's probability is spread over the classes (negative entropy).",
        scale="nats",
    ),
    CSF(
        "MCD-MSR",
        ("mcd_log_softmax",),
        log_response("mcd_log_softmax"),
        "Probability of the answer, averaged over repeated runs with random parts of the model switched off.",
        prediction="mcd_log_softmax",
        scale="log_probability",
    ),
    CSF(
        "MCD-PE",
        ("mcd_log_softmax",),
        predictive_entropy_of("mcd_log_softmax"),
        "How little the averaged probability of repeated runs is spread over the classes (negative entropy).",
        prediction="mcd_log_softmax",
        scale="nats",
    ),
    CSF(
        "MCD-EE",
        ("mcd_entropy",),
        negative("mcd_entropy"),
        "How little each of the repeated runs spreads its probability, on average (negative entropy).",
        prediction="mcd_log_softmax",
        scale="nats",
    ),
    CSF(
        "ConfidNet",
        ("confidence_logit",),
        lambda a: learned_confidence(a["confidence_logit"]),
        "A second network's estimate of the probability that the model gives to the true class.",
        method="confidnet",
        scale="log_probability",
    ),
    CSF(
        "DG-MCD-MSR",
        # The reservation logit is not read, but distinguishes a Deep Gamblers network from any other.
        ("mcd_log_softmax", "reservation_logit"),
        log_response("mcd_log_softmax"),
        "Probability of the answer over repeated runs, for a model trained with the option to abstain.",
        prediction="mcd_log_softmax",
        method="deepgamblers",
        scale="log_probability",
    ),
    CSF(
        "DG-RES",
        ("logits", "reservation_logit"),
        lambda a: deep_gamblers_confidence(a["logits"], a["reservation_logit"]),
        "Probability that the model does not choose to abstain.",
        method="deepgamblers",
        scale="log_probability",
    ),
    CSF(
        "DeVries",
        ("confidence_logit",),
        lambda a: learned_confidence(a["confidence_logit"]),
        "Confidence that the model learned to state by asking for hints in training.",
        method="devries",
        scale="log_probability",
    ),
)
