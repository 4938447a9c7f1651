"""The one way to read an image file of any format that the library knows."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import IO

from monai_sf.files.arrays import read_array
from monai_sf.files.dicom import is_dicom, read_dicom
from monai_sf.files.image_data import ImageData
from monai_sf.files.naming import RefusedImageError, refuse_special
from monai_sf.files.pictures import read_picture
from monai_sf.files.volumes import ITK, NIFTI, is_nifti, read_itk, read_nifti

_HEAD = 1024
_SMALL = 2**16
_TIFF = (b"II", b"MM")
_PICTURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", *_TIFF, b"RIFF")


def read_image(
    path: str | os.PathLike[str], *, slice: int | None = None, size: Sequence[int] | None = None
) -> ImageData:
    """Read an image file: PNG, JPEG, TIFF, BMP, WebP, GIF, DICOM, NIfTI, NRRD, MetaImage or NPY.

    The format is that of the content; of NRRD and MetaImage the name must say it too, and of NIfTI.

    Args:
        path: The file.
        slice: Of a volume (NIfTI, NRRD, MetaImage): index along the last axis that the file stores, from 0.
        size: (height, width) in pixels that are needed: a much larger JPEG may be decoded at a half, a
            quarter or an eighth. None decodes in full.

    Raises:
        RefusedImageError: It is intact, and cannot be used as it is: several images, several frames, a volume
            without a slice, a slice that is not there, too many pixels, NaN, no regular file.
        Exception: It is damaged or absent; of many kinds, see :func:`monai_sf.files.naming.named`.
    """
    with _opened(path, refuse_special(path)) as file:
        return _read_opened(path, file, slice, size)


def _opened(path: str | os.PathLike[str], size: int) -> IO[bytes]:
    """Open a file of some bytes; of a small one in memory, which is read with fewer calls of the system."""
    if size > _SMALL:
        return open(path, "rb")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content = os.read(descriptor, size)
    finally:
        os.close(descriptor)
    if len(content) < size or content.startswith(_TIFF):  # libtiff wants a file
        return open(path, "rb")
    return io.BytesIO(content)


def _read_opened(
    path: str | os.PathLike[str], file: IO[bytes], slice: int | None, size: Sequence[int] | None
) -> ImageData:
    head = file.read(_HEAD)
    if head.startswith(_PICTURES) and not is_dicom(head) and slice in (None, 0):
        file.seek(0)
        return read_picture(path, size, file)
    name = os.fsdecode(path).lower()
    if is_nifti(head):
        _say_so("NIfTI", name, NIFTI)
        return read_nifti(path, slice)
    if head.startswith(b"NRRD0"):
        _say_so("NRRD", name, (".nrrd",))
        return read_itk(path, slice)
    if name.endswith((".mha", ".mhd")) and not is_dicom(head) and not head.startswith(_PICTURES):
        return read_itk(path, slice)
    if slice not in (None, 0):
        raise RefusedImageError(f"has no slice {slice}: it is not a volume (NIfTI, NRRD or MetaImage)")
    if is_dicom(head):
        return read_dicom(path)
    if head.startswith(b"\x93NUMPY"):
        return read_array(path, file, head)
    if name.endswith((*NIFTI, *ITK, ".npy", ".dcm")) and not head.startswith(_PICTURES):
        raise RefusedImageError(
            f"cannot be read: it is damaged, or not {name.rpartition('.')[2]} as its name says"
        )
    return read_picture(path, size)


def _say_so(format: str, name: str, endings: tuple[str, ...]) -> None:
    if not name.endswith(endings):
        raise RefusedImageError(f"is {format}: give it a name that ends in {' or '.join(endings)}")
