"""The one way to open image files: a single image, upright, and errors that name the file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin, MpoImagePlugin, TiffImagePlugin, UnidentifiedImageError

#: Pillow reads more, some of which start other programs (EPS) or hide more than 8 bits (JPEG 2000).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

NOT_UTF8 = "has bytes in its path that are not UTF-8, which no table can hold: rename it"

_ORIENTATION = 0x0112
_TURNED_TO_THE_SIDE = (5, 6, 7, 8)
_TIFF_SUBFILE, _TIFF_REDUCED = 254, 1
#: Further images in a camera's file that show the same as the first one.
_SAME_PHOTO = ("Large Thumbnail", "Multi-Frame Image: (Disparity)")


def shown(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that can be written anywhere, with bytes that are not UTF-8 as ``\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_utf8(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is UTF-8, so that it can be a case id and be written to a table."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def reason(error: BaseException) -> str:
    """Return one sentence on why a file cannot be read; decoders raise errors of many kinds."""
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, UnidentifiedImageError):
        return f"cannot be read: it is damaged, or of none of the formats {', '.join(FORMATS)}"
    if isinstance(error, RefusedImageError):
        return str(error)
    said = str(error) if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
    return f"cannot be read: {said or type(error).__name__}"


class RefusedImageError(ValueError):
    """An intact image file cannot be used as it is; the message tells the remedy."""


@contextmanager
def named(*paths: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any exception raised while reading image files into an error that names them.

    Raises:
        OSError: The block raised any exception.
    """
    try:
        yield
    except Exception as error:
        raise OSError(f"{', '.join(map(shown, paths))} {reason(error)}") from error


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Open an image file of one of :data:`FORMATS`; close it, or use it as a context manager.

    Raises:
        RefusedImageError: It is not a file, but a folder, pipe or device.
        Exception: Of many kinds, see :func:`named`.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise RefusedImageError("is not a file, but a folder, pipe or device")  # a pipe would block
    return Image.open(path, formats=FORMATS)


def mode_of(image: Image.Image) -> str:
    """Return Pillow's mode of an opened file, followed by ";16" where a colour channel has 16 bits.

    Pillow reports "RGB" for these, and reads the upper 8 bits.
    """
    deep = re.search(r";16[BLN]", str([one.args for one in getattr(image, "tile", ())]))
    return f"{image.mode};16" if deep and image.mode.isalpha() else image.mode


def upright(
    image: Image.Image, size: Sequence[int] | None = None, *, draft_mode: str | None = None
) -> Image.Image:
    """Decode the single image of an opened file, rotated by its EXIF orientation.

    Args:
        image: As opened, not decoded yet.
        size: (height, width) in pixels that are needed of the upright image: a much larger JPEG is decoded at
            a half, a quarter or an eighth, which takes a fraction of the time. None decodes in full.
        draft_mode: "L" decodes only the luminance of a colour JPEG.

    Returns:
        ``image`` itself, decoded; it remains usable after its file is closed.

    Raises:
        RefusedImageError: The file holds several images, or more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
        Exception: The file is damaged; of many kinds, see :func:`named`.
    """
    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise RefusedImageError(
            f"has {image.height} x {image.width} pixels, and more than {most} are taken for an attack: make "
            "it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if it is what it should be"
        )
    if (count := _images_in(image)) > 1:
        raise RefusedImageError(
            f"holds {count} images (pages or frames), and only one can be classified: save the one that is "
            "meant as a file of its own"
        )
    if size is not None and isinstance(image, JpegImagePlugin.JpegImageFile):  # other formats have no draft
        height, width = size
        sideways = image.getexif().get(_ORIENTATION) in _TURNED_TO_THE_SIDE
        image.draft(draft_mode, (height, width) if sideways else (width, height))
    image.load()
    try:
        Image.Exif().load(image.info.get("exif", b""))  # Pillow ignores a JPEG's damaged EXIF data
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it copies even without a rotation
    except Exception as error:
        raise RefusedImageError(
            f"has damaged EXIF data ({error}), so its orientation is unknown: save it without them"
        ) from error
    return image


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


def open_picture(image: Image.Image, *, mode: str, size: Sequence[int] | None = None) -> Image.Image:
    """Decode an opened picture upright, with 8 bits per channel, in one mode and size.

    A JPEG much larger than ``size`` is decoded at a half, a quarter or an eighth, which takes a fraction of
    the time; the rest is bilinear interpolation over the covered area (no aliasing).

    Args:
        image: An opened file.
        mode: "RGB" or "L". Transparency is dropped, colour becomes grey by its luminance (ITU-R 601-2), grey
            becomes colour by three equal channels; :func:`monai_sf.datasets.preflight.check_images` checks
            which modes a file may have.
        size: (height, width) in pixels; None keeps the image's own. The aspect ratio is not kept.

    Raises:
        OSError: The file is truncated or damaged.
        ValueError: ``mode`` is neither, or the image has more than 8 bits per channel, or is refused by
            :func:`upright`.
    """
    if mode not in ("RGB", "L"):
        raise ValueError(f'mode must be "RGB" or "L", got {mode!r}')
    if (own := mode_of(image)).startswith(("I", "F")) or own.endswith(";16"):  # Pillow would truncate
        raise RefusedImageError(f"is {own}, which has more than 8 bits: convert it first")
    picture = upright(image, size).convert(mode)
    if size is not None and picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return picture


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


def read_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an ``.npy`` file; refuse one with objects, which could run code.

    Raises:
        Exception: Of many kinds, see :func:`named`.
    """
    values: NDArray[Any] = np.load(Path(path), allow_pickle=False)
    return values
