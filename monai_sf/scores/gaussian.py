"""Distance to the nearest class whose features are Gaussian with one covariance: MDS and RMDS."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_sf.scores.csf import Arrays, Fit, Fitted
from monai_sf.scores.moments import class_means, mean_feature, scatter
from monai_sf.scores.pieces import rowwise, squared_length, tensors
from monai_sf.scores.reference import Reference
from monai_sf.scores.triangles import times_lower
from monai_sf.scores.whitening import whitening


def within_variance(reference: Reference) -> float:
    """Return the variance of a feature within the classes, averaged over the features; > 0.

    Raises:
        ValueError: no training case differs from the mean of its class, or as `scatter`.
    """
    within = reference.shared(scatter).within
    variance = float(within.diagonal().mean()) / float(reference.shared(class_means).counts.sum())
    if not math.isfinite(variance):
        raise ValueError("the features of the training cases are too large for their variance in float64")
    if not variance > 0:
        raise ValueError("the features of the training cases do not vary within the classes")
    return variance


def _fit(reference: Reference) -> dict[str, Tensor]:
    mean = reference.shared(mean_feature)
    found = reference.shared(class_means)
    variance = reference.shared(within_variance)
    there = found.counts > 0
    shares = found.counts[there] / found.counts.sum()
    covariance = reference.shared(scatter).within / found.counts.sum()
    matrix = whitening(covariance, variance)
    centres = times_lower(found.means[there] - mean, matrix)
    # Woodbury: with z whitened, all cases have the covariance I + V V', where V's columns are the centres
    # times the roots of their shares, so their distance is |z|^2 - |M V' z|^2 with M M' = (I + V' V)^-1.
    roots = shares.sqrt()[:, None]
    scaled = roots * centres
    inner = torch.linalg.cholesky(scaled.new_ones(len(scaled)).diag() + scaled @ scaled.T)
    between = torch.linalg.solve_triangular(inner, roots.flatten().diag(), upper=False)
    return {"mean": mean, "whitening": matrix, "centres": centres, "between": between}


def _derive(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    given = tensors(fitted, arrays["features"])
    mean, matrix, centres, between = (given[name] for name in ("mean", "whitening", "centres", "between"))

    def distances(x: Tensor) -> Tensor:
        z = times_lower(x - mean, matrix)
        along = z @ centres.T
        beyond = (squared_length(centres) - 2 * along).amin(1)
        own = squared_length(z) + beyond
        relative = beyond + squared_length(along @ between.T)
        return torch.stack([own.clamp(min=0), relative], dim=1)  # negative by rounding only

    own, relative = rowwise(distances, len(mean), arrays["features"]).unbind(1)
    return {"mahalanobis_distance": own, "relative_mahalanobis_distance": relative}


GAUSSIAN = Fit(
    name="gaussian",
    needs=("training_features", "training_labels"),
    reads=("features",),
    gives=("mahalanobis_distance", "relative_mahalanobis_distance"),
    fit=_fit,
    derive=_derive,
)
"""Squared Mahalanobis distance to the nearest class, and that minus the distance to all training cases.

MD_c(x) = (x - m_c)' S^-1 (x - m_c) with the mean m_c of class c and the covariance S within the classes
(divisor N), minimum over the classes c that have training cases: Lee et al., "A Simple Unified Framework
for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018. Relative: min_c MD_c(x) -
MD_0(x), MD_0 with mean and covariance (divisor N) of all training cases: Ren et al., "A Simple Fix to
Mahalanobis Distance for Improving Near-OOD Detection", 2021. Since the covariance of all cases is S plus
that of the class means, of rank C - 1 at most, the quadratic terms cancel: it is no difference of large
numbers. Of one class only it is 0. A singular S has a ridge, see `whitening`, and so has the covariance of
all cases.
"""
