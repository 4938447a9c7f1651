"""Slices of LIDC-IDRI's nodules from LUNA16's volumes, ``<SeriesInstanceUID>.mhd``, in any folder layout."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_sf.datasets.lidc_dicom import SAME_Z_MM, DicomError
from monai_sf.datasets.tree import Tree
from monai_sf.files.naming import reason
from monai_sf.files.volumes import itk_slices, open_itk

__all__ = ["find_volumes", "read_volume_slices"]


def find_volumes(tree: Tree, wanted: Collection[str]) -> dict[str, list[Path]]:
    """Find the volumes of wanted series, by name.

    Args:
        tree: The files of the download.
        wanted: SeriesInstanceUIDs.

    Returns:
        Series to its files: one, or several copies in order of their paths.
    """
    series, found = set(wanted), dict[str, list[Path]]()
    for path in tree.files:
        name, _, ending = path.rpartition("/")[2].rpartition(".")
        if ending.lower() == "mhd" and name in series:
            found.setdefault(name, []).append(tree.root / path)
    return found


def read_volume_slices(files: Iterable[Path], zs: Collection[float]) -> Mapping[float, npt.NDArray[Any]]:
    """Return the slices of a volume at some heights, in Hounsfield units.

    The pixels are stored in the order of the DICOM files that the volume was made of; only slices are put in
    order. A slice is found by the header's origin, spacing and direction, not by counting.

    Args:
        files: The volume; of several copies the first is read.
        zs: In mm, with a tolerance of 0.05 mm.

    Returns:
        Height to slice, (H, W); heights without a slice are left out.

    Raises:
        DicomError: If the volume cannot be read, is not one of grey values, or is not axial.
    """
    file = next(iter(files))
    try:
        reader = open_itk(file)
        size = reader.GetSize()
        if len(size) != 3 or reader.GetNumberOfComponents() != 1:
            raise ValueError("is not a volume of grey values")
        direction = np.reshape(reader.GetDirection(), (3, 3))
        if not np.allclose(np.abs(direction[:, 2]), (0, 0, 1), atol=1e-3):
            raise ValueError("is not axial: its slices must be those of the CT")
        heights = reader.GetOrigin()[2] + direction[2, 2] * reader.GetSpacing()[2] * np.arange(size[2])
        index = {z: int(np.abs(heights - z).argmin()) for z in zs}
        index = {z: k for z, k in index.items() if abs(heights[k] - z) <= SAME_Z_MM}
        if not index:
            return {}
        first, last = min(index.values()), max(index.values())
        values = itk_slices(reader, first, last - first + 1)
    except Exception as error:
        said = reason(error) if not isinstance(error, ValueError) else str(error)
        raise DicomError(f"{file} {said}") from error
    return {z: values[k - first] for z, k in index.items()}
