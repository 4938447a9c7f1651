"""NIfTI, NRRD and MetaImage: a 2-D image, or one slice of a volume.

A slice is counted along the last axis that the file stores (NIfTI's k, the slowest one), from 0. Its rows run
along the second axis and its columns along the first, as stored: nothing is flipped. Where the axes point
to is part of the kind, such as "volume LP" (columns to the patient's left, rows to posterior, as in axial
DICOM), so that files with other orientations are not mixed unnoticed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_sf.files.image_data import ImageData, plain_image
from monai_sf.files.naming import RefusedImageError, refuse_huge

#: Endings of the file names; what a file holds is decided by its content too.
NIFTI, ITK = (".nii", ".nii.gz"), {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
_MOST_VOXELS = 2**31
_HEADER = 64 * 1024
#: The file of the pixels, as a header names it.
_NRRD_DATA = re.compile(rb"data ?file\s*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_META_DATA = re.compile(rb"ElementDataFile\s*[=:][ \t]*([^\r\n]*)", re.IGNORECASE)


def read_nifti(path: str | os.PathLike[str], index: int | None) -> ImageData:
    """Read a NIfTI file, or the slice ``index`` of its volume; intensities are scaled as its header says.

    Raises:
        RefusedImageError: It is a volume and no slice is named, or there is no such slice; it has several
            points in time, or more pixels than are allowed.
        Exception: Of many kinds, see :func:`monai_sf.files.naming.named`.
    """
    import nibabel as nib

    image: Any = nib.load(path)
    if not isinstance(image, nib.Nifti1Pair):
        raise RefusedImageError("is not NIfTI, as its name says")
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) > 3 or len(shape) < 2:
        raise RefusedImageError(f"has the shape {tuple(shape)}: only an image, or a volume, can be read")
    refuse_huge(shape[1], shape[0])
    chosen = _chosen(shape[2] if len(shape) == 3 else 1, index)
    at = (slice(None), slice(None), *([chosen] if len(shape) == 3 else []), *[0] * (image.ndim - len(shape)))
    values = np.asarray(image.dataobj[at])
    if values.dtype.names:  # NIfTI's colours are records
        values = np.stack([values[name] for name in values.dtype.names[:3]], -1)
    return plain_image(values.swapaxes(0, 1), "volume", _orientation(image.affine))


def read_itk(path: str | os.PathLike[str], index: int | None) -> ImageData:
    """Read an NRRD or MetaImage file, or the slice ``index`` of its volume.

    Raises:
        RefusedImageError: As :func:`read_nifti`.
        Exception: Of many kinds, see :func:`monai_sf.files.naming.named`.
    """
    header = open_itk(path)
    size = header.GetSize()
    chosen = _chosen(size[2] if len(size) == 3 else 1, index)
    values = itk_slices(header, chosen, 1)[0]
    where = ""
    if len(size) == 3:
        direction = np.reshape(header.GetDirection(), (3, 3))
        affine = np.eye(4)
        affine[:3, :3] = np.diag([-1, -1, 1]) @ direction  # ITK's axes point to L, P and S
        where = _orientation(affine)
    return plain_image(values, "volume", where)


def open_itk(path: str | os.PathLike[str]) -> Any:
    """Read the header of an NRRD or MetaImage file.

    Returns:
        SimpleITK's reader, of which the header's methods can be called.

    Raises:
        RefusedImageError: Its pixels lie in several files, in another folder or in no regular file, or are
            more than are allowed; it is no image or volume, or has other channels than one or three.
    """
    import SimpleITK

    path = Path(path)
    _refuse_strange_data_file(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(ITK[path.suffix.lower()])
    with _explained():
        reader.ReadImageInformation()
    size = reader.GetSize()
    if len(size) not in (2, 3):
        raise RefusedImageError(f"has {len(size)} dimensions: only an image, or a volume, can be read")
    refuse_huge(size[1], size[0])
    if np.prod(size, dtype=float) > _MOST_VOXELS:
        raise RefusedImageError(f"has {' x '.join(map(str, size))} voxels, more than {_MOST_VOXELS}")
    if reader.GetNumberOfComponents() not in (1, 3):
        raise RefusedImageError(f"has {reader.GetNumberOfComponents()} channels, and must have 1 or 3")
    return reader


def itk_slices(reader: Any, first: int, count: int) -> NDArray[Any]:
    """Return ``count`` slices (count, H, W), or (count, H, W, 3), from ``first`` on, of a 2-D image one."""
    import SimpleITK

    size = list(reader.GetSize())
    if len(size) == 3:
        reader.SetExtractIndex([0, 0, first])
        reader.SetExtractSize([*size[:2], count])
    with _explained():
        values: NDArray[Any] = SimpleITK.GetArrayFromImage(reader.Execute())
    return values if len(size) == 3 else values[None]


class _explained:  # noqa: N801  (a context manager)
    """Turn SimpleITK's errors, which are of many lines, into one of one line."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, RuntimeError):
            last = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
            raise OSError(f"it is truncated or damaged, or its pixels are not there ({last})") from error


