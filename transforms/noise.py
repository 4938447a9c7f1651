"""Gaussian noise: independent in every pixel and channel, as in low-light or low-dose images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .randomness import standard_normal
from .severities import Level


def sample_noise(images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """Draws standard normal noise, (B, C, H, W), one case for each seed."""
    return standard_normal(seeds, images.shape[1:], images.device).to(images.dtype)


def apply_noise(images: torch.Tensor, noise: torch.Tensor, level: Level) -> torch.Tensor:
    """Adds σ times the noise and clips.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].
        noise: like `images`, from `sample_noise`.
        level: (σ,), in units of the range [0, 1].

    Returns:
        A new tensor like `images`, in [0, 1].
    """
    (sigma,) = level
    # Two steps, each rounded: add(alpha=σ) would fuse them on some processors and not on others.
    return torch.mul(noise, sigma).add_(images).clamp_(0, 1)
