"""Distance of a case's features to the last layer's decision boundaries: fDBD."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_sf.scores.csf import Arrays, Fit, Fitted
from monai_sf.scores.functions import logits_of
from monai_sf.scores.moments import mean_feature
from monai_sf.scores.pieces import rowwise, squared_length, tensors
from monai_sf.scores.reference import Reference

#: Features are taken to be no nearer to the mean than this share of their usual length.
_NEAREST = 1e-12


def _fit(reference: Reference) -> dict[str, Tensor]:
    mean = reference.shared(mean_feature)
    squares = sum(float(squared_length(block).sum()) for (block,) in reference.blocks("training_features"))
    length = (squares / len(reference["training_features"])) ** 0.5
    if not length > 0:
        raise ValueError("all features of the training cases are 0")
    weight = reference.float64("last_layer_weight")
    # Products would cancel for similar classes.
    apart = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
    return {"mean": mean, "apart": apart, "nearest": mean.new_tensor([_NEAREST * length])}


def _derive(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    logits = logits_of(arrays["logits"], "logits")
    given = tensors(fitted, arrays["features"])
    mean, apart = given["mean"], given["apart"]
    if apart.shape[1] != logits.shape[1]:
        raise ValueError(f"logits have {logits.shape[1]} classes, the last layer {apart.shape[1]}")

    def away(x: Tensor, z: Tensor) -> Tensor:
        top, predicted = z.max(dim=1, keepdim=True)
        norms = apart[predicted[:, 0]]
        boundary = norms > 0
        to_boundary = torch.where(boundary, (top - z) / norms, 0.0).sum(1) / boundary.sum(1).clamp(min=1)
        from_mean = squared_length(x - mean).sqrt()
        return to_boundary / from_mean.maximum(given["nearest"])

    return {"boundary_distance": rowwise(away, len(mean), arrays["features"], logits)}


BOUNDARIES = Fit(
    name="boundaries",
    needs=("training_features", "last_layer_weight"),
    reads=("features", "logits"),
    gives=("boundary_distance",),
    fit=_fit,
    derive=_derive,
)
"""Mean distance to the boundaries with the other classes, relative to that from the mean training feature m.

mean over c != y of |logit_y - logit_c| / |w_y - w_c|, y the predicted class and w_c the rows of the last
layer's weight, divided by |x - m|: Liu & Qin, "Fast Decision Boundary based Out-of-Distribution Detector",
ICML 2024. Between classes of equal weights there is no boundary, and they are left out; without any
boundary it is 0. |x - m| counts as at least 1e-12 of the training features' root mean square length.
"""
