"""Drawn images that look roughly like each modality, for the gallery, the benchmarks and the tests.

They have what matters to a corruption: smooth shading, edges, fine texture and a natural share of dark and
bright pixels. They show no patient and need no download.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from monai_sf.transforms import MODALITIES
from scipy import ndimage

Image = npt.NDArray[np.float32]
_Plane = npt.NDArray[np.float64]

COMPOSITE_COLOURS = np.array(
    [(0.2, 0.4, 1.0), (0.1, 0.9, 0.3), (1.0, 0.25, 0.2), (0.2, 0.9, 0.9), (0.9, 0.3, 0.8), (1.0, 0.8, 0.2)]
)
"""Red, green and blue of the six fluorescence channels in a composite."""


def phantom(modality: str, size: int = 256) -> Image:
    """Draw an image of a modality.

    Args:
        modality: one of `MODALITIES`.
        size: height and width in pixels, at least 16.

    Returns:
        Array (C, size, size) in [0, 1]: 3 channels for dermoscopy, 6 for fluorescence, else 1.

    Raises:
        ValueError: if the modality is unknown.
    """
    if modality not in _DRAWERS:
        raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}")
    drawn = _DRAWERS[modality](size, np.random.default_rng(20230707))
    clipped: Image = np.clip(drawn, 0, 1).astype(np.float32)
    return clipped


def composite(image: Image) -> Image:
    """Convert (C, H, W) with 1, 3 or 6 channels to red, green and blue, (H, W, 3) in [0, 1]."""
    if image.shape[0] == 6:
        coloured = np.einsum("chw,cr->hwr", image, COMPOSITE_COLOURS)
    else:
        coloured = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    clipped: Image = np.clip(coloured, 0, 1).astype(np.float32)
    return clipped


def _axes(size: int) -> tuple[_Plane, _Plane]:
    line = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(line, line, indexing="ij")
    return y, x


def _texture(size: int, rng: np.random.Generator, coarsest: int = 4) -> _Plane:
    """Draw noise with about equal contrast in every octave, as in natural images; mean 0, deviation 1."""
    total = np.zeros((size, size))
    cells = coarsest
    while cells <= size:
        coarse = rng.standard_normal((cells, cells))
        octave = ndimage.zoom(coarse, size / cells, order=3, grid_mode=True, mode="grid-wrap")
        total += octave * (coarsest / cells) ** 0.5
        cells *= 2
    standard: _Plane = (total - total.mean()) / total.std()
    return standard


def _inside(distance: _Plane, softness: float) -> _Plane:
    """Return 1 where the distance is negative, 0 where it is positive, with a soft edge."""
    inside: _Plane = 0.5 - 0.5 * np.tanh(distance / softness)
    return inside


def _ellipse(y: _Plane, x: _Plane, centre: tuple[float, float], radii: tuple[float, float]) -> _Plane:
    """Return roughly the signed distance to an ellipse."""
    scaled = np.hypot((y - centre[0]) / radii[0], (x - centre[1]) / radii[1])
    distance: _Plane = (scaled - 1) * min(radii)
    return distance


def _dermoscopy(size: int, rng: np.random.Generator) -> _Plane:
    y, x = _axes(size)
    texture, coarse = _texture(size, rng, 8), _texture(size, rng, 3)
    skin = np.array([0.84, 0.64, 0.55])[:, None, None] * (1 + 0.03 * texture + 0.04 * coarse)
    angle, radius = np.arctan2(y + 0.05, x - 0.08), np.hypot(y + 0.05, x - 0.08)
    outline = 0.5 + 0.06 * np.sin(2 * angle + 0.6) + 0.05 * np.sin(3 * angle) + 0.03 * np.sin(7 * angle + 1)
    lesion = _inside(radius - outline + 0.03 * coarse, 0.05)
    network = 0.5 + 0.5 * np.sin(30 * x + 4 * coarse) * np.sin(30 * y + 4 * coarse)
    brown = np.array([0.40, 0.23, 0.16])[:, None, None] * (1 + 0.2 * texture + 0.2 * coarse - 0.25 * network)
    image = skin * (1 - lesion) + brown * lesion
    for offset, bend in ((-0.6, 0.25), (0.1, -0.35), (0.55, 0.2)):
        hair = np.exp(-(((y - offset - bend * x - 0.2 * x * x) / 0.012) ** 2))
        image = image * (1 - 0.75 * hair)
    vignette = 1 - 0.25 * np.clip(np.hypot(y, x) - 0.7, 0, None) ** 1.5
    darkened: _Plane = image * vignette
    return darkened


def _xray(size: int, rng: np.random.Generator) -> _Plane:
    y, x = _axes(size)
    body = _inside(_ellipse(y, x, (0.35, 0), (1.25, 0.92)), 0.06)
    shade = 0.62 * body + 0.04
    for side in (-1, 1):
        lung = _inside(_ellipse(y, x, (-0.02, side * 0.43), (0.68, 0.30)), 0.05)
        shade = shade * (1 - 0.62 * lung)
    heart = _inside(_ellipse(y, x, (0.28, 0.14), (0.36, 0.30)), 0.06)
    spine = np.exp(-((x / 0.10) ** 2)) * body
    shade += 0.30 * heart * (1 - 0.3 * spine) + 0.20 * spine
    for rib in range(8):
        height = -0.62 + 0.19 * rib + 0.35 * np.abs(x) ** 1.6
        shade += 0.10 * np.exp(-(((y - height) / 0.035) ** 2)) * body * (np.abs(x) > 0.08)
    clavicle = np.exp(-(((y + 0.66 - 0.12 * np.abs(x)) / 0.03) ** 2)) * (np.abs(x) < 0.75) * body
    vessels = 0.05 * np.clip(_texture(size, rng, 8), 0, None) * body
    shown: _Plane = shade + 0.12 * clavicle + vessels + 0.012 * rng.standard_normal((size, size))
    return shown[None]


def _fluorescence(size: int, rng: np.random.Generator) -> _Plane:
    y, x = _axes(size)
    channels = np.full((6, size, size), 0.02)
    for row, column in (
        (-0.62, -0.55),
        (-0.55, 0.35),
        (0.05, -0.1),
        (0.45, 0.62),
        (0.62, -0.55),
        (-0.1, 0.95),
    ):
        centre = row + rng.uniform(-0.05, 0.05), column + rng.uniform(-0.05, 0.05)
        texture, fine = _texture(size, rng, 6), _texture(size, rng, 16)
        cell = _inside(_ellipse(y, x, centre, (0.40, 0.34)) + 0.05 * texture, 0.04)
        nucleus = _inside(_ellipse(y, x, centre, (0.16, 0.13)) + 0.008 * texture, 0.012)
        around = cell * (1 - nucleus)
        distance = np.hypot(y - centre[0], x - centre[1])
        fibres = (
            np.clip(np.sin(55 * (x * np.cos(column * 9) + y * np.sin(column * 9)) + 1.5 * texture), 0, 1) ** 3
        )
        channels[0] += nucleus * (0.55 + 0.08 * fine)
        channels[1] += around * np.exp(-distance / 0.2) * np.clip(0.7 + 0.2 * fine, 0, None)
        channels[2] += cell * (0.08 + 0.35 * fibres)
        channels[3] += nucleus * 0.8 * (fine > 1.3) + 0.04 * cell
        channels[4] += around * 0.5 * np.clip(fine - 0.6, 0, None) * np.exp(-distance / 0.25)
        channels[5] += around * 0.6 * np.exp(-(((distance - 0.2) / 0.06) ** 2)) * np.clip(texture, 0, None)
    drawn: _Plane = ndimage.gaussian_filter(channels, (0, size / 400, size / 400))
    drawn += 0.008 * rng.standard_normal(channels.shape)
    return drawn


def _ct(size: int, rng: np.random.Generator) -> _Plane:
    y, x = _axes(size)
    shade = 0.14 + 0.02 * _texture(size, rng, 6)
    branches = np.abs(ndimage.gaussian_filter(_texture(size, rng, 5), size / 60))
    shade += 0.3 * np.exp(-((branches / 0.08) ** 2)) * _inside(np.hypot(y - 0.2, x + 0.9) - 1.2, 0.3)
    angle, radius = np.arctan2(y - 0.02, x - 0.05), np.hypot(y - 0.02, x - 0.05)
    spicules = 0.26 + 0.012 * np.sin(11 * angle + 0.5) + 0.09 * np.clip(np.sin(5 * angle + 2), 0, 1) ** 6
    nodule = _inside(radius - spicules, 0.025)
    shade = shade * (1 - nodule) + (0.72 + 0.04 * _texture(size, rng, 8)) * nodule
    wall = _inside(1.35 - np.hypot(y + 0.45, x + 0.55), 0.03)
    shade = shade * (1 - wall) + (0.78 + 0.03 * _texture(size, rng, 6)) * wall
    rib = _inside(_ellipse(y, x, (0.86, 0.72), (0.12, 0.3)), 0.02)
    shown: _Plane = shade * (1 - rib) + 0.97 * rib + 0.015 * rng.standard_normal((size, size))
    return shown[None]


_DRAWERS: dict[str, Callable[[int, np.random.Generator], _Plane]] = {
    "dermoscopy": _dermoscopy,
    "xray": _xray,
    "fluorescence": _fluorescence,
    "ct": _ct,
}
