"""How the values of an image become [0, 1]: by a rule that a config declares, never by a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_sf.files.image_data import ImageData
from monai_sf.files.naming import RefusedImageError
from monai_sf.files.windows import Float

_FORMS = "{range: type}, {window: [low, high]}, {window: dicom} or {percentiles: [low, high]}"
_DEEPEST = 2**16 - 1
_TO_16_BITS = _DEEPEST // 255  # v of 255 is 257 v of 65535, exactly
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2, as Pillow's


@dataclass(frozen=True)
class Intensity:
    """A rule that maps the values of an image to [0, 1].

    Attributes:
        kind: "range" (of the file's type), "window" (of values, for all images the same), "dicom" (the window
            that each file names) or "percentiles" (of each image's values).
        low: What becomes 0: a value, or a percentile.
        high: What becomes 1.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0

    def __str__(self) -> str:
        if self.kind in ("range", "dicom"):
            return "intensity {range: type}" if self.kind == "range" else "intensity {window: dicom}"
        return f"intensity {{{self.kind}: [{self.low:g}, {self.high:g}]}}"

    @property
    def compares_scales(self) -> bool:
        """Whether images of several scales become comparable: 8 and 16 bits, or windows of their own."""
        return self.kind in ("dicom", "percentiles")

    def ends(self, image: ImageData) -> tuple[float, float]:
        """Return the values that become 0 and 1; of the rule "dicom", which has none, raise or return zeros.

        Raises:
            RefusedImageError: The rule cannot be applied to this image; says why and what can.
        """
        if self.kind == "window":
            return self.low, self.high
        if self.kind == "dicom":
            if image.window is None:
                raise RefusedImageError("names no window or VOI LUT: choose another rule of intensity")
            return 0.0, 0.0
        if self.kind == "range":
            if image.span is None:
                raise RefusedImageError(
                    f"holds {image.kind} as {image.values.dtype}, whose range is no range of brightness: "
                    "choose another rule of intensity, such as {window: [low, high]}"
                )
            return image.span
        low, high = (float(v) for v in np.percentile(image.values, (self.low, self.high)))
        if not low < high:
            raise RefusedImageError(
                f"is nearly constant: its percentiles {self.low:g} and {self.high:g} are both {low:g}"
            )
        return low, high

    def __call__(self, image: ImageData) -> Float:
        """Return the values of an image as float32 in [0, 1], what lies beyond the ends clipped.

        Raises:
            RefusedImageError: See :meth:`ends`.
        """
        low, high = self.ends(image)
        if self.kind == "dicom":
            assert image.window is not None
            return image.window(image.values)
        scaled = (image.values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
        return np.clip(scaled, 0, 1, out=scaled)


def intensity_of(rule: Mapping[str, Any] | Intensity) -> Intensity:
    """Return the rule that a config declares.

    Args:
        rule: One of ``{"range": "type"}``, ``{"window": [low, high]}``, ``{"window": "dicom"}`` and
            ``{"percentiles": [low, high]}``.

    Raises:
        ValueError: It is none of these, or its numbers are not finite or not rising (percentiles: in 0..100).
    """
    if isinstance(rule, Intensity):
        return rule
    if not isinstance(rule, Mapping) or len(rule) != 1:
        raise ValueError(f"intensity must be one of {_FORMS}, got {rule!r}")
    ((kind, value),) = rule.items()
    if (kind, value) == ("range", "type"):
        return Intensity("range")
    if (kind, value) == ("window", "dicom"):
        return Intensity("dicom")
    numbers = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if kind not in ("window", "percentiles") or not numbers:
        raise ValueError(f"intensity must be one of {_FORMS}, got {dict(rule)!r}")
    if any(isinstance(one, bool) or not isinstance(one, int | float | np.number) for one in value):
        raise ValueError(f"intensity {kind} must be two numbers, got {list(value)!r}")
    low, high = map(float, value)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"intensity {kind} must be two rising numbers, got {list(value)!r}")
    if kind == "percentiles" and not (low >= 0 and high <= 100):
        raise ValueError(f"intensity percentiles must lie in 0..100, got {list(value)!r}")
    return Intensity(str(kind), low, high)


def as_input(
    image: ImageData, rule: Intensity | None, *, mode: str | None = None, size: Sequence[int] | None = None
) -> NDArray[Any]:
    """Return an image as a network takes it, in as few bytes as hold it.

    Values are scaled, then resized by bilinear interpolation over the covered area (no aliasing), and rounded
    to 16 bits. Whole 8-bit images under the rule "range" are resized with 8 bits, as pictures are.

    Args:
        image: As read.
        rule: How values become [0, 1]; None keeps them.
        mode: "RGB" or "L": grey becomes colour by three equal channels, colour grey by its luminance (ITU-R
            601-2). None keeps the image's own.
        size: (height, width); None keeps the image's own. The aspect ratio is not kept.

    Returns:
        (1, H, W), or (3, H, W) of "RGB": uint8 or uint16, whose range is [0, 1]; without a rule float32.

    Raises:
        RefusedImageError: The rule cannot be applied to this image.
    """
    if (rule is None or rule.kind == "range") and (picture := image.as_picture()) is not None:
        if mode not in (picture.mode, None):
            picture = picture.convert(mode)
        if size is not None and picture.size != (size[1], size[0]):
            picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        planes = _planes(picture)
        return planes.astype(np.float32) if rule is None else planes
    values = image.values.astype(np.float32) if rule is None else rule(image)
    if values.ndim == 3 and mode == "L":
        values = values @ _LUMINANCE
    channels = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
    if size is not None and values.shape[:2] != tuple(size):
        channels = np.stack([_resized(channel, size) for channel in channels])
    if rule is not None:
        channels = np.rint(np.clip(channels, 0, 1) * np.float32(_DEEPEST)).astype(np.uint16)
    if mode == "RGB" and len(channels) == 1:
        channels = np.repeat(channels, 3, 0)
    return np.ascontiguousarray(channels)


def _planes(picture: Image.Image) -> NDArray[np.uint8]:
    """Return a picture "L" or "RGB" as (channels, H, W), each plane packed by itself, which saves a copy."""
    if picture.mode != "RGB":
        grey = bytearray(picture.tobytes("raw", "L"))  # which can be written to
        return np.frombuffer(grey, np.uint8).reshape(1, picture.height, picture.width)
    planes = np.empty((3, picture.height, picture.width), np.uint8)
    for plane, name in zip(planes, "RGB", strict=True):
        plane[:] = np.frombuffer(picture.tobytes("raw", name), np.uint8).reshape(plane.shape)
    return planes


def of_one_depth(images: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return images of :func:`as_input` with one type: beside some of 16 bits, those of 8 bits get 16."""
    if len({image.dtype for image in images}) == 1:
        return list(images)
    return [np.uint16(_TO_16_BITS) * image if image.dtype == np.uint8 else image for image in images]


def _resized(channel: NDArray[Any], size: Sequence[int]) -> Float:
    picture = Image.fromarray(np.ascontiguousarray(channel))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def for_display(image: ImageData) -> NDArray[np.uint8]:
    """Return an image to be looked at: in the window of its DICOM file, else the range of its type or values.

    Returns:
        (H, W) or (H, W, 3) uint8.
    """
    if image.window is not None:
        rule = Intensity("dicom")
    elif image.span is not None:
        rule = Intensity("range")
    else:
        rule = Intensity("percentiles", 0.0, 100.0)
        if image.values.min() == image.values.max():
            return np.zeros(image.values.shape, np.uint8)
    shown = np.moveaxis(as_input(image, rule), 0, 2)
    shown = shown[..., 0] if image.values.ndim == 2 else shown
    return shown if shown.dtype == np.uint8 else np.rint(shown / np.float32(_TO_16_BITS)).astype(np.uint8)
