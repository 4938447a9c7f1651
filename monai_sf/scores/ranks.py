"""Ranks of scores, by which two scores of different units are combined."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_sf.scores.functions import ArrayLike, as_float64


def rank_average(first: ArrayLike, second: ArrayLike) -> Tensor:
    """Return the mean of the ranks (N,) that two scores give to the same cases.

    Args:
        first: (N,) confidence; cases of equal confidence share the mean of their ranks in 1..N.
        second: (N,) confidence of the same cases.

    Returns:
        (N,) float64; NaN where one of them is.

    Raises:
        ValueError: they are not one real number per case, or differ in the number of cases.

    Examples:
        The last two cases are even: each score prefers one of them.

        >>> import torch
        >>> from monai_sf.scores import rank_average
        >>> first = torch.tensor([0.9, 0.6, 0.5])
        >>> second = torch.tensor([-1.0, -7.0, -3.0])
        >>> rank_average(first, second).tolist()
        [3.0, 1.5, 1.5]
    """
    ranks = _both_ranks(first, second)
    return (ranks[0] + ranks[1]) / 2


def rank_product(first: ArrayLike, second: ArrayLike) -> Tensor:
    """Return the product of the ranks (N,) that two scores give to the same cases.

    A low rank under one of the scores counts more than in `rank_average`.

    Args:
        first: (N,) confidence; cases of equal confidence share the mean of their ranks in 1..N.
        second: (N,) confidence of the same cases.

    Returns:
        (N,) float64; NaN where one of them is.

    Raises:
        ValueError: they are not one real number per case, or differ in the number of cases.

    Examples:
        The lowest rank under one of the scores weighs more than in the mean of ranks, which all three cases
        share:

        >>> import torch
        >>> from monai_sf.scores import rank_average, rank_product
        >>> first = torch.tensor([0.9, 0.6, 0.5])
        >>> second = torch.tensor([-7.0, -3.0, -1.0])
        >>> rank_average(first, second).tolist()
        [2.0, 2.0, 2.0]
        >>> rank_product(first, second).tolist()
        [3.0, 4.0, 3.0]
    """
    ranks = _both_ranks(first, second)
    return ranks[0] * ranks[1]


def _both_ranks(first: ArrayLike, second: ArrayLike) -> tuple[Tensor, Tensor]:
    ranks = _ranks(first, "first"), _ranks(second, "second")
    if len(ranks[0]) != len(ranks[1]):
        raise ValueError(
            f"first and second must be of the same cases, got {len(ranks[0])} and {len(ranks[1])} of them"
        )
    return ranks


def _ranks(confidence: ArrayLike, name: str) -> Tensor:
    values = as_float64(confidence, name)
    if values.ndim != 1:
        raise ValueError(f"{name} must be one number per case, got shape {tuple(values.shape)}")
    # NaN counts as largest, so the ranks of the others are right.
    _, place, counts = values.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    last = counts.cumsum(dim=0).to(torch.float64)
    return torch.where(values.isnan(), values, (last - (counts - 1) / 2)[place])


def distribution(confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct values (m,) of some cases in ascending order, and the rank (m,) of each in (0, 1).

    A value's rank is the share of cases with less confidence, plus half of those with the same.

    Args:
        confidence: (n,), finite, n >= 1.
    """
    values, counts = confidence.unique(return_counts=True)  # type: ignore[no-untyped-call]
    return values, (counts.cumsum(dim=0) - counts / 2).double() / len(confidence)


def rank_among(confidence: Tensor, values: Tensor, ranks: Tensor) -> Tensor:
    """Return the rank (N,) of cases among those of a `distribution`, in [0, 1]; it depends on no other case.

    Between two values the rank is interpolated linearly. Beyond the first and last it goes on rising with the
    distance d as d / (d + s), to 0 and 1, where s is the distance of first and last (1 if they are the same).
    So the rank rises strictly, and cases tie only where they differ by no more than rounding.

    Args:
        confidence: (N,).
        values: (m,) ascending, distinct.
        ranks: (m,) ascending, in (0, 1).
    """
    spread = values[-1] - values[0] if len(values) > 1 else values.new_ones(())
    below = (values[0] - confidence).clamp(min=0)
    above = (confidence - values[-1]).clamp(min=0)
    right = torch.searchsorted(values, confidence, right=True).clamp(1, max(1, len(values) - 1))
    left = right - 1
    right = right.clamp(max=len(values) - 1)
    step = (values[right] - values[left]).clamp(min=torch.finfo(values.dtype).tiny)
    part = ((confidence - values[left]) / step).clamp(0, 1)
    inside = torch.lerp(ranks[left], ranks[right], part)
    lower = ranks[0] * (spread / (spread + below))
    upper = 1 - (1 - ranks[-1]) * (spread / (spread + above))
    return torch.where(below > 0, lower, torch.where(above > 0, upper, inside))
