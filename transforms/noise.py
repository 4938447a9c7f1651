"""Gaussian noise: independent in every pixel and channel, as in low-light or low-dose images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .host import on_device
from .randomness import to_normal, uniform_bits
from .severities import Level


def sample_noise(images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """Draw the noise as random bits, (B, C, H, W) of uint16, one case per seed."""
    return on_device(uniform_bits(seeds, images[0].numel()), images.device).view(images.shape)


def apply_noise(images: torch.Tensor, bits: torch.Tensor, level: Level) -> torch.Tensor:
    """Add normal noise and clip.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].
        bits: (B, C, H, W), from `sample_noise`.
        level: (σ,), in units of the range [0, 1].

    Returns:
        A new tensor like `images`, in [0, 1].
    """
    (sigma,) = level
    noisy = torch.empty_like(images)
    # Channel by channel, so that intermediate results stay in the processor's cache.
    for channel in range(images.shape[1]):
        noise = to_normal(bits[:, channel]).to(images.dtype)
        # Two steps, each rounded: add(alpha=σ) would fuse them on some processors only.
        noise.mul_(sigma).add_(images[:, channel])
        torch.clamp(noise, 0, 1, out=noisy[:, channel])
    return noisy
