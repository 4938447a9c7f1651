"""NumPy's ``.npy`` files as images."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_sf.files.image_data import ImageData, plain_image
from monai_sf.files.naming import RefusedImageError, refuse_huge


def read_array(path: str | os.PathLike[str]) -> ImageData:
    """Read an ``.npy`` file with one image: (H, W), or (H, W, 3) in red, green and blue.

    The file is mapped first, so that a header which promises more than the file holds takes no memory.

    Raises:
        RefusedImageError: It has another shape, or other values than finite real numbers.
        Exception: Of many kinds, see :func:`monai_sf.files.naming.named`; also for an array of objects, which
            could run code.
    """
    return image_of(np.load(os.fspath(path), allow_pickle=False, mmap_mode="r"))


def image_of(values: NDArray[Any]) -> ImageData:
    """Return the image that an array holds: (H, W), or (H, W, 3) in red, green and blue.

    Raises:
        RefusedImageError: It has another shape, or other values than finite real numbers.
    """
    if values.ndim != 2 and (values.ndim != 3 or values.shape[2] != 3):
        raise RefusedImageError(
            f"has the shape {values.shape}, which is not one image: (height, width), or (height, width, 3)"
        )
    refuse_huge(*values.shape[:2])
    return plain_image(np.array(values), "array")
