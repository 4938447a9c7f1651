"""Elastic deformation: the image bent by a smooth random field, as by soft tissue, pressure or posture.

The field is a uniform cubic B-spline with random control points (free-form deformation; Rueckert et al.,
"Nonrigid registration using free-form deformations", IEEE TMI 1999). It is as smooth as the Gaussian-filtered
noise of ImageNet-C at a small part of the cost, and its slope stays so small that it does not fold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .borders import reflect
from .randomness import standard_normal
from .severities import Level

CONTROL_POINTS = 12
"""Control points along the shorter side. A cubic B-spline smooths like a Gaussian of σ = spacing / √3, here
4.8 % of the side; ImageNet-C's local fields have 1 % and 8 %."""

# Mean square of a cubic B-spline's weights, so the root mean square of a field over two axes.
_SPLINE_POWER = 151 / 315


def sample_elastic(images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """Draws displacement fields of unit root mean square, in units that `apply_elastic` scales.

    Images of one shape and different size get the same field, stretched.

    Returns:
        Tensor (B, 2, H, W): displacements along rows and columns, in the dtype of `images`.
    """
    height, width = images.shape[-2:]
    spacing = min(height, width) / CONTROL_POINTS
    row_knots, row_weights = _spline(height, spacing, images)
    column_knots, column_weights = _spline(width, spacing, images)
    shape = (2, int(row_knots[-1]) + 4, int(column_knots[-1]) + 4)
    points = standard_normal(seeds, shape, images.device).to(images.dtype).div_(_SPLINE_POWER)
    rows = _blend([points.index_select(2, row_knots + k) for k in range(4)], row_weights[:, :, None])
    return _blend([rows.index_select(3, column_knots + k) for k in range(4)], column_weights)


def _spline(size: int, spacing: float, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First control point (size,) and the weights (4, size) of four, for the centre of every pixel."""
    position = (np.arange(size) + 0.5) / spacing
    knot = np.floor(position)
    t = position - knot
    s = 1 - t
    weights = (
        np.stack((s * s * s, 3 * t * t * t - 6 * t * t + 4, 3 * s * s * s - 6 * s * s + 4, t * t * t)) / 6
    )
    return torch.from_numpy(knot.astype(np.int64)).to(like.device), torch.from_numpy(weights).to(like)


def _blend(terms: list[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    total = terms[0].mul_(weights[0])
    for term, weight in zip(terms[1:], weights[1:], strict=True):
        total += term.mul_(weight)
    return total


def apply_elastic(images: torch.Tensor, fields: torch.Tensor, level: Level) -> torch.Tensor:
    """Moves every pixel of all channels by one field, with bilinear interpolation and mirrored borders.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].
        fields: (B, 2, H, W), from `sample_elastic`.
        level: (root mean square displacement along each axis as a fraction of the shorter side,).

    Returns:
        A new tensor like `images`, in [0, 1].
    """
    (fraction,) = level
    _, channels, height, width = images.shape
    moves = fields * (fraction * min(height, width))
    whole = moves.floor()
    part_y, part_x = moves.sub_(whole)[:, :, None].unbind(1)
    step_y, step_x = whole.to(torch.int32).unbind(1)
    y = step_y.add_(torch.arange(height, device=images.device, dtype=torch.int32)[:, None])
    x = step_x.add_(torch.arange(width, device=images.device, dtype=torch.int32))
    columns = reflect(x, width), reflect(x + 1, width)
    pixels = images.flatten(2)

    def pixels_of_row(row: torch.Tensor) -> torch.Tensor:
        offset = row * width
        left, right = (
            pixels.gather(2, (offset + column).flatten(1)[:, None].expand(-1, channels, -1).long())
            for column in columns
        )
        return _between(left.view_as(images), right.view_as(images), part_x)

    upper, lower = pixels_of_row(reflect(y, height)), pixels_of_row(reflect(y + 1, height))
    return _between(upper, lower, part_y).clamp_(0, 1)


def _between(start: torch.Tensor, end: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Linear interpolation, in the memory of `end`; torch.lerp fuses steps on some processors only."""
    return end.sub_(start).mul_(part).add_(start)
