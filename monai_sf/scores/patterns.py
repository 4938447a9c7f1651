"""Similarity of a case's features to the mean pattern of its predicted class: SHE."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_sf.scores.csf import Arrays, Fit, Fitted
from monai_sf.scores.functions import logits_of
from monai_sf.scores.moments import class_means, training_logits
from monai_sf.scores.pieces import rowwise, tensors
from monai_sf.scores.reference import Reference


def _fit(reference: Reference) -> dict[str, Tensor]:
    found = reference.shared(class_means)
    logits = reference.shared(training_logits)
    classes, predicted, labels = logits.shape[1], logits.argmax(1), reference.labels()
    sums = found.means.new_zeros(classes, found.means.shape[1])
    counts = torch.bincount(labels[predicted == labels], minlength=classes).to(sums)
    first = 0
    for (features,) in reference.blocks("training_features"):
        rows = slice(first, first + len(features))
        right = predicted[rows] == labels[rows]
        sums.index_add_(0, labels[rows][right], features[right])
        first += len(features)
    patterns = sums / counts.clamp(min=1)[:, None]
    never = (counts[: len(found.counts)] == 0).nonzero().flatten()
    patterns[never] = found.means[never]
    return {"patterns": patterns}


def _derive(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    logits = logits_of(arrays["logits"], "logits")
    patterns = tensors(fitted, arrays["features"])["patterns"]
    if len(patterns) != logits.shape[1]:
        raise ValueError(f"logits have {logits.shape[1]} classes, the training cases' {len(patterns)}")

    def product(x: Tensor, z: Tensor) -> Tensor:
        inner = (x * patterns[z.argmax(1)]).sum(1)
        return torch.where(z.amax(1).isfinite(), inner, torch.nan)

    return {"pattern_similarity": rowwise(product, patterns.shape[1], arrays["features"], logits)}


PATTERNS = Fit(
    name="patterns",
    needs=("training_features", "training_logits", "training_labels"),
    reads=("features", "logits"),
    gives=("pattern_similarity",),
    fit=_fit,
    derive=_derive,
)
"""Inner product of the features with the mean feature of the predicted class.

Zhang et al., "Out-of-Distribution Detection based on In-Distribution Data Patterns Memorization with Modern
Hopfield Energy", ICLR 2023: the mean is that of the training cases of the class that were classified
correctly. If there are none, it is that of all its training cases; without any, the pattern and so the
product are 0.
"""
