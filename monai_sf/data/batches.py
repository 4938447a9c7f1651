"""Batches of a run: the same cases, order and augmentation in one process as in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, MetaTensor, list_data_collate
from monai.transforms import Randomizable
from torch.utils.data import Dataset, Sampler

from monai_sf.data.unit import deepened
from monai_sf.networks import distributed


class SharedBatches(Sampler[list[tuple[int, int]]]):
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

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield this process's shard of each batch, as pairs of epoch and position of the case."""
        order = np.arange(self.count)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for first in range(0, self.used, self.batch_size):
            batch = order[first : min(first + self.batch_size, self.used)]
            mine = batch[distributed.share(len(batch), distributed.rank(), distributed.world_size())]
            yield [(self.epoch, int(position)) for position in mine]


class SeededCases(Dataset[Any]):
    """A dataset whose random transforms are seeded by (seed, epoch, case), whichever process reads the case.

    All random transforms share one stream, which is reseeded for each case: that takes 15 microseconds, where
    MONAI's ``set_random_state`` needs a millisecond. Transforms that draw from torch's generator are not
    covered.

    Args:
        dataset: with a ``transform``.
        seed: of the run.
    """

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.stream = np.random.RandomState(seed % 2**32)
        _share_stream(getattr(dataset, "transform", None), self.stream, set())

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def set_random_state(self, seed: int) -> None:
        """Do nothing: MONAI's data loaders call it in every worker to make the copies differ."""

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return the case at a position in an epoch."""
        epoch, position = key
        self.stream.seed((self.seed % 2**32, epoch, position))
        return self.dataset[position]


def _share_stream(part: Any, stream: np.random.RandomState, seen: set[int]) -> None:
    """Let all random transforms in a transform draw from one stream."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, Randomizable):
        part.R = stream
    inner = part.values() if isinstance(part, dict) else getattr(part, "__dict__", {}).values()
    for one in part if isinstance(part, list | tuple) else inner:
        _share_stream(one, stream, seen)


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


class _Collate:
    """Collate function of a shard; a class, as closures cannot be sent to spawned workers."""

    def __init__(self, dataset: Dataset[Any], batches: SharedBatches) -> None:
        self.dataset, self.batches = dataset, batches

    def __call__(self, cases: Sequence[Any]) -> Any:
        if cases:
            return collate_cases(cases)
        example = collate_cases([self.dataset[self.batches.epoch, 0]])
        plain = {k: v.as_tensor() if isinstance(v, MetaTensor) else v for k, v in example.items()}
        return {key: value[:0] for key, value in plain.items()}


def shared_loader(dataset: Dataset[Any], batches: SharedBatches, num_workers: int) -> DataLoader:
    """Return a loader of this process's shard of the batches; a shard may be empty, but has all keys.

    Args:
        dataset: indexed by pairs of epoch and position, as :class:`SeededCases` is.
        batches: the batches to load.
        num_workers: processes that read and augment; 0 for this one.
    """
    return DataLoader(
        dataset, batch_sampler=batches, num_workers=num_workers, collate_fn=_Collate(dataset, batches)
    )
