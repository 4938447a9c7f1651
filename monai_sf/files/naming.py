"""Errors that name the file: paths as text, and one sentence on why a file cannot be read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

#: Pillow reads more, some of which start other programs (EPS) or hide more than 8 bits (JPEG 2000).
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")

#: Endings of the image files that are read.
SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    *(".dcm", ".dic", ".dicom", ".ima", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".npy"),
)

_CONTROL = re.compile("[\0-\x1f\x7f]")

NOT_UTF8 = "has bytes in its path that are not UTF-8, which no table can hold: rename it"


def shown(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text of one line, with control characters, and bytes not of UTF-8, as ``\xe9``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def is_utf8(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is UTF-8, so that it can be a case id and be written to a table."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class RefusedImageError(ValueError):
    """An intact image file cannot be used as it is; the message tells the remedy."""


def reason(error: BaseException) -> str:
    """Return one sentence on why a file cannot be read; decoders raise errors of many kinds."""
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, UnidentifiedImageError):
        return (
            f"cannot be read: it is damaged, or of none of the formats {', '.join(FORMATS)}, DICOM, NIfTI, "
            "NRRD, MetaImage, NPY"
        )
    if isinstance(error, RefusedImageError):
        return str(error)
    said = str(error) if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
    return f"cannot be read: {said or type(error).__name__}"


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


def refuse_special(path: str | os.PathLike[str]) -> int:
    """Return the size of a file in bytes, and refuse what is no regular file: opening a pipe would block.

    Raises:
        RefusedImageError: It is a folder, pipe or device.
        OSError: It is not there.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise RefusedImageError("is not a file, but a folder, pipe or device")
    return found.st_size


def refuse_huge(height: int, width: int) -> None:
    """Refuse an image of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, before memory is taken for it.

    Raises:
        RefusedImageError: It has more, or none.
    """
    if height < 1 or width < 1:
        raise RefusedImageError(f"has {height} x {width} pixels: it is damaged")
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and height * width > most:
        raise RefusedImageError(
            f"has {height} x {width} pixels, and more than {most} are taken for an attack: make "
            "it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if it is what it should be"
        )
