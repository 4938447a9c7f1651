"""The batches of all test sets of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader
from numpy.typing import NDArray
from torch.utils.data import Dataset, Subset

from monai_sf.data.batches import collate_cases
from monai_sf.data.unit import as_unit
from monai_sf.transforms import CorruptionSweep
from monai_sf.vocabulary.shifts import corruption_name


@dataclass(frozen=True)
class TestPass:
    """One pass over the cases of a split, and the test sets that it fills.

    Attributes:
        name: the test set of the clean images.
        indices: (n,) positions of the cases in the dataset.
        sweep: corruptions to evaluate beside the clean images, or None.
        plain: whether its batches ask for the pass without dropout only.
    """

    __test__ = False  # not a pytest class

    name: str
    indices: NDArray[np.int64]
    sweep: CorruptionSweep | None
    plain: bool = False


class TestBatches:
    """All batches of an evaluation: each image is read once, and yielded clean and in every corruption.

    Args:
        dataset: of dictionaries with ``image`` (channels, H, W), bytes or in [0, 1], ``label`` and
            ``case_id``.
        passes: the cases, with the names of their test sets and their corruptions.
        batch_size: cases per batch.
        num_workers: processes that decode; 0 for this one.
        device: device on which the images are corrupted.
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
            Subset(dataset, p.indices.tolist()),
            batch_size=batch_size,
            num_workers=num_workers,
            shuffle=False,
            collate_fn=collate_cases,
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
                clean = {**batch, "image": as_unit(batch["image"].to(self.device, non_blocking=True))}
                clean |= {"plain": test.plain}
                yield {**clean, "test_set": test.name}
                for kind, severity, corrupted in test.sweep(clean) if test.sweep else ():
                    yield {**corrupted, "test_set": corruption_name(kind, severity)}
