"""Further scores of a case's logits, some of which are fitted to held-out logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.scores.csf import CSF, Arrays, Fit, Fitted
from monai_sf.scores.divergences import (
    closest_divergence,
    doctor_ratio,
    generalized_entropy,
    relative_uncertainty,
    relative_uncertainty_matrix,
    typical_log_probabilities,
)
from monai_sf.scores.functions import (
    as_float64,
    energy,
    log_softmax,
    logit_margin,
    logits_of,
    max_logit,
    max_logit_p_norm,
    normalized,
    predictive_entropy,
)
from monai_sf.scores.reference import Reference
from monai_sf.scores.temperature import fit_temperature

#: Stands for the logarithm of 0 in fitted arrays, which hold numbers only.
_LOG_ZERO = -1e300


def _fit_temperature(reference: Reference) -> Fitted:
    if not len(reference["validation_logits"]):
        raise ValueError("there is no validation case to fit a temperature to: give those of at least one")
    reference.check("validation_logits")
    logits = logits_of(reference["validation_logits"], "validation_logits")
    return {"temperature": np.array([fit_temperature(logits, reference.labels("validation"))])}


def temperature_of(fitted: NDArray[Any]) -> float:
    """Return the fitted temperature (1,); NaN if that is no positive number, which would turn the ranking."""
    temperature = float(fitted.reshape(-1)[0]) if fitted.size == 1 else math.nan
    return temperature if 0 < temperature < math.inf else math.nan


def _scaled(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    logits = logits_of(arrays["logits"], "logits") / temperature_of(fitted["temperature"])
    return {
        "scaled_log_response": log_softmax(logits).amax(dim=-1),
        "scaled_entropy": predictive_entropy(logits),
    }


TEMPERATURE = Fit(
    "temperature",
    needs=("validation_logits", "validation_labels"),
    reads=("logits",),
    gives=("scaled_log_response", "scaled_entropy"),
    fit=_fit_temperature,
    derive=_scaled,
)


def _fit_typical(reference: Reference) -> Fitted:
    name = f"{reference.part_with('logits')}_logits"
    reference.check(name)

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        for (logits,) in reference.blocks(name):
            log_p = normalized(logits_of(logits, name))
            yield log_p, log_p.argmax(dim=-1)

    typical = typical_log_probabilities(blocks(), max(2, reference[name].shape[1]))
    return {"log_probabilities": typical.clamp(min=_LOG_ZERO).numpy()}


def _divergence(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    log_p = log_softmax(arrays["logits"])
    typical = torch.as_tensor(fitted["log_probabilities"], device=log_p.device)
    return {"kl_divergence": closest_divergence(log_p, typical)}


KL_MATCHING = Fit(
    "kl_matching",
    needs=("validation_logits",),
    otherwise=("training_logits",),
    reads=("logits",),
    gives=("kl_divergence",),
    fit=_fit_typical,
    derive=_divergence,
)


def _fit_relative(reference: Reference) -> Fitted:
    part = reference.part_with("logits", "labels")
    name = f"{part}_logits"
    reference.check(name)
    labels = reference.labels(part)

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        first = 0
        for (logits,) in reference.blocks(name):
            log_p = normalized(logits_of(logits, name))
            yield log_p.exp(), log_p.argmax(dim=-1) != labels[first : first + len(log_p)]
            first += len(log_p)

    weights = relative_uncertainty_matrix(blocks(), max(2, reference[name].shape[1]))
    return {"weights": weights.numpy()}


def _relative(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    log_p = log_softmax(arrays["logits"])
    weights = torch.as_tensor(fitted["weights"], device=log_p.device)
    return {"relative_uncertainty": relative_uncertainty(log_p, weights)}


REL_U = Fit(
    "rel_u",
    needs=("validation_logits", "validation_labels"),
    otherwise=("training_logits", "training_labels"),
    reads=("logits",),
    gives=("relative_uncertainty",),
    fit=_fit_relative,
    derive=_relative,
)

OF_LOGITS: tuple[CSF, ...] = (
    CSF(
        "MaxLogit",
        ("logits",),
        lambda a: max_logit(a["logits"]),
        "Strength of the evidence for the answer, before it is turned into a probability.",
        reads_level=True,
    ),
    CSF(
        "Energy",
        ("logits",),
        lambda a: energy(a["logits"]),
        "Strength of the evidence for all classes together (negative free energy).",
        reads_level=True,
    ),
    CSF(
        "Margin",
        ("logits",),
        lambda a: logit_margin(a["logits"]),
        "How far the answer lies ahead of the second choice (logits).",
    ),
    CSF(
        "MaxLogit-pNorm",
        ("logits",),
        lambda a: max_logit_p_norm(a["logits"]),
        "How much the answer stands out from the other classes, at any overall strength; constant for two.",
    ),
    CSF(
        "T-MSR",
        TEMPERATURE.gives[:1],
        lambda a: as_float64(a["scaled_log_response"], "scaled_log_response"),
        "Probability that the model gives to its own answer, corrected on cases that it was not trained on.",
        scale="log_probability",
        fit=TEMPERATURE,
    ),
    CSF(
        "T-PE",
        TEMPERATURE.gives[1:],
        lambda a: -as_float64(a["scaled_entropy"], "scaled_entropy"),
        "How little the corrected probability is spread over the classes (negative entropy).",
        scale="nats",
        fit=TEMPERATURE,
    ),
    CSF(
        "DOCTOR",
        ("logits",),
        lambda a: -doctor_ratio(log_softmax(a["logits"])),
        "How unlikely it is that two answers drawn by the model's probabilities differ.",
    ),
    CSF(
        "GEN",
        ("logits",),
        lambda a: -generalized_entropy(log_softmax(a["logits"])),
        "How little of the probability goes to other classes, with small shares weighted up.",
    ),
    CSF(
        "KL-Matching",
        KL_MATCHING.gives,
        lambda a: -as_float64(a["kl_divergence"], "kl_divergence"),
        "How much the probabilities look like those that the model usually gives for one of the classes.",
        fit=KL_MATCHING,
    ),
    CSF(
        "Rel-U",
        REL_U.gives,
        lambda a: -as_float64(a["relative_uncertainty"], "relative_uncertainty"),
        "How little of the probability goes to pairs of classes that the model is known to confuse.",
        fit=REL_U,
    ),
)
