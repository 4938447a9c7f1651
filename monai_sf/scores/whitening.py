"""Transforms that turn a Gaussian into a standard one, by the Cholesky factor of its covariance."""

from __future__ import annotations

import torch
from torch import Tensor

#: Added to each variance where a covariance is singular, times the mean variance.
RIDGE = 1e-6
_SINGULAR = 1e12


def whitening(covariance: Tensor, mean_variance: float) -> Tensor:
    """Return the inverse of the lower Cholesky factor of a covariance S.

    Where S is singular to working precision, S + r I takes its place with r = `RIDGE` times the mean
    variance. A direction in which the training cases never varied then has a small variance, so an input that
    does vary in it is far away. S is singular if the inverse of the features' correlations has a trace of
    1e12 or more: their smallest eigenvalue is then at most F / 1e12, and it is at least 1e-12 else.

    Args:
        covariance: (F, F) float64, symmetric.
        mean_variance: a feature's, on average; > 0.

    Returns:
        (F, F) float64 A, lower triangular, so that x' A' A x = x' S^-1 x.
    """
    variance = covariance.diagonal()
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        inverse = _inverse(factor)
        if torch.linalg.vector_norm(inverse, dim=0).square() @ variance < _SINGULAR:
            return inverse
    ridge = torch.full_like(variance, RIDGE * mean_variance)
    return _inverse(torch.linalg.cholesky(covariance + ridge.diag()))


def _inverse(lower: Tensor) -> Tensor:
    identity = torch.ones_like(lower[0]).diag()
    inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return inverse
