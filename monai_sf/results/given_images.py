"""Images that a user gives, as the thumbnails that results store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from monai_sf.files.images import read_image
from monai_sf.files.intensity import for_display
from monai_sf.files.naming import named
from monai_sf.files.pictures import tile
from monai_sf.results.format import ResultsError
from monai_sf.results.given_cases import listed
from monai_sf.results.given_numbers import dtype_of, plain

_THUMBNAIL = 64


def images_of(images: ArrayLike | Sequence[Any], n: int) -> NDArray[np.uint8]:
    """Return (n, H, W) or (n, H, W, 3) uint8; of files and arrays of any sizes, squares of 64 pixels."""
    array = plain(images)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "OUS":
        if array.dtype != np.uint8 or len(array) != n or array.ndim not in (3, 4) or not array.size:
            raise ResultsError(
                f"images must be uint8, ({n}, H, W) or ({n}, H, W, 3), got {dtype_of(images)} {array.shape}"
            )
        return array
    shown: list[NDArray[np.uint8]] = []
    faults: list[str] = []
    for i, image in enumerate(listed("images", array, n)):
        try:
            shown.append(_thumbnail(i, image))
        except ResultsError as error:
            faults.append(str(error))
    if faults:
        lines = faults[:10] + ([f"and {len(faults) - 10} more"] if len(faults) > 10 else [])
        raise ResultsError(f"{len(faults)} of {n} images cannot be shown:\n  " + "\n  ".join(lines))
    return np.stack(shown)


def _thumbnail(index: int, given: Any) -> NDArray[np.uint8]:
    """Return one image, an array or a file's path, as a square of 64 pixels with its proportions kept."""
    image = plain(given)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not image.size or image.ndim < 2 or image.shape[2:] not in ((), (3,)):
            raise ResultsError(
                f"images[{index}] must be uint8, (H, W) or (H, W, 3), got {dtype_of(given)} {image.shape}"
            )
        return tile(Image.fromarray(image), _THUMBNAIL)
    if not isinstance(image, (str, os.PathLike)):
        raise ResultsError(f"images[{index}] must be an array or the path of a file, got {image!r:.80}")
    try:
        with named(image):
            return tile(Image.fromarray(for_display(read_image(image))), _THUMBNAIL)
    except OSError as error:
        raise ResultsError(f"images[{index}]: {error}") from error
