"""Batches of a run: the same cases in the same order in one process as in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, list_data_collate
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from monai_sf.data.case_dataset import CaseDataset
from monai_sf.data.unit import deepened
from monai_sf.networks import distributed

#: Blocks of memory that Pillow keeps, of at most 16 MiB each.
_BLOCKS = 4


class SharedBatches(Sampler[list[int]]):
    """The batches of an epoch, sharded over the processes.

    The order of an epoch is drawn from (seed, epoch) and the same in all processes; rank r of k takes the
    r-th shard of each batch. So the batches do not depend on the number of processes.

    Args:
        count: number of cases.
        batch_size: cases per batch, over all processes.
        seed: of the order; None keeps the order of the cases.

    Attributes:
        epoch: the next epoch; set it before its first batch is requested.

    Raises:
        ValueError: ``batch_size`` is not positive; or with a seed, as for training, a batch, or the whole
            dataset, has fewer cases than there are processes.

    Examples:
        >>> from monai_sf.data import SharedBatches
        >>> batches = SharedBatches(count=5, batch_size=2, seed=0)
        >>> list(batches) == list(batches)  # the order is that of the epoch
        True
        >>> batches.epoch = 1
        >>> list(SharedBatches(count=5, batch_size=2, seed=None))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, count: int, batch_size: int, *, seed: int | None) -> None:
        parts = distributed.world_size()
        if not batch_size > 0:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        if seed is not None and min(count, batch_size) < parts:
            raise ValueError(
                f"{count} cases in batches of {batch_size} are not enough for {parts} processes: batch_size "
                "counts the cases of all processes together"
            )
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, 0
        # batch norm cannot train on a single case, and no process can train on none
        rest = count % batch_size
        self.used = count - rest if seed is not None and rest < max(2, parts) and rest < count else count

    def __len__(self) -> int:
        return -(-self.used // self.batch_size)

    def size_of(self, batch: int) -> int:
        """Return the size of a batch (0, 1, ...) over all processes."""
        return min(self.batch_size, self.used - batch * self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's shard of each batch, as positions of the cases."""
        order = np.arange(self.count)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for first in range(0, self.used, self.batch_size):
            batch = order[first : min(first + self.batch_size, self.used)]
            mine = batch[distributed.share(len(batch), distributed.rank(), distributed.world_size())]
            yield mine.tolist()


def collate_cases(cases: Sequence[Any]) -> Any:
    """Return cases as a batch; beside images of 16 bits, those of 8 bits get 16.

    Raises:
        ValueError: some images are bytes and others floating point, which torch would mix silently.
    """
    images = [case.get("image") if isinstance(case, dict) else None for case in cases]
    types = {image.dtype for image in images if isinstance(image, torch.Tensor)}
    if len(types) > 1:
        if types != {torch.uint8, torch.uint16}:
            names = ", ".join(sorted(map(str, types)))
            raise ValueError(f"images of one batch must all be bytes, or all of one other type, got {names}")
        cases = [{**case, "image": deepened(case["image"])} for case in cases]
    return list_data_collate(cases)


def reuse_memory(worker: int) -> None:
    """Let Pillow keep the memory of some pictures for the next ones, in a worker of a data loader.

    Otherwise the system takes it back and hands it out anew, page by page, for every picture.
    """
    core: Any = Image.core  # type: ignore[attr-defined]
    core.set_blocks_max(_BLOCKS)


class _Collate:
    """Collate function of a shard; a class, as closures cannot be sent to spawned workers."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __call__(self, cases: Sequence[Any]) -> Any:
        if cases:
            return collate_cases(cases)
        example = collate_cases([self.dataset[0]])
        plain = {k: v.as_tensor() if isinstance(v, MetaTensor) else v for k, v in example.items()}
        return {key: value[:0] for key, value in plain.items()}


def shared_loader(
    dataset: Dataset[Any], batches: SharedBatches, num_workers: int, *, pin_memory: bool = False
) -> DataLoader[Any]:
    """Return a loader of this process's shard of the batches; a shard may be empty, but has all keys.

    The batches are the same for any number of workers, which go on from epoch to epoch. No random numbers of
    the process are drawn: whether an epoch starts workers must not change its dropout.

    Args:
        dataset: indexed by the position of a case.
        batches: the batches to load.
        num_workers: processes that read; 0 for this one.
        pin_memory: whether batches are put where a GPU copies them from without waiting.

    Examples:
        >>> import torch
        >>> from monai.data import Dataset
        >>> from monai_sf.data import SharedBatches, shared_loader
        >>> cases = Dataset(
        ...     [{"image": torch.zeros(1, 8, 8), "case_id": str(k)} for k in range(5)]
        ... )
        >>> loader = shared_loader(cases, SharedBatches(5, 2, seed=None), num_workers=0)
        >>> [batch["case_id"] for batch in loader]
        [['0', '1'], ['2', '3'], ['4']]
    """
    if num_workers and isinstance(dataset, CaseDataset):
        dataset.share()
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_Collate(dataset),
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=reuse_memory,
        generator=torch.Generator(),
    )


def end_workers(loader: DataLoader[Any]) -> None:
    """End the processes of a loader now, and not when it is collected as garbage.

    It may be used again, and starts others then.
    """
    if loader._iterator is not None:
        end_reading(loader._iterator)
        loader._iterator = None


def end_reading(iterator: Iterator[Any]) -> None:
    """End the processes of a loader's iterator, if it has any; it cannot be used any more."""
    if (end := getattr(iterator, "_shutdown_workers", None)) is not None:
        end()
