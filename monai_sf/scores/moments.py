"""Means and scatter of the training cases' features, shared by several scores and computed in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from monai_sf.scores.functions import as_float64, logits_of
from monai_sf.scores.reference import Reference
from monai_sf.scores.triangles import add_gram, both_triangles

#: Largest memory for one matrix per class, in bytes; beyond it there are only sums over the classes.
CLASS_SCATTER_BYTES = 2**29


@dataclass(frozen=True)
class ClassMeans:
    """Number and mean of the training cases of each class.

    Attributes:
        counts: (C,) float64, C the largest class + 1.
        means: (C, F) float64; zeros for a class without cases.
    """

    counts: Tensor
    means: Tensor


@dataclass(frozen=True)
class Scatter:
    """Sums of the outer products of features minus the mean of their class; not divided.

    Attributes:
        within: (F, F) float64, over all cases.
        of_classes: (C, F, F) float64 over the cases of each class; None beyond `CLASS_SCATTER_BYTES`.
    """

    within: Tensor
    of_classes: Tensor | None


def mean_feature(reference: Reference) -> Tensor:
    """Return the mean (F,) float64 of the training cases' features.

    Raises:
        ValueError: no training cases, or cases with NaN or infinite features, with their number.
    """
    count, width = reference["training_features"].shape
    if not count:
        raise ValueError("there is no training case: give the features of at least one")
    total = torch.zeros(width, dtype=torch.float64)
    for (block,) in reference.blocks("training_features"):
        total = block.sum(0) + total.to(block.device)
    if not total.isfinite().all():
        reference.check("training_features")
        raise ValueError("the features of the training cases are too large for their sum in float64")
    return total / count


def class_means(reference: Reference) -> ClassMeans:
    """Return number and mean of the training cases of each class.

    Raises:
        ValueError: as `mean_feature`, or labels that are no classes.
    """
    mean = reference.shared(mean_feature)
    labels = reference.labels()
    counts = torch.bincount(labels).to(mean)
    # Differences to one case of each class are exactly 0 where a feature is constant.
    one = mean.new_zeros(len(counts), len(mean))
    for label in counts.nonzero().flatten().tolist():
        first = int((labels == label).nonzero()[0])
        one[label] = as_float64(reference["training_features"][first], "training_features")
    sums = torch.zeros_like(one)
    for features, classes in reference.blocks("training_features", "training_labels"):
        sums.index_add_(0, classes.long(), features - one[classes.long()])
    return ClassMeans(counts, one + sums / counts.clamp(min=1)[:, None])


def scatter(reference: Reference) -> Scatter:
    """Return the scatter of the training cases' features about the means of their classes.

    Raises:
        ValueError: as `class_means`.
    """
    means = reference.shared(class_means).means
    classes, width = means.shape
    each = classes * width**2 * means.element_size() <= CLASS_SCATTER_BYTES
    sums = means.new_zeros(classes if each else 1, width, width)
    for features, labels in reference.blocks("training_features", "training_labels"):
        labels = labels.long()
        apart = means[labels].neg_().add_(features)
        for label in sorted(set(labels.tolist())) if each else ():
            add_gram(sums[label], apart[labels == label])
        if not each:
            add_gram(sums[0], apart)
    for one in sums:
        both_triangles(one)
    return Scatter(sums.sum(0), sums) if each else Scatter(sums[0], None)


def training_logits(reference: Reference) -> Tensor:
    """Return the class logits (n, C) float64 of the training cases, C >= 2.

    Raises:
        ValueError: they are no logits, or NaN or infinite for some cases, with their number.
    """
    reference.check("training_logits")
    return logits_of(reference["training_logits"], "training_logits")


def class_scatter_bytes(means: ClassMeans) -> int:
    """Return the memory of one matrix per class in bytes."""
    classes, width = means.means.shape
    return int(classes * width**2 * means.means.element_size())
