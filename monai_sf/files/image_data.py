"""What an image file holds, whatever its format: values as they are, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_sf.files.naming import RefusedImageError
from monai_sf.files.windows import Windowing


@dataclass(frozen=True, eq=False)
class ImageData:
    """One 2-D image.

    Attributes:
        values: (H, W), or (H, W, 3) in red, green and blue, of the file's own type: uint8, uint16, int16,
            ..., float32. The first row is the upper one. Of DICOM after the modality LUT, and larger is
            brighter.
        mode: Channels and type as stored: "grey uint8", "colour uint16", "colour+alpha uint8", "palette
            uint8", "cmyk uint8", ...
        kind: What the numbers are: "picture uint8", "DICOM CT HU", "DICOM radiograph 12 bit", "volume RA",
            "array", ... Numbers of one kind can be compared.
        span: Smallest and largest value of the type (of DICOM, of the stored bits); None for signed types,
            floating point and Hounsfield units, where these mean nothing.
        window: Maps ``values`` to [0, 1] as the DICOM file says (window, or VOI LUT); None if it does not.
        modality: Of DICOM, with CR, DX and others as "radiograph"; else empty.
    """

    values: NDArray[Any]
    mode: str
    kind: str
    span: tuple[float, float] | None = None
    window: Windowing | None = None
    modality: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.values.shape[:2]
        return height, width

    def as_picture(self) -> Image.Image | None:
        """Return it as Pillow has it, "L" or "RGB", if it has 8 bits and uses their range; else None."""
        whole = self.values.dtype == np.uint8 and self.span == (0, 255)
        return Image.fromarray(self.values) if whole else None


class Picture(ImageData):
    """An image that Pillow has decoded to 8 bits, "L" or "RGB"; an array is made of it when it is read."""

    def __init__(self, picture: Image.Image, mode: str) -> None:
        fixed = {"mode": mode, "kind": "picture uint8", "span": (0.0, 255.0), "window": None, "modality": ""}
        self.__dict__.update(fixed, picture=picture)

    @cached_property
    def values(self) -> NDArray[Any]:
        """The array."""
        return np.asarray(self.__dict__["picture"])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        picture = self.as_picture()
        return picture.height, picture.width

    def as_picture(self) -> Image.Image:
        """Return it as Pillow has it."""
        picture: Image.Image = self.__dict__["picture"]
        return picture


def plain_values(values: NDArray[Any]) -> NDArray[Any]:
    """Return values in the machine's byte order, with float64 and float16 as float32.

    Raises:
        RefusedImageError: They are not real numbers, or NaN or infinite.
    """
    if values.dtype.kind not in "uif":
        raise RefusedImageError(f"holds {values.dtype}, which are not real numbers")
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise RefusedImageError("holds NaN or infinity")
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def plain_image(values: NDArray[Any], family: str, detail: str = "") -> ImageData:
    """Return the image of an array or a volume's slice, (H, W) or (H, W, 3).

    Args:
        values: As stored.
        family: First word of the kind.
        detail: Rest of the kind.

    Raises:
        RefusedImageError: They are not numbers, or not finite.
    """
    values = plain_values(values)
    dtype, unsigned = values.dtype, values.dtype.kind == "u"
    words = [family, str(dtype) if unsigned else "", detail]
    return ImageData(
        values,
        f"{'grey' if values.ndim == 2 else 'colour'} {dtype}",
        " ".join(word for word in words if word),
        (0.0, float(np.iinfo(dtype).max)) if unsigned else None,
    )
