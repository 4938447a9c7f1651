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

    Raises:
        ValueError: the shapes differ, or as `as_float64`.

    Examples:
        Both cases have a softmax response of 0.99, but the second score of the last is unusually low:

        >>> import math
        >>> import torch
        >>> from monai_sf.scores import sirc
        >>> log_shortfall = torch.full((2,), math.log(1 - 0.99))
        >>> second = torch.tensor([5.0, 0.0])
        >>> sirc(log_shortfall, second, a=2.0, b=1.0).round(decimals=3).tolist()
        [-0.01, -0.084]
    """
    other = as_float64(second, "second")
    shortfall = as_float64(log_shortfall, "log_shortfall")
    if shortfall.shape != other.shape:
        raise ValueError(
            f"log_shortfall and second must be of the same cases, got shapes {tuple(shortfall.shape)} and "
            f"{tuple(other.shape)}"
        )
    log_s = shortfall.to(other.device) + softplus(b * (a - other))
    return -torch.where(
        log_s > _LARGEST, math.exp(_LARGEST) * (1 + log_s - _LARGEST), log_s.clamp(max=_LARGEST).exp()
    )


def sirc_parameters(second: ArrayLike) -> tuple[float, float]:
    """Return a = mean - 3 std and b = 1 / std of S2 on cases of the source domain, as the paper does.

    Args:
        second: (n,), S2 of these cases, finite, n >= 1.

    Returns:
        (a, b). If S2 is the same for all cases, it tells nothing: a is that value and b is 0.

    Raises:
        ValueError: there is no case, or S2 is NaN or infinite for some.

    Examples:
        >>> import torch
        >>> from monai_sf.scores import sirc_parameters
        >>> usual = torch.tensor([4.0, 5.0, 6.0])
        >>> a, b = sirc_parameters(usual)
        >>> round(a, 2), round(b, 2)
        (2.55, 1.22)
    """
    values = as_float64(second, "second")
    if not values.numel():
        raise ValueError("second must hold finite numbers, got 0 numbers")
    if bad := int((~values.isfinite()).sum()):
        raise ValueError(f"second must hold finite numbers, got {bad} of {values.numel()} NaN or infinite")
    mean, deviation = float(values.mean()), float(values.std(correction=0))
    if not deviation > 1e-12 * abs(mean):
        return mean, 0.0
    return mean - 3 * deviation, 1 / deviation
