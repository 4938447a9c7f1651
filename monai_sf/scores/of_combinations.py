"""Combinations of two scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from monai_sf.scores.csf import CSF, Arrays, Fit, Fitted
from monai_sf.scores.divergences import log_odds
from monai_sf.scores.functions import as_float64, logits_of
from monai_sf.scores.reference import Reference
from monai_sf.scores.sirc import sirc, sirc_parameters


def _norm(features: Tensor) -> Tensor:
    return features.abs().sum(dim=-1)


def _fit_norm(reference: Reference) -> Fitted:
    if not len(reference["training_features"]):
        raise ValueError("there is no training case: give the features of at least one")
    reference.check("training_features")
    a, b = sirc_parameters(torch.cat([_norm(x) for (x,) in reference.blocks("training_features")]))
    return {"a": np.array([a]), "b": np.array([b])}


def _sirc(arrays: Arrays, second: Tensor, fitted: Fitted) -> Tensor:
    # log(1 - p) of the largest p
    shortfall = logsigmoid(-log_odds(logits_of(arrays["logits"], "logits")))
    return sirc(shortfall, second, a=float(fitted["a"][0]), b=float(fitted["b"][0]))


def _sirc_norm(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    return {"sirc_norm": _sirc(arrays, _norm(as_float64(arrays["features"], "features")), fitted)}


SIRC_NORM = Fit(
    "sirc_norm",
    needs=("training_features",),
    reads=("logits", "features"),
    gives=("sirc_norm",),
    fit=_fit_norm,
    derive=_sirc_norm,
)

OF_COMBINATIONS: tuple[CSF, ...] = (
    CSF(
        "SIRC-MSR-L1",
        SIRC_NORM.gives,
        lambda a: as_float64(a["sirc_norm"], "sirc_norm"),
        "Probability of the answer, lowered where the case's features are weaker than the training cases'.",
        fit=SIRC_NORM,
    ),
)
