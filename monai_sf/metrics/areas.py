"""Areas under the risk-coverage curve: AURC, AUGRC and their excess over a perfect ranking."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_sf.metrics.curve import ArrayLike, Levels, levels_of


def aurc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Area under the selective risk-coverage curve, by trapezoids over its points.

    Geifman, Uziel & El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float in [0, 1], lower = better; tables show it as a percentage.

    Raises:
        ValueError: See `risk_coverage_curve`.

    Example:
        >>> import numpy as np
        >>> aurc(np.array([0.9, 0.8, 0.7, 0.1]), np.array([0, 0, 0, 1]))
        0.03125
    """
    return float(aurc_of(levels_of(confidence, error)))


def eaurc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Excess AURC: AURC - [e + (1 - e) ln(1 - e)], with the error rate e.

    What is taken off is the area of a perfect ranking of binary errors in the limit of many cases (Geifman et
    al., ICLR 2019). The trapezoids of few cases lie below that limit, so a perfect ranking can come out
    slightly negative.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float below 1, lower = better, 0 for a perfect ranking of many cases.

    Raises:
        ValueError: See `risk_coverage_curve`.
    """
    return float(eaurc_of(levels_of(confidence, error)))


def augrc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Area under the generalized risk-coverage curve: the average risk of silent failures.

    Traub et al., "Overcoming Common Flaws in the Evaluation of Selective Classification", NeurIPS 2024.
    For binary errors it equals e^2/2 + (1 - AUROC_f) e (1 - e), with the error rate e.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float in [0, 1/2], lower = better.

    Raises:
        ValueError: See `risk_coverage_curve`.
    """
    return float(augrc_of(levels_of(confidence, error)))


def eaugrc(confidence: ArrayLike, error: ArrayLike) -> float:
    """Excess AUGRC: AUGRC - e^2/2, with the error rate e.

    What is taken off is the exact area of a perfect ranking of binary errors.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) in [0, 1].

    Returns:
        A float in [0, 1/2], lower = better, 0 for a perfect ranking.

    Raises:
        ValueError: See `risk_coverage_curve`.
    """
    return float(eaugrc_of(levels_of(confidence, error)))


def error_rate_of(levels: Levels) -> Tensor:
    """Mean error of all cases (...), the risk at full coverage."""
    return levels.wrong[..., -1] / levels.kept[..., -1]


def aurc_of(levels: Levels) -> Tensor:
    """AURC (...) of cumulated counts (..., K)."""
    total = levels.kept[..., -1]
    risk = levels.wrong / levels.kept.clamp(min=1)
    # The curve is level from coverage 0 to its first point, whose triangle the sum below leaves out.
    first = torch.searchsorted(levels.kept, torch.zeros_like(levels.kept[..., :1]), right=True)
    first_wrong = levels.wrong.gather(-1, first)[..., 0]
    return (_weighted_sum(risk, levels.kept) + first_wrong) / (2 * total)


def eaurc_of(levels: Levels) -> Tensor:
    """Excess AURC (...) of cumulated counts (..., K)."""
    error_rate = error_rate_of(levels)
    # xlogy makes 0 ln 0 = 0 when every case is wrong.
    return aurc_of(levels) - (error_rate + torch.xlogy(1 - error_rate, 1 - error_rate))


def augrc_of(levels: Levels) -> Tensor:
    """AUGRC (...) of cumulated counts (..., K)."""
    return _weighted_sum(levels.wrong, levels.kept) / (2 * levels.kept[..., -1] ** 2)


def eaugrc_of(levels: Levels) -> Tensor:
    """Excess AUGRC (...) of cumulated counts (..., K)."""
    # Never negative for residuals in [0, 1]; only rounding goes below.
    return (augrc_of(levels) - error_rate_of(levels) ** 2 / 2).clamp(min=0)


def _weighted_sum(height: Tensor, kept: Tensor) -> Tensor:
    """Twice the trapezoids between (0, 0) and the points (kept, height), summed over the points.

    A point counts with the distance between its two neighbours; the last has itself for its right one.
    """
    width = torch.empty_like(kept)
    width[..., :-1] = kept[..., 1:]
    width[..., -1] = kept[..., -1]
    width[..., 1:] -= kept[..., :-1]
    return (height * width).sum(dim=-1)
