"""From a case table to MONAI: records for a Dataset, and the batches of all test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import DataLoader
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

from monai_sf.transforms import CorruptionSweep


def case_records(
    splits: pd.DataFrame, split: str | Sequence[str], dataset_dir: str | Path
) -> list[dict[str, Any]]:
    """The cases of some splits as the dictionaries that MONAI's datasets and dictionary transforms take.

    Args:
        splits: a case table with the column ``split``, see :func:`monai_sf.datasets.split_cases`.
        split: name or names of splits: train, val, iid, target.
        dataset_dir: the folder that the column ``image`` is relative to.

    Returns:
        One dictionary a case: ``image`` (path, or list of paths of a case with several channel files),
        ``label`` (int), ``case_id`` (str), ``split`` (str), in the order of the table.

    Raises:
        ValueError: no case is in these splits, or an image lies outside ``dataset_dir``.
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
    return [
        {
            "image": f"{root}/{images[0]}" if len(images) == 1 else [f"{root}/{i}" for i in images],
            "label": int(label),
            "case_id": str(case_id),
            "split": part,
        }
        for images, label, case_id, part in zip(
            names, chosen["label"], chosen["case_id"], chosen["split"], strict=True
        )
    ]


@dataclass(frozen=True)
class TestPass:
    """One walk over the cases of a split, and the test sets that it fills.

    Attributes:
        name: the test set of the clean images.
        indices: (n,) positions of the cases in the dataset.
        sweep: corruptions to evaluate beside the clean images, or None.
    """

    __test__ = False  # not a pytest class

    name: str
    indices: NDArray[np.int64]
    sweep: CorruptionSweep | None


def corruption_name(kind: str, severity: int) -> str:
    """Name of the test set of one corruption."""
    return f"corruption-{kind}-{severity}"


class TestBatches:
    """All batches of an evaluation: each image is read once and goes through clean and every corruption.

    Args:
        dataset: gives dictionaries with ``image`` (channels, H, W) in [0, 1], ``label`` and ``case_id``.
        passes: which cases, under which name, with which corruptions.
        batch_size: cases in a batch.
        num_workers: processes that decode; 0 decodes in this one.
        device: images are moved there before they are corrupted.
    """

    __test__ = False  # not a pytest class

    def __init__(
        self,
        dataset: Dataset[Any],
        passes: Sequence[TestPass],
        *,
        batch_size: int,
        num_workers: int,
        device: torch.device,
    ) -> None:
        self.dataset, self.passes, self.device = dataset, passes, device
        make: Callable[[TestPass], DataLoader] = lambda p: DataLoader(  # noqa: E731
            Subset(dataset, p.indices.tolist()), batch_size=batch_size, num_workers=num_workers, shuffle=False
        )
        self.loaders = [make(p) for p in passes if len(p.indices)]
        self.passes = [p for p in passes if len(p.indices)]

    def __len__(self) -> int:
        return sum(
            len(loader) * (1 + (len(p.sweep) if p.sweep else 0))
            for loader, p in zip(self.loaders, self.passes, strict=True)
        )

    def __iter__(self) -> Iterator[Mapping[Any, Any]]:
        for loader, test in zip(self.loaders, self.passes, strict=True):
            for batch in loader:
                clean = {**batch, "image": batch["image"].to(self.device, non_blocking=True)}
                yield {**clean, "test_set": test.name}
                for kind, severity, corrupted in test.sweep(clean) if test.sweep else ():
                    yield {**corrupted, "test_set": corruption_name(kind, severity)}
