"""From a case table to the records of MONAI's datasets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.files.volumes import slice_index

_OUTSIDE = re.compile(r"^/|(?:^|/)\.\.(?:/|\Z)")


class CaseRecords(Sequence[dict[str, Any]]):
    """The cases of a table as dictionaries, of which a new one is built each time that it is asked for.

    A dictionary with its texts takes a kilobyte, the columns of the table a tenth. What is changed in one is
    not kept: change a list of them.

    Args:
        cases: Case table with the column ``split``.
        root: What stands before the paths in ``image``.
        slices: (N,) the slice of each case, None for none; None without any.
    """

    def __init__(self, cases: pd.DataFrame, root: str, slices: Sequence[int | None] | None) -> None:
        self._root, self._slices = root, slices
        self._image, self._case_id = cases["image"].array, cases["case_id"].array
        self._label = cases["label"].to_numpy()
        self._split, names = pd.factorize(cases["split"])
        self._splits = np.array([*names], object)

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[k] for k in range(len(self))[place]]
        place = range(len(self))[place]
        image = self._image[place]
        files = image if isinstance(image, list) else [image]
        record = {
            "image": f"{self._root}/{files[0]}" if len(files) == 1 else [f"{self._root}/{i}" for i in files],
            "label": int(self._label[place]),
            "case_id": str(self._case_id[place]),
            "split": self._splits[self._split[place]],
        }
        if self._slices is not None and (index := self._slices[place]) is not None:
            record["slice"] = index
        return record

    @property
    def splits(self) -> NDArray[np.object_]:
        """The split of each record (N,)."""
        return self._splits[self._split]


def splits_of(records: Sequence[Mapping[str, Any]]) -> NDArray[np.object_]:
    """Return the split of each record (N,)."""
    if isinstance(records, CaseRecords):
        return records.splits
    return np.array([record["split"] for record in records], object)


def case_records(splits: pd.DataFrame, split: str | Sequence[str], dataset_dir: str | Path) -> CaseRecords:
    """Return the cases of some splits as dictionaries for MONAI's datasets and dictionary transforms.

    Args:
        splits: a case table with the column ``split``, see :func:`monai_sf.datasets.split_cases`.
        split: name or names of splits: train, val, calibration, iid, target.
        dataset_dir: the folder that the column ``image`` is relative to.

    Returns:
        A sequence with one dictionary per case, in the order of the table: ``image`` (path, or list of paths
        of a case with several channel files), ``label`` (int), ``case_id`` (str), ``split`` (str); and
        ``slice`` (int) if the table names the slice of its volume. It gives a new dictionary each time: to
        change cases, make a list of it first.

    Raises:
        ValueError: no case is in these splits, an image lies outside ``dataset_dir``, or a slice is no whole
            number.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.data import case_records
        >>> splits = pd.DataFrame(
        ...     {"case_id": ["a", "b"], "image": ["x/a.png", "x/b.png"], "label": [0, 1]}
        ... )
        >>> splits["split"] = ["train", "iid"]
        >>> list(case_records(splits, ["train", "val"], "data"))
        [{'image': 'data/x/a.png', 'label': 0, 'case_id': 'a', 'split': 'train'}]
    """
    wanted = [split] if isinstance(split, str) else list(split)
    chosen = splits[splits["split"].isin(wanted)]
    if chosen.empty:
        raise ValueError(f"no case is in {wanted}; the splits are {splits['split'].value_counts().to_dict()}")
    files = (image if isinstance(image, list) else [image] for image in chosen["image"])
    outside = np.fromiter((any(map(_OUTSIDE.search, own)) for own in files), np.bool_, len(chosen))
    if outside.any():
        first = [*chosen["case_id"][outside][:10]]
        raise ValueError(f"{int(outside.sum())} images lie outside of dataset_dir: cases {first}")
    slices = [slice_index(one) for one in chosen["slice"]] if "slice" in chosen.columns else None
    return CaseRecords(chosen, str(dataset_dir), slices)
