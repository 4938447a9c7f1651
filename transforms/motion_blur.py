"""Motion blur: the image smeared along a line, as when camera or patient move during the exposure.

The weights along the line follow one half of a Gaussian, and the direction is uniform within ±45° of the
rows, as in ImageNet-C and MedMNIST-C, which use ImageMagick's motion blur for both. Each position on the line
takes the nearest pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .borders import pad_mirrored
from .randomness import uniform_bits
from .severities import REFERENCE_SIDE, Level

MAX_ANGLE = 45.0
"""Directions are drawn within ± this many degrees; 0 is along the rows."""


@dataclass(frozen=True)
class MotionKernel:
    """Weights along a line, in blocks of equal weight.

    Position i on the line has weight `weights[i // block]`. A kernel of n positions in blocks of b costs b
    additions for the sums over a block, computed once for the whole image, and n / b for the blocks, not n.
    """

    block: int
    weights: tuple[float, ...]


def motion_kernel(radius: float, sigma: float, side: int) -> MotionKernel:
    """Return the kernel for images of a size.

    The weight at i pixels along the line is proportional to exp(−i²/2σ²) for i < 2·radius + 1, lengths scaled
    by side / `REFERENCE_SIDE`, and averaged over blocks of a quarter of the scaled σ.

    Args:
        radius: half the exposure's length, in pixels at `REFERENCE_SIDE`.
        sigma: σ of the Gaussian, in pixels at `REFERENCE_SIDE`.
        side: shorter side of the image, in pixels.

    Returns:
        A kernel whose positions' weights sum to 1.
    """
    scale = side / REFERENCE_SIDE
    length = math.ceil((2 * radius + 1) * scale)
    block = max(1, round(sigma * scale / 4))
    blocks = -(-length // block)
    gaussian = [math.exp(-(i**2) / (2 * (sigma * scale) ** 2)) for i in range(blocks * block)]
    total = sum(gaussian)
    weights = tuple(sum(gaussian[k * block : (k + 1) * block]) / (block * total) for k in range(blocks))
    return MotionKernel(block, weights)


def sample_motion(images: torch.Tensor, seeds: Sequence[int]) -> list[float]:
    """Draw the directions, in degrees in [−45, 45), one per seed."""
    return [(int(bits) / 2**16 * 2 - 1) * MAX_ANGLE for bits in uniform_bits(seeds, 1)[:, 0]]


def apply_motion(images: torch.Tensor, angles: Sequence[float], level: Level) -> torch.Tensor:
    """Blur every case along its own direction, all channels alike, with mirrored borders.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].
        angles: B directions in degrees, from `sample_motion`.
        level: (radius, σ) in pixels at `REFERENCE_SIDE`.

    Returns:
        A new tensor like `images`, in [0, 1].
    """
    radius, sigma = level
    kernel = motion_kernel(radius, sigma, min(images.shape[-2:]))
    blurred = torch.empty_like(images)
    for case, angle in enumerate(angles):
        # Channel by channel, so that intermediate results stay in the processor's cache; a GPU waits for each
        # of many small steps.
        together = images.shape[1] if images.is_cuda else 1
        for first in range(0, images.shape[1], together):
            channels = slice(first, first + together)
            blurred[case, channels] = _blur(images[case, channels], angle, kernel)
    return blurred.clamp_(0, 1)


def _blur(planes: torch.Tensor, angle: float, kernel: MotionKernel) -> torch.Tensor:
    """Return planes (C, H, W) blurred along one direction."""
    height, width = planes.shape[1:]
    within = [_offset(i, angle) for i in range(kernel.block)]
    between = [_offset(k * kernel.block, angle) for k in range(len(kernel.weights))]
    # The line runs to the right, and either up or down over its whole length.
    reach_y = between[-1][0] + within[-1][0]
    reach_x = between[-1][1] + within[-1][1]
    padded = pad_mirrored(planes, max(-reach_y, 0), max(reach_y, 0), 0, reach_x)

    block_sum = padded
    if kernel.block > 1:
        size = padded.shape[1] - abs(within[-1][0]), padded.shape[2] - within[-1][1]
        block_sum = _shifted(padded, (0, 0), within[-1], size).clone()
        for offset in within[1:]:
            block_sum += _shifted(padded, offset, within[-1], size)

    blurred = _shifted(block_sum, (0, 0), between[-1], (height, width)) * kernel.weights[0]
    term = torch.empty_like(blurred)
    for offset, weight in zip(between[1:], kernel.weights[1:], strict=True):
        # Multiply, round, add, round: a fused step would give other bits on other processors.
        torch.mul(_shifted(block_sum, offset, between[-1], (height, width)), weight, out=term)
        blurred += term
    return blurred


def _shifted(
    planes: torch.Tensor, offset: tuple[int, int], farthest: tuple[int, int], size: tuple[int, int]
) -> torch.Tensor:
    """Return the part of padded planes that lies `offset` away from the unpadded ones."""
    top = offset[0] - min(farthest[0], 0)
    return planes[:, top : top + size[0], offset[1] : offset[1] + size[1]]


def _offset(distance: float, angle: float) -> tuple[int, int]:
    """Return the pixel (row, column) nearest to a point on the line; rows count downwards."""
    radians = math.radians(angle)
    return round(distance * math.sin(radians)), round(distance * math.cos(radians))
