"""Pictures (PNG, JPEG, TIFF, BMP, WebP, GIF): a single image, upright, with all its bits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin, MpoImagePlugin, TiffImagePlugin

from monai_sf.files.image_data import ImageData, Picture, plain_values
from monai_sf.files.naming import FORMATS, RefusedImageError, refuse_huge, refuse_special

_ORIENTATION = 0x0112
_TURNED_TO_THE_SIDE = (5, 6, 7, 8)
_TIFF_SUBFILE, _TIFF_REDUCED = 254, 1
#: Further images in a camera's file that show the same as the first one.
_SAME_PHOTO = ("Large Thumbnail", "Multi-Frame Image: (Disparity)")


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Open an image file of one of :data:`FORMATS`; close it, or use it as a context manager.

    Raises:
        RefusedImageError: It is not a file, but a folder, pipe or device.
        Exception: Of many kinds, see :func:`monai_sf.files.naming.named`.
    """
    refuse_special(path)
    return Image.open(path, formats=FORMATS)


def upright(image: Image.Image, size: Sequence[int] | None = None) -> Image.Image:
    """Decode the single image of an opened file, rotated by its EXIF orientation.

    Args:
        image: As opened, not decoded yet.
        size: (height, width) in pixels that are needed of the upright image: a much larger JPEG is decoded at
            a half, a quarter or an eighth, which takes a fraction of the time. None decodes in full.

    Returns:
        ``image`` itself, decoded; it remains usable after its file is closed.

    Raises:
        RefusedImageError: The file holds several images, or more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
        Exception: The file is damaged; of many kinds, see :func:`monai_sf.files.naming.named`.
    """
    refuse_huge(image.height, image.width)
    if (count := _images_in(image)) > 1:
        raise RefusedImageError(
            f"holds {count} images (pages or frames), and only one can be classified: save the one that is "
            "meant as a file of its own"
        )
    if size is not None and isinstance(image, JpegImagePlugin.JpegImageFile):  # other formats have no draft
        height, width = size
        sideways = image.getexif().get(_ORIENTATION) in _TURNED_TO_THE_SIDE
        image.draft(None, (height, width) if sideways else (width, height))
    if image.format == "TIFF":  # Pillow 13 maps a grey one into memory in its upright size before it turns it
        image.filename = ""  # type: ignore[attr-defined]
    image.load()
    if not image.info and image.format != "TIFF":  # nothing that could tell an orientation
        return image
    try:
        if exif := image.info.get("exif"):
            Image.Exif().load(exif)  # Pillow ignores a JPEG's damaged EXIF data
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies even without a rotation
    except Exception as error:
        raise RefusedImageError(
            f"has damaged EXIF data ({error}), so its orientation is unknown: save it without them"
        ) from error
    return image


#: Pillow's modes with one number per pixel, and what a picture of all others is decoded to.
_GREY = {"1": "1", "L": "L", "LA": "L", "La": "L", "I": "I", "F": "F"}
_CHANNELS = {
    **{"1": "binary", "L": "grey", "LA": "grey+alpha", "La": "grey+alpha", "I": "grey", "F": "grey"},
    **{
        "P": "palette",
        "PA": "palette+alpha",
        "RGB": "colour",
        "RGBA": "colour+alpha",
        "RGBa": "colour+alpha",
    },
    **{"CMYK": "cmyk", "YCbCr": "ycbcr", "LAB": "lab"},
}
_TIFF_PHOTOMETRIC, _WHITE_IS_ZERO, _TIFF_SAMPLES, _SIGNED = 262, 0, 339, 2


