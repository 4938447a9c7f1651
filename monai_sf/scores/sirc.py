"""SIRC: a softmax score that is lowered where a second score is unusually low."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from monai_sf.scores.functions import ArrayLike, as_float64

#: Logarithm of -S up to which S is as in the paper, with room below it in float64.
_LARGEST = 600.0


def sirc(log_shortfall: ArrayLike, second: ArrayLike, *, a: float, b: float) -> Tensor:
    """Return the Softmax Information Retaining Combination of two scores.

    ``S = -(S1max - S1) (1 + exp(-b (S2 - a)))``: Xia & Bouganis, "Augmenting Softmax Information for
    Selective Classification with Out-of-Distribution Data", ACCV 2022, eq. 9. It is computed from the
    logarithm of the first factor, so that confident cases do not tie. Below -exp(600), where the paper's
    formula soon gives minus infinity, it goes on linearly in the logarithm, so that the cases furthest away
    do not tie either.

    Args:
        log_shortfall: (N,), the logarithm of ``S1max - S1``; of 1 - MSR if S1 is MSR.
        second: (N,), S2, higher = more sure.
        a: value of S2 below which S falls.
        b: steepness, > 0; with 0, S ranks as S1.

    Returns:
        (N,) float64, <= 0.
    """
    other = as_float64(second, "second")
    log_s = as_float64(log_shortfall, "log_shortfall").to(other.device) + softplus(b * (a - other))
    return -torch.where(
        log_s > _LARGEST, math.exp(_LARGEST) * (1 + log_s - _LARGEST), log_s.clamp(max=_LARGEST).exp()
    )


def sirc_parameters(second: ArrayLike) -> tuple[float, float]:
    """Return a = mean - 3 std and b = 1 / std of S2 on cases of the source domain, as the paper does.

    Args:
        second: (n,), S2 of these cases, finite, n >= 1. If it is the same for all, S2 tells nothing: b is 0.
    """
    values = as_float64(second, "second")
    mean, deviation = float(values.mean()), float(values.std(correction=0))
    if not deviation > 1e-12 * abs(mean):
        return mean, 0.0
    return mean - 3 * deviation, 1 / deviation
