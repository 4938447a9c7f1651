"""From a case table to the records of MONAI's datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from monai_sf.files.volumes import slice_index


def case_records(
    splits: pd.DataFrame, split: str | Sequence[str], dataset_dir: str | Path
) -> list[dict[str, Any]]:
    """Return the cases of some splits as dictionaries for MONAI's datasets and dictionary transforms.

    Args:
        splits: a case table with the column ``split``, see :func:`monai_sf.datasets.split_cases`.
        split: name or names of splits: train, val, calibration, iid, target.
        dataset_dir: the folder that the column ``image`` is relative to.

    Returns:
        One dictionary per case: ``image`` (path, or list of paths of a case with several channel files),
        ``label`` (int), ``case_id`` (str), ``split`` (str), in the order of the table; and ``slice`` (int) if
        the table names the slice of its volume.

    Raises:
        ValueError: no case is in these splits, an image lies outside ``dataset_dir``, or a slice is no whole
            number.
    """
    wanted = [split] if isinstance(split, str) else list(split)
    chosen = splits[splits["split"].isin(wanted)]
    if chosen.empty:
        raise ValueError(f"no case is in {wanted}; the splits are {splits['split'].value_counts().to_dict()}")
    names = [image if isinstance(image, list) else [image] for image in chosen["image"]]
    outside = [
        case_id
        for case_id, images in zip(chosen["case_id"], names, strict=True)
        if any(PurePosixPath(i).is_absolute() or ".." in PurePosixPath(i).parts for i in images)
    ]
    if outside:
        raise ValueError(f"{len(outside)} images lie outside of dataset_dir: cases {outside[:10]}")
    root = str(dataset_dir)
    slices = (
        [slice_index(one) for one in chosen["slice"]] if "slice" in chosen.columns else [None] * len(chosen)
    )
    return [
        {
            "image": f"{root}/{images[0]}" if len(images) == 1 else [f"{root}/{i}" for i in images],
            "label": int(label),
            "case_id": str(case_id),
            "split": part,
            **({} if index is None else {"slice": index}),
        }
        for images, label, case_id, part, index in zip(
            names, chosen["label"], chosen["case_id"], chosen["split"], slices, strict=True
        )
    ]
