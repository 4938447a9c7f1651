"""Slices of LIDC-IDRI's nodules from a download of its CT, in any folder layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_sf.datasets.tree import Tree
from monai_sf.files.dicom import lacking_decoders, read_dataset

__all__ = [
    "SAME_Z_MM",
    "DicomError",
    "NoDecoderError",
    "Slice",
    "crop",
    "find_series",
    "find_slices",
    "read_patch",
    "slices_of_series",
]

_TAGS = ["SeriesInstanceUID", "ImagePositionPatient", "InstanceNumber", "StudyInstanceUID"]
_OUTSIDE_HU = -1024
SAME_Z_MM = 0.05
_LARGEST = 3071


class DicomError(ValueError):
    """DICOM files do not fit the nodules; the message names the files and the fault."""


class NoDecoderError(DicomError):
    """The pixels are compressed and their decoder is not installed; the message names it."""


@dataclass(frozen=True)
class Slice:
    """One file of a series.

    Attributes:
        path: The file.
        z: Last coordinate of ImagePositionPatient, in mm.
        number: InstanceNumber.
        others: Files with the same z and InstanceNumber, whose pixels must be equal.
    """

    path: Path
    z: float
    number: float
    others: tuple[Path, ...] = ()


def find_series(tree: Tree, wanted: Collection[str]) -> dict[str, list[Path]]:
    """Find the files of the tree that may belong to each wanted series.

    In each folder with DICOM files the first and the last by name are opened, and if that does not find all
    series, sixteen. If these are of one series, all files of the folder are assigned to it
    (:func:`slices_of_series` reads each); otherwise all are opened. Names of files and folders do not matter.

    Args:
        tree: The files of the download.
        wanted: SeriesInstanceUIDs.
    """
    folders: dict[str, list[Path]] = defaultdict(list)
    for path in tree.dicom_files():
        folders[path.rpartition("/")[0]].append(tree.root / path)
    found = _series_in(folders, set(wanted), looks=2)
    # In a folder of several series with random names, the first and the last file may be of the same one.
    return found if found.keys() >= set(wanted) else _series_in(folders, set(wanted), looks=16)


def _series_in(folders: Mapping[str, list[Path]], wanted: set[str], looks: int) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for files in folders.values():
        chosen = np.unique(np.linspace(0, len(files) - 1, looks).astype(int))
        seen = [_uid(files[i]) for i in chosen]
        series = seen[:1] * len(files) if len(set(seen)) == 1 else [_uid(file) for file in files]
        for uid, file in zip(series, files, strict=True):
            if uid in wanted:
                found[uid].append(file)
    return dict(found)


def _uid(file: Path) -> str:
    tags = _tags(file)
    return str(tags.get("SeriesInstanceUID", "")).strip()


def _tags(file: Path) -> dict[str, Any]:
    """Read the values of some tags; none for a broken file, reported only if a slice of it is needed."""
    try:
        header = read_dataset(file, stop_before_pixels=True, specific_tags=_TAGS)
        return {name: header.get(name) for name in _TAGS if name in header}  # values are decoded here
    except OSError:
        raise
    except Exception:  # pydicom raises errors of many kinds over damaged headers
        return {}


def slices_of_series(uid: str, files: Iterable[Path]) -> list[Slice]:
    """Return the slices of a series by increasing z, of equal z the one with the lowest InstanceNumber.

    This is pylidc's choice (``Scan.load_all_dicom_images`` of 0.2.3). If it leaves several files, the first
    by name is the slice, and lists the others. Files of other series, without a position, or that are not
    DICOM are skipped. Only headers are read.

    Args:
        uid: SeriesInstanceUID.
        files: Files that include those of the series.
    """
    by_z: dict[float, Slice] = {}
    for file in files:
        tags = _tags(file)
        if str(tags.get("SeriesInstanceUID", "")).strip() != uid:
            continue
        try:
            _, _, z = map(float, tags["ImagePositionPatient"])
            number = tags.get("InstanceNumber")
            one = Slice(file, z, float("inf") if number in (None, "") else float(number))
        except (KeyError, TypeError, ValueError):
            continue
        if not np.isfinite(one.z):
            continue
        other = by_z.get(one.z)
        if other is None or one.number < other.number:
            by_z[one.z] = one
        elif one.number == other.number:
            first, *more = sorted((one.path, other.path, *other.others), key=str)
            by_z[one.z] = replace(one, path=first, others=tuple(more))
    return [by_z[z] for z in sorted(by_z)]


def _nearest_slice(slices: list[Slice], z: float) -> Slice | None:
    if not slices:
        return None
    nearest = min(slices, key=lambda one: abs(one.z - z))
    return nearest if abs(nearest.z - z) <= SAME_Z_MM else None


def read_patch(file: Path, row: float, column: float, size: int) -> npt.NDArray[np.int16]:
    """Crop a square of a slice in Hounsfield units.

    Args:
        file: A DICOM file of a CT slice.
        row: Row of the centre, in pixels; the patch is placed like those of rendered slices.
        column: Column of the centre.
        size: Height and width in pixels.

    Returns:
        (size, size) int16; -1024 outside the slice.

    Raises:
        NoDecoderError: If the pixels are compressed and their decoder is not installed; names it.
        DicomError: If the file has no pixels, or they cannot be decoded, are not one grey channel, or lack
            the rescaling to Hounsfield units.
    """
    try:
        header = read_dataset(file)
        if "PixelData" not in header:
            raise DicomError(f"{file} has no pixel data")
        if lacking := lacking_decoders(header):
            raise NoDecoderError(f"{file} is {lacking}")
        pixels = np.asarray(header.pixel_array)
    except DicomError:
        raise
    except Exception as error:  # decoders raise errors of many kinds
        raise DicomError(f"{file} cannot be decoded: {error}") from error
    if pixels.ndim != 2:
        raise DicomError(f"{file} is not a single grey slice: its pixels have the shape {pixels.shape}")
    absent = [name for name in ("RescaleSlope", "RescaleIntercept") if name not in header]
    if absent:
        raise DicomError(f"{file} lacks {' and '.join(absent)}: it cannot be converted to Hounsfield units")
    try:
        slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
    except Exception as error:  # a damaged value is decoded here
        raise DicomError(f"{file}: RescaleSlope and RescaleIntercept must be numbers: {error}") from error
    if not (np.isfinite([slope, intercept]).all() and slope > 0):
        raise DicomError(
            f"{file}: RescaleSlope must be a number above 0 and RescaleIntercept one, got {slope:g} and "
            f"{intercept:g}"
        )
    return crop(file, pixels, row, column, size, slope, intercept)


def crop(
    file: Path,
    pixels: npt.NDArray[Any],
    row: float,
    column: float,
    size: int,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> npt.NDArray[np.int16]:
    """Crop a square of a decoded slice; see :func:`read_patch`.

    Raises:
        DicomError: If the centre lies outside of the slice; names the file.
    """
    if not (0 <= row < pixels.shape[0] and 0 <= column < pixels.shape[1]):
        raise DicomError(
            f"{file} is {pixels.shape[0]} x {pixels.shape[1]}, and the nodule's centre is at row {row:g} and "
            f"column {column:g}: it is not the slice that was annotated"
        )
    top, left = (int(np.floor(centre + 0.5)) - size // 2 for centre in (row, column))
    patch = np.full((size, size), float(_OUTSIDE_HU))
    rows = slice(max(top, 0), min(top + size, pixels.shape[0]))
    columns = slice(max(left, 0), min(left + size, pixels.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        hu = pixels[rows, columns] * slope + intercept
        patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = hu
    whole: npt.NDArray[np.int16] = np.rint(np.clip(patch, _OUTSIDE_HU, _LARGEST)).astype(np.int16)
    return whole


def find_slices(
    files: Mapping[str, list[Path]], wanted: Mapping[str, Collection[float]]
) -> tuple[dict[tuple[str, float], Slice], list[str]]:
    """Return each wanted slice, and a list of the missing ones.

    Args:
        files: Series to its files.
        wanted: Series to the z of its slices, in mm, with a tolerance of 0.05 mm.
    """
    found: dict[tuple[str, float], Slice] = {}
    absent: list[str] = []
    for uid, zs in wanted.items():
        slices = slices_of_series(uid, files.get(uid, []))
        for z in zs:
            one = _nearest_slice(slices, z)
            if one is None:
                absent.append(f"series {uid} has no readable slice at z = {z:g} mm ({len(slices)} others)")
            else:
                found[uid, z] = one
    return found, absent
