"""Every corruption of a batch from one decoding of its files."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import torch

from .array import _SEVERITIES, corruption_grid
from .corrupt import check_images, severities_of
from .dictionary import check_case_id, check_run_seed, read_case_id
from .randomness import case_seed
from .severities import CORRUPTIONS

Case = dict[Hashable, Any]


class CorruptionSweep:
    """Yield a batch once per kind and severity, corrupted on its own device.

    The pixels are those of `Corruptd` with the same `seed`, case by case.

    Args:
        kinds: of `CORRUPTIONS`, in the order of the results.
        severities: 0 (unchanged) to 5, in the order of the results.
        modality: one of `MODALITIES` for its presets, or None for the default.
        image_key: the entry with the images.
        case_id_key: the entry with the cases' unique ids, strings or integers.
        seed: determines each case's noise, direction or deformation, together with its id.

    Raises:
        TypeError: if a severity or the seed is not an integer.
        ValueError: if kinds or severities are empty, or one of them or the modality is unknown.

    Examples:
        >>> import torch
        >>> from monai_sf.transforms import CorruptionSweep
        >>> kinds = ["brightness_up", "brightness_down"]
        >>> sweep = CorruptionSweep(kinds, severities=[1, 5])
        >>> batch = {"image": torch.full((2, 1, 8, 8), 0.5), "case_id": ["a", "b"]}
        >>> for kind, severity, corrupted in sweep(batch):
        ...     print(kind, severity, round(float(corrupted["image"].max()), 2))
        brightness_up 1 0.55
        brightness_up 5 0.75
        brightness_down 1 0.45
        brightness_down 5 0.25
    """

    def __init__(
        self,
        kinds: Sequence[str] = CORRUPTIONS,
        severities: Sequence[SupportsIndex] = _SEVERITIES,
        *,
        modality: str | None = None,
        image_key: Hashable = "image",
        case_id_key: Hashable = "case_id",
        seed: SupportsIndex = 0,
    ) -> None:
        corruption_grid(kinds, severities, modality)
        self.kinds = tuple(kinds)
        self.severities = tuple(operator.index(severity) for severity in severities)
        self.modality = modality
        self.image_key = image_key
        self.case_id_key = case_id_key
        self.seed = check_run_seed(seed)

    def __len__(self) -> int:
        """Return the number of corrupted copies of each batch."""
        return len(self.kinds) * len(self.severities)

    def __call__(self, batch: Mapping[Hashable, Any]) -> Iterator[tuple[str, int, Case]]:
        """Corrupt one batch, or one case, in every way, with one copy in memory at a time.

        Args:
            batch: images (B, C, H, W) with a list or tensor of B ids, or one image (C, H, W) with its id;
                floating point, in [0, 1]. Other entries are passed on.

        Yields:
            Kind, severity, and a shallow copy of the batch with new images.

        Raises:
            KeyError: if images or ids are missing.
            TypeError, ValueError: if an id is neither a string nor an integer, or as `corrupt`.
        """
        images = batch[self.image_key]
        ids = self._case_ids(batch)
        pixels = check_images(images)  # once, as it waits for the device
        for kind in self.kinds:
            seeds = [case_seed(self.seed, kind, case_id) for case_id in ids]
            results = severities_of(
                images, pixels, kind, self.severities, modality=self.modality, seeds=seeds
            )
            for severity, result in zip(self.severities, results, strict=True):
                yield kind, severity, {**batch, self.image_key: result}

    def _case_ids(self, batch: Mapping[Hashable, Any]) -> list[str | int]:
        ids = batch.get(self.case_id_key)
        if isinstance(ids, torch.Tensor) and ids.ndim == 1:
            return [check_case_id(case_id) for case_id in ids.tolist()]
        if isinstance(ids, list | tuple):
            return [check_case_id(case_id) for case_id in ids]
        return [read_case_id(batch, self.case_id_key)]


class SweepLoader:
    """A data loader that yields every batch of another one in all corruptions, reading each file once.

    Batches state what was done to each case in the entries `corruption` (kinds) and `severity`.

    Args:
        loader: yields batches of dictionaries, for example a `monai.data.DataLoader`.
        sweep: the corruptions.

    Examples:
        A loader of two batches becomes one of six, of which every batch says how it was corrupted:

        >>> import torch
        >>> from monai_sf.transforms import CorruptionSweep, SweepLoader
        >>> images = torch.full((2, 1, 8, 8), 0.5)
        >>> ids = (["a", "b"], ["c", "d"])
        >>> batches = [{"image": images, "case_id": of_batch} for of_batch in ids]
        >>> sweep = CorruptionSweep(["gaussian_noise"], severities=[1, 3, 5])
        >>> loader = SweepLoader(batches, sweep)
        >>> len(loader)
        6
        >>> for batch in loader:
        ...     print(batch["case_id"], batch["corruption"], batch["severity"])
        ['a', 'b'] ['gaussian_noise', 'gaussian_noise'] [1, 1]
        ['a', 'b'] ['gaussian_noise', 'gaussian_noise'] [3, 3]
        ['a', 'b'] ['gaussian_noise', 'gaussian_noise'] [5, 5]
        ['c', 'd'] ['gaussian_noise', 'gaussian_noise'] [1, 1]
        ['c', 'd'] ['gaussian_noise', 'gaussian_noise'] [3, 3]
        ['c', 'd'] ['gaussian_noise', 'gaussian_noise'] [5, 5]
    """

    def __init__(self, loader: Iterable[Mapping[Hashable, Any]], sweep: CorruptionSweep) -> None:
        self.loader = loader
        self.sweep = sweep

    def __len__(self) -> int:
        """Return the number of batches; the loader must know its own."""
        return len(self.sweep) * operator.length_hint(self.loader)

    def __iter__(self) -> Iterator[Case]:
        for batch in self.loader:
            for kind, severity, corrupted in self.sweep(batch):
                cases = len(corrupted[self.sweep.image_key])
                yield {**corrupted, "corruption": [kind] * cases, "severity": [severity] * cases}