def read_picture(
    path: str | os.PathLike[str], size: Sequence[int] | None = None, file: IO[bytes] | None = None
) -> ImageData:
    """Read a picture with all its bits, upright; transparency is dropped, palettes become colour.

    Pillow reads the upper 8 of 16 bits per colour channel, so those are read with SimpleITK.

    Args:
        path: A file of one of :data:`monai_sf.files.naming.FORMATS`.
        size: See :func:`upright`.
        file: The same, opened already.

    Raises:
        RefusedImageError: As :func:`upright`; or the values have a type that cannot be read as they are.
        Exception: The file is damaged; of many kinds, see :func:`monai_sf.files.naming.named`.
    """
    with open_image(path) if file is None else Image.open(file, formats=FORMATS) as image:
        raw = str([one.args for one in getattr(image, "tile", ())])
        tags = getattr(image, "tag_v2", {})
        signed = bool(tags) and _SIGNED in np.atleast_1d(tags.get(_TIFF_SAMPLES, 1))
        mode = image.mode
        if ";32N" in raw or (signed and not mode.startswith(("I", "F"))):
            raise RefusedImageError(
                "holds numbers (unsigned of 32 bits, or signed of 8) that picture readers garble: convert it"
            )
        if mode.isalpha() and re.search(r";16[BLN]", raw):
            return _deep_colour(path, image)
        picture = upright(image, size)
        if mode.startswith("I;16"):
            bits = 12 if ";12" in raw else 16
            values = np.asarray(picture).astype(np.uint16)
            if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
                values = (2**bits - 1) - values
            kind = "picture uint16" if bits == 16 else "picture 12 bit"
            return ImageData(values, "grey uint16", kind, (0.0, 2.0**bits - 1))
        if mode in ("I", "F"):
            values = plain_values(np.asarray(picture))
            if ";16S" in raw or ";16BS" in raw:
                values = values.astype(np.int16)
            return ImageData(values, f"grey {values.dtype}", f"picture {values.dtype}")
        plain = "L" if mode in _GREY else "RGB"
        picture = picture if mode == plain else picture.convert(plain)
        return Picture(picture, f"{_CHANNELS.get(mode, mode)} uint8")


def _deep_colour(path: str | os.PathLike[str], image: Image.Image) -> ImageData:
    """Read a colour picture of 16 bits per channel, whose header was opened."""
    import SimpleITK

    refuse_huge(image.height, image.width)
    if (count := _images_in(image)) > 1:
        raise RefusedImageError(f"holds {count} images, and only one can be classified")
    orientation = image.getexif().get(_ORIENTATION, 1)
    if image.format == "TIFF" and orientation != 1:  # SimpleITK would read 8 bits of it
        raise RefusedImageError(
            "is a TIFF of 16 bits per colour channel that is to be rotated: save it upright"
        )
    values = SimpleITK.GetArrayFromImage(
        SimpleITK.ReadImage(os.fspath(path), imageIO=f"{image.format}ImageIO")
    )
    if (
        values.dtype != np.uint16
        or values.shape[:2] != (image.height, image.width)
        or values.shape[2:] < (3,)
    ):
        raise RefusedImageError("has 16 bits per colour channel in a layout that cannot be read: convert it")
    values = np.ascontiguousarray(_TURNS.get(orientation, _as_is)(values[..., :3]))
    return ImageData(
        values, f"{_CHANNELS.get(image.mode, image.mode)} uint16", "picture uint16", (0.0, 65535.0)
    )


def _as_is(values: NDArray[Any]) -> NDArray[Any]:
    return values


#: EXIF orientation to what makes the stored image upright.
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def _images_in(image: Image.Image) -> int:
    """Return the number of different images in a file; thumbnails and further views of one do not count."""
    if not getattr(image, "is_animated", False):
        return 1
    count: int = getattr(image, "n_frames", 1)
    if isinstance(image, MpoImagePlugin.MpoImageFile):
        kinds = [entry["Attribute"]["MPType"] for entry in image.mpinfo[0xB002][1:]]  # type: ignore[index]
        return 1 + sum(not kind.startswith(_SAME_PHOTO) for kind in kinds)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        kept = 1
        for page in range(1, count):
            image.seek(page)
            kept += not int(image.tag_v2.get(_TIFF_SUBFILE, 0)) & _TIFF_REDUCED
        image.seek(0)
        return kept
    return count


def tile(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Fit a picture into a square, with its proportions kept and black beside it.

    Small ones are enlarged to show their pixels as they are (nearest neighbour), large ones averaged.

    Args:
        picture: Decoded, 8 bits per channel.
        size: Side of the square in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    picture = picture.convert("RGB")
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if picture.size != (width, height):
        how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
        picture = picture.resize((width, height), how)
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = np.asarray(picture)
    return square
