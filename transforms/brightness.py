"""Brightness: every pixel multiplied by one factor, like over- or underexposure."""

from __future__ import annotations

import torch

from .severities import Level


def apply_brightness(images: torch.Tensor, sampled: None, level: Level) -> torch.Tensor:
    """Multiply by the factor and clip.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].
        sampled: None; brightness has no randomness.
        level: (factor,); above 1 brightens, below 1 darkens.

    Returns:
        A new tensor like `images`, in [0, 1].
    """
    (factor,) = level
    return torch.mul(images, factor).clamp_(0, 1)
