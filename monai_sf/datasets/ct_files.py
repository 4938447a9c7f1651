"""Write the CT patches of a case table to disk, from LIDC-IDRI's DICOM files or LUNA16's volumes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from monai_sf.datasets.rendered_files import (
    check_paths,
    explained,
    image_bytes,
    is_whole,
    write_rendered_slices,
    write_whole,
)
from monai_sf.datasets.rendering import PATCH_SIZE
from monai_sf.datasets.tree import read_tree
from monai_sf.files.cores import usable_cores

if TYPE_CHECKING:
    from monai_sf.datasets.lidc_dicom import DicomError

__all__ = ["write_ct_slices", "write_nodule_slices"]

_COLUMNS = ("image", "source", "series_instance_uid", "z", "centroid_row", "centroid_column")
_MOST_LISTED = 10


def write_nodule_slices(cases: pd.DataFrame, dataset_dir: str | Path) -> int:
    """Write the images of all cases of lung_nodule_ct that are not on disk yet, from CT or rendered.

    Calls :func:`write_ct_slices` and :func:`monai_sf.datasets.write_rendered_slices` for the cases of their
    source.

    Returns:
        Number of files written.

    Examples:
        >>> import SimpleITK
        >>> import pandas as pd
        >>> from monai_sf.datasets import write_nodule_slices
        >>> SimpleITK.WriteImage(
        ...     SimpleITK.Image(96, 96, 5, SimpleITK.sitkInt16), "1.2.3.mhd"
        ... )
        >>> case = {
        ...     "image": "patches/a.npy",
        ...     "source": "ct",
        ...     "series_instance_uid": "1.2.3",
        ... }
        >>> case |= {"z": 2.0, "centroid_row": 48.0, "centroid_column": 40.0}
        >>> case |= {"group": "patient 1", "scan_id": 1, "nodule": 0, "slice_index": 2}
        >>> cases = pd.DataFrame([case])
        >>> # what is there stays
        >>> write_nodule_slices(cases, "."), write_nodule_slices(cases, ".")
        (1, 0)
    """
    return write_ct_slices(cases, dataset_dir) + write_rendered_slices(cases, dataset_dir)


def write_ct_slices(cases: pd.DataFrame, dataset_dir: str | Path, *, workers: int | None = None) -> int:
    """Crop the patches of all cases whose ``source`` is "ct" from DICOM files or volumes below the folder.

    A series is read from its DICOM files, of which all headers are read, but only the pixels of the slices
    that are needed; without any, from LUNA16's volume ``<SeriesInstanceUID>.mhd``. Every image is an
    ``.npy`` file, (64, 64) int16 in Hounsfield units, at ``dataset_dir / image``, written atomically;
    existing files are kept.

    Args:
        cases: Case table of lung_nodule_ct.
        dataset_dir: Folder with the DICOM files and volumes, in any layout.
        workers: Threads. Default: one per usable core, up to 8.

    Returns:
        Number of files written.

    Raises:
        ValueError: If columns are missing, an image path leaves ``dataset_dir``, or slices are missing or
            unreadable: names them; the others are written.
        OSError: If the folder cannot be written.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> import SimpleITK
        >>> from monai_sf.datasets import write_ct_slices
        >>> scan = SimpleITK.GetImageFromArray(np.full((5, 96, 96), -800, np.int16))
        >>> # five slices, 1 mm apart, at z = 0, 1, ...
        >>> SimpleITK.WriteImage(scan, "1.2.3.mhd")
        >>> case = {
        ...     "image": "patches/a.npy",
        ...     "source": "ct",
        ...     "series_instance_uid": "1.2.3",
        ... }
        >>> case |= {"z": 2.0, "centroid_row": 48.0, "centroid_column": 40.0}
        >>> write_ct_slices(pd.DataFrame([case]), ".")
        1
        >>> np.load("patches/a.npy").shape
        (64, 64)
    """
    from monai_sf.datasets.lidc_dicom import DicomError, NoDecoderError, find_series
    from monai_sf.datasets.lidc_volumes import find_volumes

    absent = [name for name in _COLUMNS if name not in cases.columns]
    if absent:
        raise ValueError(f"case table lacks the columns {', '.join(absent)}")
    root = Path(dataset_dir)
    own = cases[cases["source"] == "ct"]
    check_paths(own["image"])
    todo = own[[not is_whole(root / image) for image in own["image"]]]
    if todo.empty:
        return 0
    tree, series = read_tree(root), set(todo["series_instance_uid"].unique())
    files = find_series(tree, series)
    volumes = find_volumes(tree, series - files.keys())
    jobs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in todo[list(_COLUMNS)].to_dict("records"):
        jobs[str(row["series_instance_uid"])].append({str(key): value for key, value in row.items()})
    faults: list[DicomError] = []
    with (
        ThreadPoolExecutor(workers or usable_cores()) as pool,
        tqdm(total=len(todo), desc="cropping CT slices", unit="slice") as bar,
        explained(root, "CT slices"),
    ):
        for own_faults, count in pool.map(lambda job: _write_series(job, files, volumes, root), jobs.items()):
            faults += own_faults
            bar.update(count)
    if faults:
        listed = "\n  ".join(map(str, faults[:_MOST_LISTED]))
        undecoded = sum(isinstance(fault, NoDecoderError) for fault in faults)
        installing = f"Install a decoder for {undecoded} of them and run again. " if undecoded else ""
        anew = "Download these series again. " if undecoded < len(faults) else ""
        raise DicomError(
            f"{len(faults)} of {len(todo)} CT slices cannot be made:\n  {listed}\n{installing}{anew}To "
            'continue without them, move them out of the folder and set missing="drop"'
        )
    return len(todo)


def _write_series(
    job: tuple[str, list[dict[str, Any]]],
    files: Mapping[str, list[Path]],
    volumes: Mapping[str, list[Path]],
    root: Path,
) -> tuple[list[DicomError], int]:
    from monai_sf.datasets.lidc_dicom import DicomError, find_slices, read_patch

    uid, rows = job
    if uid in volumes:
        return _write_volume(volumes[uid], rows, root)
    found, absent = find_slices(files, {uid: sorted({float(row["z"]) for row in rows})})
    faults = [DicomError(text) for text in absent]
    for row in rows:
        one = found.get((uid, float(row["z"])))
        if one is None:
            continue
        try:
            patch, *others = (
                read_patch(path, row["centroid_row"], row["centroid_column"], PATCH_SIZE)
                for path in (one.path, *one.others)
            )
            if different := [k for k, other in enumerate(others) if not np.array_equal(patch, other)]:
                raise DicomError(
                    f"{one.path} and {one.others[different[0]]} are the same slice of the same series, but "
                    "their pixels differ: keep the right one"
                )
        except DicomError as error:
            faults.append(error)
            continue
        write_whole(root / row["image"], image_bytes(patch))
    return faults, len(rows)


def _write_volume(files: list[Path], rows: list[dict[str, Any]], root: Path) -> tuple[list[DicomError], int]:
    from monai_sf.datasets.lidc_dicom import DicomError, crop
    from monai_sf.datasets.lidc_volumes import read_volume_slices

    faults: list[DicomError] = []
    try:
        slices = read_volume_slices(files, {float(row["z"]) for row in rows})
    except DicomError as error:
        return [error], len(rows)
    absent = sorted({float(row["z"]) for row in rows} - slices.keys())
    faults += [DicomError(f"{files[0]} has no slice at z = {z:g} mm") for z in absent]
    for row in rows:
        if float(row["z"]) in absent:
            continue
        try:
            pixels = slices[float(row["z"])]
            patch = crop(files[0], pixels, row["centroid_row"], row["centroid_column"], PATCH_SIZE)
        except DicomError as error:
            faults.append(error)
            continue
        write_whole(root / row["image"], image_bytes(patch))
    return faults, len(rows)