def _orientation(affine: NDArray[Any]) -> str:
    """Return where columns and rows of a slice point to, such as "LP"; empty where that is not said."""
    from nibabel.orientations import aff2axcodes

    columns, rows, _ = aff2axcodes(affine)  # type: ignore[no-untyped-call]
    return f"{columns}{rows}" if columns and rows else ""


def slice_index(value: Any) -> int | None:
    """Return the slice that a cell of a table names; None for an empty one.

    Raises:
        RefusedImageError: It is no whole number.
    """
    if value is None or value == "" or value != value:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not number.is_integer() or isinstance(value, bool):
        raise RefusedImageError(f"has the slice {value!r:.40}, which must be a whole number, counted from 0")
    return int(number)


def _chosen(count: int, index: int | None) -> int:
    if index is None:
        if count != 1:
            raise RefusedImageError(
                f"is a volume of {count} slices, and only one can be classified: name it in a column slice"
            )
        return 0
    if not 0 <= index < count:
        raise RefusedImageError(f"has no slice {index}: it has {count}, counted from 0")
    return index


def data_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files beside an NRRD or MetaImage header in which its pixels are; none where they follow it.

    Raises:
        RefusedImageError: It has no header.
        OSError: It cannot be read.
    """
    path = Path(path)
    return [path.parent / os.fsdecode(name) for name in _data_names(path)]


def _data_names(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if path.suffix.lower() == ".nrrd":
        header, end, _ = header.replace(b"\r\n", b"\n").partition(b"\n\n")  # pixels follow
        names, is_whole = _NRRD_DATA.findall(header), bool(end)
    else:  # its reader skips blank lines and parts of fields: any mention may be the one that counts
        names = _META_DATA.findall(header)
        is_whole = bool(names)
    if not is_whole:
        raise RefusedImageError("has no header, or one of more than 64 KB: it is damaged")
    return [name.strip() for name in names if name.strip().upper() != b"LOCAL"]


def _refuse_strange_data_file(path: Path) -> None:
    """Refuse a header that makes the reader open anything but a regular file beside it."""
    for name in _data_names(path):
        data = path.parent / os.fsdecode(name)
        if b"/" in name or b"\\" in name or data.is_dir() or name in (b".", b".."):
            raise RefusedImageError("names a file of its pixels that is not beside it: put it there")
        if data.exists() and not data.is_file():
            raise RefusedImageError("names a pipe or device as the file of its pixels")
        if not data.exists():
            raise RefusedImageError(
                f"names {name.decode('utf-8', 'backslashreplace')[:80]} as the file of its pixels, which is "
                "not there: it must be one file, beside this one"
            )


def is_nifti(head: bytes) -> bool:
    """Return whether a file begins as NIfTI, compressed or not."""
    if head[:2] == b"\x1f\x8b":
        import zlib

        try:
            head = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, 352)
        except zlib.error:
            return False
    sizes = (head[:4], head[3::-1])
    return any(one in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") for one in sizes) and (
        head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")
    )
