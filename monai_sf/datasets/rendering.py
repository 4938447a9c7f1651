"""Rendered slices: synthetic patches that resemble CT of a nodule, drawn from its contours and ratings.

These images are *rendered*, they are not CT. Real are the outlines (the readers' contours in that slice), the
pixel spacing, and the ratings that control the appearance: ``texture`` the density, ``margin`` the edge,
``calcification`` the flecks. Invented are lung, vessels, chest wall and noise. The label comes from the
rating ``malignancy``, which is not an input here: a classifier has to rely on shape, size, density, edge and
flecks, as a reader would.

The same nodule and slice give the same pixels on every machine: random numbers come from a hash of series
UID, nodule and slice, and the result is rounded to integer HU, as in CT.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from monai_sf.datasets.consensus import consensus
from monai_sf.datasets.lidc_database import Contours
from monai_sf.datasets.random_stream import Stream

__all__ = ["PATCH_SIZE", "RENDERER_VERSION", "render_slice"]

Pixels = npt.NDArray[np.floating[Any]]

RENDERER_VERSION = 1
"""Incremented whenever the pixels change, so that files of different renderers are not mixed."""

PATCH_SIZE = 64
"""Default height and width in pixels."""

_TISSUE_HU = 35.0
_DENSITY_HU = ((1.0, 2.0, 3.0, 4.0, 5.0), (-600.0, -470.0, -280.0, -60.0, 40.0))
_NO_CALCIFICATION = 6


def render_slice(
    nodule: Mapping[str, Any] | pd.Series, slice_index: int, contours: Contours, *, size: int = PATCH_SIZE
) -> npt.NDArray[np.float32]:
    """Render one slice of one nodule as a patch at the scan's own pixel spacing, centred on the nodule.

    Vessels and chest wall are 3-D, so neighbouring slices of a nodule are consistent. A slice without a
    contour shows only the lung beside the nodule.

    Args:
        nodule: Row of :func:`monai_sf.datasets.lidc.nodule_index`. Only ``series_instance_uid``, ``nodule``,
            ``annotation_ids``, ``slice_index``, ``centroid_row``, ``centroid_column``, ``pixel_spacing``,
            ``slice_thickness``, ``texture``, ``margin`` and ``calcification`` are read.
        slice_index: Position of the slice in the scan.
        contours: Contours, including the nodule's (:func:`monai_sf.datasets.lidc_database.read_tables`).
        size: Height and width in pixels.

    Returns:
        (size, size) float32, integer Hounsfield units from -1024 to 3071.
    """
    spacing = float(nodule["pixel_spacing"])
    top, left = (int(np.floor(nodule[f"centroid_{axis}"] + 0.5)) - size // 2 for axis in ("row", "column"))
    height = (slice_index - int(nodule["slice_index"])) * float(nodule["slice_thickness"])
    series = nodule["series_instance_uid"]
    of_scan = Stream(series)
    of_nodule = Stream(series, nodule["nodule"])
    of_slice = Stream(series, nodule["nodule"], slice_index)

    chance = of_scan.uniform(0, 1, (3,))
    lung_hu, noise_hu, noise_width = -900 + 60 * chance[0], 14 + 20 * chance[1], 0.5 + 0.4 * chance[2]
    image = lung_hu + _lung(of_slice, size, spacing)
    image = _add_anatomy(image, of_nodule, height, spacing)
    # Wider than the patch by the reach of the filter that softens the edge.
    edge = (0.35 + 0.3 * (5 - float(nodule["margin"]))) / spacing
    pad = _reach(edge)
    window = {"top": top - pad, "left": left - pad, "size": size + 2 * pad}
    share = consensus(contours, nodule["annotation_ids"], slice_index, **window)
    if share.any():
        image = _add_nodule(image, share, edge, nodule, of_nodule, of_slice)
    image = image + noise_hu * _field(of_slice, size, float(noise_width))
    whole: npt.NDArray[np.float32] = np.rint(np.clip(image, -1024, 3071)).astype(np.float32)
    return whole


def _lung(stream: Stream, size: int, spacing: float) -> Pixels:
    """Draw parenchyma: slow changes of density, fine grain of small vessels and airways, more blood below."""
    slow = 22 * _waves(stream, size, 24.0 / spacing)
    grain = 26 * _field(stream, size, 0.9 / spacing)
    slope = stream.uniform(0, 0.6, (1,)) * _axis(size, spacing)[:, None]
    return slow + np.maximum(grain, -20) + slope


def _add_anatomy(image: Pixels, stream: Stream, height: float, spacing: float) -> Pixels:
    """Add vessels as bent, tapering tubes in 3-D, and in some patches the chest wall; ``height`` in mm."""
    size = len(image)
    bend_row, bend_column = (2.0 * _waves(stream, size, 30.0 / spacing) for _ in range(2))
    axis = _axis(size, spacing)
    # Single precision from here on, for speed: only exact operations follow, the same on every machine.
    image = image.astype(np.float32)
    y, x = (axis[:, None] + bend_row).astype(np.float32), (axis[None, :] + bend_column).astype(np.float32)
    half = size * spacing / 2

    wall, turn, distance, tilt, vessels = stream.uniform(0, 1, (5,))
    if wall < 0.12:
        turn, tilt = 2 * np.pi * turn, tilt - 0.5
        depth = (
            y * float(np.sin(turn))
            + x * float(np.cos(turn))
            + float(tilt * height - (0.35 + 0.6 * distance) * half)
        )
        image = _brighten(image, _ramp(depth), _TISSUE_HU)

    count = 3 + int(4 * vessels)
    chance = stream.uniform(0, 1, (8, count))
    start = (2 * chance[:3] - 1) * np.array([[half], [half], [6.0]])
    steep, turn = 2 * chance[3] - 1, 2 * np.pi * chance[4]
    flat = np.sqrt(1 - steep**2)
    direction = np.stack([flat * np.sin(turn), flat * np.cos(turn), steep])
    radius = 0.4 + 1.3 * chance[5] ** 2.5
    core = 70 * chance[6] - 20
    lines = np.stack([*start, *direction, radius, core, 0.04 * chance[7] - 0.02], axis=1).astype(np.float32)
    for y0, x0, z0, step_y, step_x, step_z, thick, hu, taper in lines:
        dy, dx, dz = y - y0, x - x0, np.float32(height) - z0
        along = dy * step_y + dx * step_x + dz * step_z
        away = np.sqrt(np.maximum(dy * dy + dx * dx + dz * dz - along * along, 0))
        here = thick * np.minimum(np.maximum(1 + taper * along, 0.4), 1.6)
        image = _brighten(image, _ramp((here - away) / 1.2), hu)
    return image


def _add_nodule(
    image: Pixels,
    share: Pixels,
    edge: float,
    nodule: Mapping[str, Any] | pd.Series,
    of_nodule: Stream,
    of_slice: Stream,
) -> Pixels:
    """Draw the nodule by the ``share`` of its readers per pixel, the edge blurred by ``edge`` pixels."""
    size, spacing, texture = len(image), float(nodule["pixel_spacing"]), float(nodule["texture"])
    present = _smooth(share, edge)
    # Steeper around one half: solid where most readers agree, fading where few do.
    present = present**2 * (3 - 2 * present)
    chance = of_nodule.uniform(0, 1, (2,))
    density = np.interp(texture, *_DENSITY_HU) + 40 * chance[0] - 20
    # Part-solid nodules are the uneven ones.
    uneven = 15 + 55 * np.maximum(0, 1 - abs(texture - 3) / 2)
    image = _brighten(image, present, density + uneven * _field(of_slice, size, 1.2 / spacing))
    category = round(float(nodule["calcification"]))
    if category < _NO_CALCIFICATION:
        image = image + present * (250 + 300 * chance[1]) * _flecks(present, category, of_nodule)
    return image


def _flecks(present: Pixels, category: int, stream: Stream) -> Pixels:
    """Return the share of calcium, 0 to 1, by LIDC's categories (popcorn, laminated, solid, ...)."""
    if category == 3:
        return np.ones_like(present)
    row, column = np.indices(present.shape)
    total = present.sum()
    row, column = row - (present * row).sum() / total, column - (present * column).sum() / total
    radius = np.sqrt(total / np.pi)

    def blob(turn: float, distance: float, width: float) -> Pixels:
        away = (row / radius - distance * np.sin(turn)) ** 2 + (
            column / radius - distance * np.cos(turn)
        ) ** 2
        return np.asarray(np.exp(-away / width**2), dtype=np.float64)

    if category == 2:
        rings = np.sqrt(row**2 + column**2) / radius
        return np.asarray(np.exp(-(((rings - 0.65) / 0.15) ** 2)), dtype=np.float64) + blob(0, 0, 0.2)
    if category == 5:
        return blob(0, 0, 0.4)
    turns = stream.uniform(0, 2 * np.pi, (4,))
    if category == 4:
        return blob(turns[0], 0.55, 0.28)
    return np.clip(sum((blob(turn, 0.5, 0.25) for turn in turns), np.zeros_like(present)), 0, 1)


