"""Prepared images on disk, so that a later epoch or run need not decode their files."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_sf.files.naming import shown
from monai_sf.files.volumes import ITK, data_files
from monai_sf.files.writing import atomic_path

logger = logging.getLogger(__name__)

#: Of the entries' format and of what is made of a file: to be raised when images come out with other bits.
VERSION = 1
_ENDING = ".image"
_MAGIC = b"monai_sf image\n\0"
#: What an entry begins with: magic, key, number of the type, channels, height, width, CRC-32 of all else.
_HEAD = struct.Struct("<16s32sIIIII")
_TYPES = (np.dtype("u1"), np.dtype("<u2"), np.dtype("<f4"))


class ImageCache:
    """A folder of prepared images, each in a file of its own, named after what it was made from.

    That is the image's files (path, size in bytes, time of modification), the slice of a volume, and the
    recipe. An entry that is truncated, altered or of something else is not used. Several processes may share
    a folder. Files are written whole or not at all; none is ever deleted, and only entries are replaced: a
    link, a folder or another file in the place of an entry is left alone. What goes wrong (a full disk, a
    folder that cannot be written to, damaged entries) is logged once, and the images are decoded.

    Args:
        folder: of the entries; is made if it is missing.
        recipe: what makes images of files, as plain values for JSON.
    """

    def __init__(self, folder: str | os.PathLike[str], recipe: Any) -> None:
        self.folder, self.recipe = Path(os.path.abspath(folder)), recipe
        # shared with the workers of a data loader: whether writing failed, whether a damaged entry was seen
        self._seen = torch.zeros(2, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._cannot_write(error)

    def key(self, files: Sequence[str], slice: int | None) -> bytes | None:
        """Return what names the entry of an image, 32 bytes; None if a file is missing or strange."""
        made_from = []
        try:
            for file in files:
                its = data_files(file) if file.lower().endswith(tuple(ITK)) else ()
                for part in (file, *map(str, its)):
                    found = os.stat(part)
                    made_from.append([os.path.abspath(part), found.st_size, found.st_mtime_ns])
        except (OSError, ValueError):
            return None  # the reader says what is wrong with it
        text = json.dumps([VERSION, self.recipe, made_from, slice])  # ASCII, whatever bytes a path has
        return hashlib.sha256(text.encode()).digest()

    def read(self, key: bytes) -> NDArray[Any] | None:
        """Return an image (channels, H, W); None if there is no entry, or none that can be used."""
        place = self._place(key)
        try:
            if not stat.S_ISREG(os.lstat(place).st_mode):
                raise ValueError("it is a link, folder, pipe or device")
            with open(place, "rb") as file:
                head = file.read(_HEAD.size)
                image = _image_in(file, head, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            if not self._seen[1]:
                self._seen[1] = 1
                logger.warning(
                    "%s cannot be used (%s) and is %s, as is any other such entry of image_cache",
                    shown(place),
                    error,
                    "made anew" if _is_free(place) else "left alone",
                )
            return None
        return image

    def write(self, key: bytes, image: NDArray[Any]) -> None:
        """Write the entry of an image (channels, H, W) of uint8, uint16 or float32."""
        place = self._place(key)
        if self._seen[0] or not _is_free(place):
            return
        kind = _TYPES.index(image.dtype)
        values = np.ascontiguousarray(image, _TYPES[kind])
        head = _HEAD.pack(_MAGIC, key, kind, *values.shape, 0)
        head = _HEAD.pack(_MAGIC, key, kind, *values.shape, zlib.crc32(values.data, zlib.crc32(head)))
        try:
            # without waiting for the disk: what a power cut leaves is recognised
            with atomic_path(place, durable=False) as partial, open(partial, "wb") as file:
                file.write(head)
                file.write(values.data)
        except OSError as error:
            self._cannot_write(error)

    def _place(self, key: bytes) -> Path:
        name = key.hex()
        return self.folder / name[:2] / f"{name}{_ENDING}"

    def _cannot_write(self, error: OSError) -> None:
        if not self._seen[0]:
            self._seen[0] = 1
            logger.warning("image_cache %s is not written to, and the run goes on: %s", self.folder, error)


def _is_free(place: Path) -> bool:
    """Return whether nothing is there but an entry, whole or truncated: what else is there is not ours."""
    try:
        if not stat.S_ISREG(os.lstat(place).st_mode):
            return False
        with open(place, "rb") as file:
            return _MAGIC.startswith(file.read(len(_MAGIC)))
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _image_in(file: Any, head: bytes, key: bytes) -> NDArray[Any]:
    """Return the image of an opened entry behind its head.

    Raises:
        ValueError: it is not a whole entry of this key.
    """
    if len(head) < _HEAD.size or not head.startswith(_MAGIC):
        raise ValueError("it is truncated, or no entry")
    _, own, kind, channels, height, width, checksum = _HEAD.unpack(head)
    if own != key or kind >= len(_TYPES):
        raise ValueError("it is the entry of something else")
    size = channels * height * width * _TYPES[kind].itemsize
    if os.fstat(file.fileno()).st_size != _HEAD.size + size:  # before memory is taken for it
        raise ValueError("it is truncated")
    content = np.fromfile(file, np.uint8, size)
    without = _HEAD.pack(*_HEAD.unpack(head)[:-1], 0)
    if len(content) != size or zlib.crc32(content.data, zlib.crc32(without)) != checksum:
        raise ValueError("it was altered or damaged")
    return content.view(_TYPES[kind]).reshape(channels, height, width)
