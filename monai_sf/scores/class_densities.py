"""Density of a case's features under one Gaussian per class: DDU."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_sf.scores.csf import Arrays, Fit, Fitted
from monai_sf.scores.gaussian import within_variance
from monai_sf.scores.moments import CLASS_SCATTER_BYTES, class_means, class_scatter_bytes, scatter
from monai_sf.scores.pieces import rowwise, squared_length, tensors
from monai_sf.scores.reference import Reference
from monai_sf.scores.triangles import times_lower
from monai_sf.scores.whitening import whitening


def _fit(reference: Reference) -> dict[str, Tensor]:
    found = reference.shared(class_means)
    classes, width = found.means.shape
    if (needed := class_scatter_bytes(found)) > CLASS_SCATTER_BYTES:
        raise ValueError(
            f"a covariance for each of {classes} classes of {width} features would need "
            f"{needed / 2**30:.1f} GiB, more than {CLASS_SCATTER_BYTES / 2**30:g}; MDS and RMDS have one "
            "covariance for all classes"
        )
    several = (found.counts > 1).nonzero().flatten()
    if not len(several):
        raise ValueError("no class has two training cases, which a covariance takes")
    variance = reference.shared(within_variance)
    sums = reference.shared(scatter).of_classes
    assert sums is not None  # within the limit
    means, counts = found.means[several], found.counts[several]
    matrices = means.new_empty(len(several), width, width)
    for matrix, label, count in zip(matrices, several, counts, strict=True):
        matrix.copy_(whitening(sums[label] / count, variance))
    log_factor = matrices.diagonal(dim1=1, dim2=2).log().sum(1)
    constants = (counts / counts.sum()).log() + log_factor - width / 2 * math.log(2 * math.pi)
    return {"means": means, "whitening": matrices, "constants": constants}


def _derive(arrays: Arrays, fitted: Fitted) -> dict[str, Tensor]:
    given = tensors(fitted, arrays["features"])
    means, matrices, constants = (given[name] for name in ("means", "whitening", "constants"))

    def log_density(x: Tensor) -> Tensor:
        of_classes = [
            constant - squared_length(times_lower(x - mean, matrix)) / 2
            for mean, matrix, constant in zip(means, matrices, constants, strict=True)
        ]
        return torch.stack(of_classes, dim=1).logsumexp(dim=1)

    return {"feature_log_density": rowwise(log_density, means.shape[1], arrays["features"])}


CLASS_DENSITIES = Fit(
    name="class_densities",
    needs=("training_features", "training_labels"),
    reads=("features",),
    gives=("feature_log_density",),
    fit=_fit,
    derive=_derive,
)
"""Log density of a mixture of Gaussians, one per class: log sum_c pi_c N(x; m_c, S_c).

Mukhoti et al., "Deep Deterministic Uncertainty: A New Simple Baseline", CVPR 2023. Mean m_c and covariance
S_c (divisor n_c, maximum likelihood; the paper's code divides by n_c - 1) of class c, weight pi_c = n_c /
n. Classes with fewer than two training cases are left out. A singular S_c has a ridge, see `whitening`,
relative to the mean variance within all classes. Refused if the matrices take more than
`CLASS_SCATTER_BYTES`.
"""