def _brighten(image: Pixels, present: Pixels, hu: Pixels | np.floating[Any] | float) -> Pixels:
    # Tissue never makes lung darker; a vessel shows through ground glass.
    return image + present * np.maximum(hu - image, 0)


def _ramp(depth: Pixels) -> Pixels:
    """Return 0 outside, 1 inside, linear in between over a depth of one."""
    ramp: Pixels = np.minimum(np.maximum(depth + 0.5, 0), 1)
    return ramp


def _axis(size: int, spacing: float) -> Pixels:
    return np.arange(size, dtype=np.float64) * spacing - (size - 1) / 2 * spacing


def _field(stream: Stream, size: int, sigma: float) -> Pixels:
    """Draw noise (size, size), mean 0 and variance 1, correlated by a Gaussian of ``sigma`` pixels."""
    wide = size + 2 * _reach(sigma)
    kernel = _kernel(sigma)
    return _smooth(stream.centred((wide, wide)), sigma) / float((kernel**2).sum())


def _waves(stream: Stream, size: int, shortest: float) -> Pixels:
    """Draw slow waves (size, size), mean about 0 and variance about 1, wavelengths from ``shortest`` px."""
    chance = stream.uniform(0, 2 * np.pi, (2, 2, 8, 1))
    rows, columns = np.cos(chance[0] / shortest * np.arange(size) + chance[1])
    waves: Pixels = np.einsum("ki,kj->ij", rows, columns) * (2 / np.sqrt(8))
    return waves


def _reach(sigma: float) -> int:
    return int(np.ceil(2.5 * sigma))


@lru_cache(maxsize=64)  # the five slices of a nodule share theirs
def _kernel(sigma: float) -> Pixels:
    offsets = np.arange(-_reach(sigma), _reach(sigma) + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    kernel.setflags(write=False)
    return np.asarray(kernel, dtype=np.float64)


def _smooth(padded: Pixels, sigma: float) -> Pixels:
    """Apply a Gaussian filter; the result is smaller than ``padded`` by the kernel's reach on each side."""
    reach, kernel = _reach(sigma), _kernel(sigma)
    smooth = padded
    for _ in range(2):
        # One convolution over all rows end to end; the overlap between rows is cut off.
        rows = np.convolve(smooth.ravel(), kernel, "same").reshape(smooth.shape)
        smooth = np.ascontiguousarray(rows[:, reach : smooth.shape[1] - reach].T)
    return smooth
