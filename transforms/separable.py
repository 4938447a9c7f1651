"""Smoothing and resizing along rows and columns, with windows and strengths of their own for every case."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.special import erf

from .host import on_device


class Axis(NamedTuple):
    """What happens along one axis of the images of N cases.

    Attributes:
        start: (N,) first pixels of the windows that are cut out.
        length: (N,) pixels of the windows.
        size: pixels of the result.
        sigma: (N,) standard deviations of the Gaussian that smooths a window before it is resized, in pixels.
        max_sigma: at least the largest of `sigma`; the same for all batches, so that their sums have equally
            many terms.
    """

    start: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]
    size: int
    sigma: npt.NDArray[np.float64]
    max_sigma: float


def resample(images: torch.Tensor, rows: Axis, columns: Axis) -> torch.Tensor:
    """Cut out a window of every image, smooth it, and resize it bilinearly.

    As MONAI's `Resize` with ``anti_aliasing``, or its `GaussianSmooth` where nothing is resized: pixels
    outside the window count as 0, and pixel centres are at halves (``align_corners=False``).

    Args:
        images: (N, C, H, W), floating point.
        rows: what happens along H.
        columns: what happens along W.

    Returns:
        Tensor (N, C, `rows.size`, `columns.size`).
    """
    resized = _weigh_rows(images, rows)
    return _weigh_rows(resized.transpose(2, 3), columns).transpose(2, 3).contiguous()


def _weigh_rows(images: torch.Tensor, axis: Axis) -> torch.Tensor:
    """Return images whose every row is a weighted sum of rows, (N, C, size, W)."""
    cases, channels, height, width = images.shape
    index, weights = _weights(axis, images)
    first = torch.arange(cases * channels, device=images.device).mul_(height).view(cases, channels, 1, 1)
    taps = index.shape[2]
    # One step for gathering, multiplying and adding; each sum has the order of its taps on any device.
    sums = F.embedding_bag(
        index[:, None].add(first).view(-1, taps),
        # Where rows lie apart in memory, another way of adding gives other bits.
        images.contiguous().view(-1, width),
        per_sample_weights=weights[:, None].expand(-1, channels, -1, -1).reshape(-1, taps),
        mode="sum",
    )
    return sums.view(cases, channels, axis.size, width)


def _weights(axis: Axis, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows that each row of the result is a sum of, and their weights, both (N, size, taps)."""
    tail = gaussian_tail(axis.max_sigma)
    kernels = gaussian_kernels(axis.sigma, tail)
    packed = np.column_stack((axis.start, axis.length, axis.length / axis.size, kernels))
    numbers = on_device(packed, like.device, like.dtype)
    start, length, scale, kernel = torch.split(numbers, [1, 1, 1, 2 * tail + 1], dim=1)
    position = torch.arange(axis.size, device=like.device, dtype=like.dtype).add_(0.5).mul(scale)
    position = position.sub_(0.5).clamp_(min=0)
    whole = torch.minimum(position.floor(), length - 1)
    # Beyond the last centre both neighbours are the last pixel.
    part = torch.where(whole == length - 1, 0, position - whole)[:, :, None]
    offsets = torch.arange(-tail, tail + 2, device=like.device, dtype=like.dtype)
    row = whole[:, :, None] + offsets
    kernel = kernel[:, None]
    weights = F.pad(kernel, (0, 1)) * (1 - part) + F.pad(kernel, (1, 0)) * part
    length = length[:, :, None]
    weights = torch.where((row >= 0) & (row < length), weights, 0)
    index = torch.minimum(row.clamp(min=0), length - 1) + start[:, :, None]
    return index.to(torch.int64), weights


def gaussian_tail(sigma: float) -> int:
    """Return how many pixels a Gaussian reaches to each side, as MONAI's `GaussianFilter`."""
    return int(max(4 * sigma, 0.5) + 0.5)


def gaussian_kernels(sigmas: npt.NDArray[np.float64], tail: int) -> npt.NDArray[np.float64]:
    """Return the weights of Gaussians, integrated over pixels, from `-tail` to `tail`; 0 gives a single 1.

    Each ends at its own tail, as MONAI's `gaussian_1d` with ``approx="erf"``.

    Returns:
        Array (len(sigmas), 2 · tail + 1).
    """
    offsets = np.arange(-tail, tail + 1)
    scale = np.sqrt(0.5) / np.maximum(sigmas, 1e-6)[:, None]
    weights = 0.5 * (erf(scale * (offsets + 0.5)) - erf(scale * (offsets - 0.5)))
    own = np.array([gaussian_tail(sigma) for sigma in sigmas], int).reshape(-1, 1)
    kernels: npt.NDArray[np.float64] = np.where(np.abs(offsets) <= own, weights, 0.0)
    return kernels
