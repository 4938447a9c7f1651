"""Synthetic images that depend on class, which a network can learn, and domain, which tests it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monai_sf.datasets.random_stream import Stream

__all__ = ["cells", "chest", "lesion"]

Pixels = npt.NDArray[np.uint8]
_Field = npt.NDArray[np.float64]


def lesion(key: str, malignant: bool, domain: str, size: int) -> Pixels:
    """Draw a spot on skin: rather round and light, or lobed, dark and patchy; the domain tints the skin.

    Returns:
        (size, size, 3) uint8.
    """
    stream, tint = Stream("lesion", key), Stream("skin", domain).uniform(-0.12, 0.12, (3,))
    y, x = _grid(size, stream)
    lobes = 6 * np.arctan2(y, x) + stream.uniform(0, 6, (1,))
    # The two classes overlap: without errors there would be no failures to study.
    strength = stream.uniform(0.3, 1.0, (1,)) if malignant else stream.uniform(0.0, 0.5, (1,))
    edge = 0.45 + 0.16 * strength * np.sin(lobes)
    inside = _soft(edge - np.hypot(y, x))
    depth = 0.25 + 0.35 * strength
    patches = 0.15 * strength * np.sin(14 * x + 9 * y)
    colour = np.array([0.85, 0.65, 0.55]) + tint
    image = colour - inside[..., None] * (depth + patches * inside)[..., None] * np.array([0.7, 1.0, 1.0])
    return _bytes(image + 0.03 * stream.centred((size, size, 1)))


def chest(key: str, label: int, classes: int, domain: str, size: int) -> Pixels:
    """Draw two lungs with bright spots, by class in height and number; grey and contrast by domain.

    Returns:
        (size, size) uint8.
    """
    stream, grey = Stream("chest", key), Stream("device", domain).uniform(0, 1, (2,))
    y, x = _grid(size, stream)
    lungs = _soft(0.42 - np.hypot((np.abs(x) - 0.45) * 1.1, y * 0.55))
    angle = np.pi * (label / max(classes - 1, 1) - 0.5)
    spots = sum(
        _soft(0.16 - np.hypot(x - side * 0.5 * np.cos(angle), y - 0.65 * np.sin(angle)))
        for side in ((1,) if label % 2 else (1, -1))
    )
    image = 0.65 + 0.1 * grey[0] - (0.35 + 0.15 * grey[1]) * lungs + 0.3 * np.asarray(spots)
    return _bytes(image + (0.02 + 0.03 * grey[0]) * stream.centred((size, size)))


def cells(key: str, label: int, channel: int, domain: str, size: int) -> Pixels:
    """Draw bright cells; the class sets their number and the glow of each channel, the domain the haze.

    Returns:
        (size, size) uint8.
    """
    stream = Stream("cells", key)
    gain = Stream("treatment", label).uniform(0.15, 1.0, (6,))[channel]
    gain = gain * Stream("staining", key).uniform(0.5, 1.5, (6,))[channel]
    haze = Stream("batch", domain).uniform(0, 0.25, (6,))[channel]
    y, x = _grid(size, stream)
    count = 4 + label % 5
    centre, radius = stream.uniform(-0.8, 0.8, (2, count)), stream.uniform(0.1, 0.2, (count,))
    field = sum(_soft(radius[i] - np.hypot(y - centre[0, i], x - centre[1, i]), 0.05) for i in range(count))
    noise = Stream("cells", key, channel).centred((size, size))
    return _bytes(haze + 0.75 * gain * np.minimum(np.asarray(field), 1.0) + 0.03 * noise)


def _grid(size: int, stream: Stream) -> tuple[_Field, _Field]:
    axis = np.linspace(-1, 1, size)
    shift = stream.uniform(-0.1, 0.1, (2,))
    return axis[:, None] + shift[0] + 0 * axis, axis[None, :] + shift[1] + 0 * axis[:, None]


def _soft(depth: _Field, width: float = 0.08) -> _Field:
    """Return 0 outside, 1 inside, a ramp between."""
    return np.clip(depth / width + 0.5, 0, 1)


def _bytes(image: _Field) -> Pixels:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
