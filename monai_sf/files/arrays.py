"""NumPy's ``.npy`` files as images."""

from __future__ import annotations

import io
import math
import os
from functools import lru_cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from monai_sf.files.image_data import ImageData, plain_image
from monai_sf.files.naming import RefusedImageError, refuse_huge

_VERSION_1 = b"\x93NUMPY\x01\x00"


def read_array(path: str | os.PathLike[str], file: IO[bytes], head: bytes) -> ImageData:
    """Read an ``.npy`` file with one image: (H, W), or (H, W, 3) in red, green and blue.

    A header which promises more than the file holds takes no memory.

    Args:
        path: The file.
        file: The same, opened.
        head: Its first bytes.

    Raises:
        RefusedImageError: It has another shape, or other values than finite real numbers.
        Exception: Of many kinds, see :func:`monai_sf.files.naming.named`; also for an array of objects, which
            could run code.
    """
    end = len(_VERSION_1) + 2 + int.from_bytes(head[len(_VERSION_1) :][:2], "little")
    if isinstance(file, io.BytesIO) and head.startswith(_VERSION_1) and end <= len(head):
        shape, fortran_order, dtype = _header(head[:end])
        size = math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and 0 < size <= file.seek(0, io.SEEK_END) - end:
            _refuse_other_shapes(shape)
            file.seek(end)
            return image_of(np.ndarray(shape, dtype, file.read(size), order="F" if fortran_order else "C"))
    # a large one is mapped, as its values are copied; and this says what is wrong with any
    return image_of(np.load(os.fspath(path), allow_pickle=False, mmap_mode="r"))


def image_of(values: NDArray[Any]) -> ImageData:
    """Return the image that an array holds: (H, W), or (H, W, 3) in red, green and blue.

    Raises:
        RefusedImageError: It has another shape, or other values than finite real numbers.
    """
    _refuse_other_shapes(values.shape)
    return plain_image(np.array(values), "array")


@lru_cache(64)
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type; NumPy compiles what it reads, and the files of a dataset are alike."""
    file = io.BytesIO(head)
    file.seek(len(_VERSION_1))
    return np.lib.format.read_array_header_1_0(file)


def _refuse_other_shapes(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 and (len(shape) != 3 or shape[2] != 3):
        raise RefusedImageError(
            f"has the shape {shape}, which is not one image: (height, width), or (height, width, 3)"
        )
    refuse_huge(*shape[:2])
