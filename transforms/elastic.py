"""Elastic deformation by a smooth random field, as from soft tissue, pressure or posture.

The field is a uniform cubic B-spline with random control points (free-form deformation; Rueckert et al.,
"Nonrigid registration using free-form deformations", IEEE TMI 1999). It is as smooth as the Gaussian-filtered
noise of ImageNet-C at a fraction of the cost, and its slope is too small for it to fold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from .borders import pad_mirrored
from .host import on_device
from .randomness import to_normal, uniform_bits
from .severities import Level

CONTROL_POINTS = 12
"""Control points along the shorter side. A cubic B-spline smooths like a Gaussian of σ = spacing / √3, here
4.8 % of the side; ImageNet-C's local fields have 1 % and 8 %."""

_Knots = npt.NDArray[np.int64]

# Mean square of a cubic B-spline's weights, hence the root mean square of a field over two axes.
_SPLINE_POWER = 151 / 315

# Pixels per chunk on the CPU: few enough for the fields, indices and corners to stay in its cache.
_BAND = 2**17


def sample_elastic(images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """Draw the control points of displacement fields whose root mean square is 1.

    Images of the same aspect ratio but different size get the same field, stretched.

    Returns:
        Tensor (B, 2, rows, columns) in the dtype of `images`, on the host, which has to know how far pixels
        move: displacements along rows and columns.
    """
    height, width = images.shape[-2:]
    spacing = min(height, width) / CONTROL_POINTS
    shape = (2, *(int(_knots(size, spacing)[-1]) + 4 for size in (height, width)))
    normal = to_normal(torch.from_numpy(uniform_bits(seeds, math.prod(shape)))).to(images.dtype)
    return normal.div_(normal.new_tensor(_SPLINE_POWER)).view(len(seeds), *shape)


def apply_elastic(images: torch.Tensor, points: torch.Tensor, level: Level) -> torch.Tensor:
    """Move every pixel of all channels by one field, with bilinear interpolation and mirrored borders.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].
        points: from `sample_elastic`.
        level: (root mean square displacement along each axis as a fraction of the shorter side,).

    Returns:
        A new tensor like `images`, in [0, 1].
    """
    (fraction,) = level
    height, width = images.shape[-2:]
    spacing = min(height, width) / CONTROL_POINTS
    moves = points * (fraction * min(height, width))
    # A spline never leaves the range of its control points.
    reach = moves.abs().max().item()  # known here, without waiting for the device of the images
    moves = on_device(moves.numpy(), images.device)
    before, behind = math.ceil(reach), math.floor(reach) + 1
    planes = [pad_mirrored(plane, before, behind, before, behind) for plane in images.unbind(1)]
    # Columns first: whole rows are then copied, which is much faster than picking single columns.
    column_moves = _blend(moves, 3, _knots(width, spacing), _weights(width, spacing, images))
    row_knots, row_weights = _knots(height, spacing), _weights(height, spacing, images)[:, :, None]

    bent = torch.empty_like(images)
    rows = height if images.is_cuda else max(1, _BAND // (len(images) * width))
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        field = _blend(column_moves, 2, row_knots[band], row_weights[:, band])
        _bend(planes, field, before, band, bent)
    return bent


def _bend(
    planes: list[torch.Tensor], field: torch.Tensor, margin: int, band: slice, bent: torch.Tensor
) -> None:
    """Fill a band of rows of `bent` from padded planes, moved by the field of that band (B, 2, rows, W)."""
    stride = planes[0].shape[2]
    whole = field.floor()
    part_y, part_x = field.sub_(whole).unbind(1)
    whole_y, whole_x = whole.unbind(1)
    rows = torch.arange(band.start + margin, band.stop + margin, device=field.device) * stride
    columns = torch.arange(margin, margin + field.shape[3], device=field.device)
    # Floating point is exact below 2^24: displacements of 15 % in an image of 10,000 × 10,000 pixels.
    index = whole_y.mul_(stride).add_(whole_x).to(torch.int64).add_(rows[:, None]).add_(columns).flatten(1)
    for channel, plane in enumerate(planes):
        pixels = plane.flatten(1)
        length = pixels.shape[1] - stride - 1
        # The other corners have the same indices in a plane that begins one pixel, or one row, later.
        upper_left, upper_right, lower_left, lower_right = (
            pixels.narrow(1, start, length).gather(1, index).view_as(part_x)
            for start in (0, 1, stride, stride + 1)
        )
        upper = _between(upper_left, upper_right, part_x)
        lower = _between(lower_left, lower_right, part_x)
        # As 0 ≤ part < 1, rounding cannot take an interpolated value out of [0, 1].
        torch.add(lower.sub_(upper).mul_(part_y), upper, out=bent[:, channel, band])


def _between(start: torch.Tensor, end: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Interpolate linearly, in the memory of `end`; torch.lerp fuses steps on some processors only."""
    return end.sub_(start).mul_(part).add_(start)


def _knots(size: int, spacing: float) -> _Knots:
    """Return, per pixel centre, the first of the four control points that it depends on."""
    first: _Knots = np.floor((np.arange(size) + 0.5) / spacing).astype(np.int64)
    return first


def _weights(size: int, spacing: float, like: torch.Tensor) -> torch.Tensor:
    """Return, per pixel centre, the weights of its four control points, (4, size)."""
    position = (np.arange(size) + 0.5) / spacing
    t = position - np.floor(position)
    s = 1 - t
    blend = (s * s * s, 3 * t * t * t - 6 * t * t + 4, 3 * s * s * s - 6 * s * s + 4, t * t * t)
    return on_device(np.stack(blend) / 6, like.device, like.dtype)


def _blend(points: torch.Tensor, axis: int, knots: _Knots, weights: torch.Tensor) -> torch.Tensor:
    """Evaluate the spline along one axis; the weights (4, ...) broadcast against the result."""
    first = on_device(knots, points.device)
    total = points.index_select(axis, first).mul_(weights[0])
    for k in range(1, 4):
        total += points.index_select(axis, first + k).mul_(weights[k])
    return total
