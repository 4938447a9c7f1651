"""What the array of an image does not say and its metadata do: the file's type, and what the values mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.utils import ImageMetaKey, MetaKeys
from numpy.typing import NDArray

from monai_sf.files.image_data import ImageData, plain_values
from monai_sf.files.naming import RefusedImageError
from monai_sf.files.windows import window_numbers, window_of

#: Key of the metadata: one entry per file, of which each has one plane of the array (grey) or three (colour).
IMAGE_DATA = "image_data"
#: Key of the names of all files of an image.
FILES = "files"

#: Keys of MONAI Deploy's metadata: of an image of a DICOM series, and of a picture that it has decoded.
_DICOM, _PICTURE = "row_pixel_spacing", "source_format"
#: What to do where metadata are missing.
LOAD = "load it with monai_sf.data.LoadImageFiled"


def files_of(meta: Mapping[str, Any]) -> list[str]:
    """Return the names of the files that an image was read from, for an error about it."""
    named = meta.get(FILES) or [meta.get(ImageMetaKey.FILENAME_OR_OBJ) or meta.get("filename") or "the image"]
    return [str(name) for name in named]


def stacked(images: Sequence[ImageData]) -> tuple[NDArray[Any], list[dict[str, Any]]]:
    """Return images of one size as one array, and what its values mean.

    Returns:
        (channels, H, W) of the files' own type (of several types, of one that holds them all), for one file a
        view; and an entry per file.
    """
    planes = [
        image.values[None] if image.values.ndim == 2 else np.moveaxis(image.values, 2, 0) for image in images
    ]
    entries = [
        {
            "kind": image.kind,
            "mode": image.mode,
            "type": str(image.values.dtype),
            "planes": len(its),
            **({} if image.span is None else {"span": [float(end) for end in image.span]}),
            **({} if image.window is None else {"window": window_numbers(image.window)}),
        }
        for image, its in zip(images, planes, strict=True)
    ]
    return planes[0] if len(planes) == 1 else np.concatenate(planes), entries


def unstacked(array: NDArray[Any], meta: Mapping[str, Any]) -> list[ImageData]:
    """Return the images that an array (channels, H, W) holds, as they were read.

    Args:
        array: As :func:`stacked` returns it, possibly of another type, into which MONAI or torch has
            converted it; or an image that another loader has read.
        meta: With the entry :data:`IMAGE_DATA`; or what another loader says of the image.

    Raises:
        RefusedImageError: The metadata do not fit, or do not say what the values mean.
    """
    if IMAGE_DATA not in meta:
        return _from_elsewhere(array, meta)
    entries, images, first = meta[IMAGE_DATA], [], 0
    if array.ndim != 3 or len(array) != sum(entry["planes"] for entry in entries):
        raise RefusedImageError(f"was read with other channels than those of an array of shape {array.shape}")
    for entry in entries:
        planes = array[first : first + entry["planes"]]
        first += entry["planes"]
        values = _as_type(
            planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, 2), np.dtype(entry["type"])
        )
        span, window = entry.get("span"), entry.get("window")
        images.append(
            ImageData(
                values,
                entry["mode"],
                entry["kind"],
                None if span is None else (span[0], span[1]),
                None if window is None else window_of(window),
            )
        )
    return images


def _as_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values in the type of their file; torch lacks some, and some loaders always give float32."""
    if values.dtype == dtype:
        return values
    cast = values.astype(dtype)
    if not np.array_equal(cast, values):
        raise RefusedImageError(f"holds other values than the {dtype} that were read: prepare it first")
    return cast


def _from_elsewhere(array: NDArray[Any], meta: Mapping[str, Any]) -> list[ImageData]:
    """Return the images of another loader, as far as it is certain what their values are."""
    if meta.get(MetaKeys.ORIGINAL_CHANNEL_DIM) == "no_channel" and _DICOM in meta:
        return [_hounsfield(array, meta)]
    if array.ndim != 3 or (array.shape[0] not in (1, 3) and array.shape[2] in (1, 3, 4)):
        raise RefusedImageError(f"has the shape {array.shape}, and must be (channels, height, width)")
    values = plain_values(array)
    if _PICTURE in meta and values.min() >= 0 and values.max() <= 255:  # decoded to 8 bits, as float32
        values = _as_type(values, np.dtype(np.uint8))
    known = values.dtype == np.uint8
    kind, span = (
        ("picture uint8", (0.0, 255.0)) if known else (f"an array without its file's metadata ({LOAD})", None)
    )
    planes = [np.moveaxis(values, 0, 2)] if len(values) == 3 else list(values)
    colours = "grey" if len(values) != 3 else "colour"
    return [ImageData(one, f"{colours} {values.dtype}", kind, span) for one in planes]


def _hounsfield(array: NDArray[Any], meta: Mapping[str, Any]) -> ImageData:
    """Return MONAI Deploy's image of a CT, (W, H, slices) in Hounsfield units."""
    if array.ndim != 3 or array.shape[2] != 1:
        raise RefusedImageError(f"has the shape {array.shape}, and only one slice can be classified")
    if meta.get("modality") != "CT":
        raise RefusedImageError(
            f"is of modality {meta.get('modality')}, whose metadata do not say here whether it is inverted "
            f"(MONOCHROME1) and how many bits it has: {LOAD}"
        )
    values = plain_values(array[..., 0].T)
    return ImageData(values, f"grey {values.dtype}", "DICOM CT HU")
