"""Scores of reshaped features, or of gradients, through the weights of the last layer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from monai_sf.scores.activations import (
    Layer,
    clipped_energy,
    energy_of,
    gradient_norm,
    largest_contributions,
    largest_features,
    percentile,
    pruned_energy,
    scaled_energy,
)
from monai_sf.scores.csf import CSF, Arrays, Fit, Fitted
from monai_sf.scores.functions import as_float64
from monai_sf.scores.moments import mean_feature
from monai_sf.scores.reference import Reference

#: Share of all numbers among the training features that ReAct leaves as they are.
_UNCLIPPED = 0.9


def _fit_layer(reference: Reference) -> Fitted:
    weight, bias = reference.float64("last_layer_weight"), reference.float64("last_layer_bias")
    if len(weight) < 2:
        raise ValueError(
            "the last layer has one output: give its weight w and bias b as those of two classes, "
            "[-w/2, w/2] and [-b/2, b/2]"
        )
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise ValueError("weight or bias of the last layer hold NaN or infinity: is the network trained?")
    return {"weight": weight.cpu().numpy(), "bias": bias.cpu().numpy()}


def _inputs(arrays: Arrays, fitted: Fitted) -> tuple[Tensor, Layer]:
    features = as_float64(arrays["features"], "features")
    weight, bias = (torch.as_tensor(fitted[name], device=features.device) for name in ("weight", "bias"))
    if features.shape[1:] != weight.shape[1:]:
        raise ValueError(
            f"features have shape {tuple(features.shape)}, but the last layer reads {weight.shape[1]} numbers"
            f" per case: give the features that this layer reads"
        )
    return features, Layer(weight, bias)


def _reshaped(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    features, layer = _inputs(arrays, fitted)
    largest = largest_features(features)
    return {
        "ash_energy": pruned_energy(features, largest, layer),
        "scale_energy": scaled_energy(features, largest, layer),
        "gradient_norm": gradient_norm(features, layer),
    }


LAST_LAYER = Fit(
    "last_layer",
    needs=("last_layer_weight", "last_layer_bias"),
    reads=("features",),
    gives=("ash_energy", "scale_energy", "gradient_norm"),
    fit=_fit_layer,
    derive=_reshaped,
)


def _fit_activations(reference: Reference) -> Fitted:
    layer = _fit_layer(reference)
    kept = largest_contributions(reference.shared(mean_feature), torch.from_numpy(layer["weight"]))
    threshold = percentile(lambda: (block for (block,) in reference.blocks("training_features")), _UNCLIPPED)
    return {**layer, "kept": kept.numpy(), "threshold": np.array([threshold])}


def _of_training(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    features, layer = _inputs(arrays, fitted)
    kept = torch.as_tensor(fitted["kept"], device=features.device)
    return {
        "react_energy": clipped_energy(features, layer, float(fitted["threshold"][0])),
        "dice_energy": energy_of(features, Layer(kept, layer.bias)),
    }


ACTIVATIONS = Fit(
    "activations",
    needs=("training_features", "last_layer_weight", "last_layer_bias"),
    reads=("features",),
    gives=("react_energy", "dice_energy"),
    fit=_fit_activations,
    derive=_of_training,
)


def _score(name: str, fit: Fit, array: str, description: str) -> CSF:
    return CSF(name, (array,), lambda a: as_float64(a[array], array), description, fit=fit)


OF_ACTIVATIONS: tuple[CSF, ...] = (
    _score(
        "ReAct",
        ACTIVATIONS,
        "react_energy",
        "Strength of the evidence for all classes together, with unusually strong features cut down.",
    ),
    _score(
        "ASH",
        LAST_LAYER,
        "ash_energy",
        "Strength of the evidence for all classes together, from the case's strongest features only.",
    ),
    _score(
        "SCALE",
        LAST_LAYER,
        "scale_energy",
        "Strength of the evidence for all classes together, raised where few features hold most of it.",
    ),
    _score(
        "DICE",
        ACTIVATIONS,
        "dice_energy",
        "Strength of the evidence for all classes together, through the model's most important links only.",
    ),
    _score(
        "GradNorm",
        LAST_LAYER,
        "gradient_norm",
        "How much the model would have to change to give up its answer.",
    ),
)
