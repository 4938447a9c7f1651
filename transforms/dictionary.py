"""Corruptions as MONAI dictionary transforms: some keys of one case, seeded by the case's id."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.transforms.traits import RandomizableTrait
from monai.transforms.transform import MapTransform, RandomizableTransform

from .array import _SEVERITIES, Corrupt, RandCorrupt
from .randomness import case_seed
from .severities import CORRUPTIONS


class Corruptd(MapTransform, RandomizableTrait):
    """Corrupt images of a case, reproducibly wherever, whenever and in whatever order it is read.

    The randomness of a case is a hash of `seed`, the kind of corruption and the case's id. It depends neither
    on the key nor on the other entries of the dictionary, and all severities of a kind share it.

    MONAI's caches end before it, as before any random transform (see `Corrupt`).

    Args:
        keys: the images to corrupt.
        kind: one of `CORRUPTIONS`.
        severity: 0 (unchanged) to 5.
        modality: one of `MODALITIES` for its presets, or None for the default.
        case_id_key: the entry with the case's unique id, a string or an integer.
        seed: determines each case's noise, direction or deformation, together with its id.
        allow_missing_keys: skip missing images instead of raising.

    Raises:
        TypeError: if severity or seed is not an integer.
        ValueError: if kind, severity or modality is unknown.

    Examples:
        The noise of a case is the same in every run, and another for every other case:

        >>> import torch
        >>> from monai.transforms import Compose, ScaleIntensityd
        >>> from monai_sf.transforms import Corruptd
        >>> add_noise = Corruptd("image", "gaussian_noise", severity=2)
        >>> transform = Compose([ScaleIntensityd("image"), add_noise])
        >>> case = {"image": torch.arange(64.0).view(1, 8, 8), "case_id": "ISIC_1"}
        >>> first, again = transform(case)["image"], transform(case)["image"]
        >>> other = transform({**case, "case_id": "ISIC_2"})["image"]
        >>> torch.equal(first, again), torch.equal(first, other)
        (True, False)
    """

    backend = Corrupt.backend

    def __init__(
        self,
        keys: KeysCollection,
        kind: str,
        severity: SupportsIndex,
        *,
        modality: str | None = None,
        case_id_key: Hashable = "case_id",
        seed: SupportsIndex = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.corrupt = Corrupt(kind, severity, modality=modality)
        self.case_id_key = case_id_key
        self.seed = check_run_seed(seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Corrupt the images of one case.

        Args:
            data: the case; each image (C, H, W), floating point, in [0, 1].

        Returns:
            A shallow copy with new images under the keys.

        Raises:
            KeyError: if the case's id or, unless allowed, an image is missing.
            TypeError, ValueError: if the id is neither a string nor an integer, or as `Corrupt`.
        """
        result = dict(data)
        seed = case_seed(self.seed, self.corrupt.kind, read_case_id(data, self.case_id_key))
        for key in self.key_iterator(result):
            result[key] = self.corrupt(result[key], seed)
        return result


class RandCorruptd(RandomizableTransform, MapTransform):
    """Corrupt images of a case at random, all keys alike, for augmentation; see `RandCorrupt`.

    Args:
        keys: the images to corrupt.
        kinds: the kinds to draw from, each equally likely.
        severities: the severities to draw from, each equally likely.
        prob: probability of corrupting at all.
        modality: one of `MODALITIES` for its presets, or None for the default.
        allow_missing_keys: skip missing images instead of raising.

    Raises:
        TypeError: if a severity is not an integer.
        ValueError: if kinds or severities are empty, or one of them or the modality is unknown.

    Examples:
        An image and its reference image are corrupted alike, or not at all:

        >>> import torch
        >>> from monai_sf.transforms import RandCorruptd
        >>> keys = ("image", "reference")
        >>> augment = RandCorruptd(keys, kinds=["brightness_down"], prob=0.5)
        >>> augment = augment.set_random_state(7)
        >>> case = {key: torch.ones(1, 8, 8) for key in keys}
        >>> for _ in range(4):
        ...     images = augment(case).values()
        ...     print([round(float(image.max()), 2) for image in images])
        [0.8, 0.8]
        [0.5, 0.5]
        [1.0, 1.0]
        [1.0, 1.0]
    """

    backend = Corrupt.backend

    def __init__(
        self,
        keys: KeysCollection,
        kinds: Sequence[str] = CORRUPTIONS,
        severities: Sequence[SupportsIndex] = _SEVERITIES,
        *,
        prob: float = 0.1,
        modality: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        # Whether to corrupt is drawn there, once for all keys.
        self.rand_corrupt = RandCorrupt(kinds, severities, prob=prob, modality=modality)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandCorruptd:
        """Set the generator of the draws."""
        super().set_random_state(seed, state)
        self.rand_corrupt.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Corrupt the images of one case, or return a shallow copy of it.

        Raises:
            KeyError: if an image is missing, unless allowed.
            TypeError, ValueError: as `Corrupt`.
        """
        result = dict(data)
        self.rand_corrupt.randomize()
        for key in self.key_iterator(result):
            result[key] = self.rand_corrupt(result[key], randomize=False)
        return result


def check_run_seed(seed: SupportsIndex) -> int:
    """Return the seed as an int, or raise TypeError if it is not an integer."""
    if not isinstance(seed, SupportsIndex):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    return operator.index(seed)


def read_case_id(data: Mapping[Hashable, Any], key: Hashable) -> str | int:
    """Return the id of the one case in `data`.

    Raises:
        KeyError: if there is none.
        TypeError: if it is neither a string nor an integer.
    """
    if key not in data:
        raise KeyError(
            f"no entry {key!r} to seed the corruption by: give every case a unique id under that key, or "
            f"name another with case_id_key; there are {', '.join(map(repr, data))}"
        )
    return check_case_id(data[key])


def check_case_id(case_id: Any) -> str | int:
    """Return a case's id as a plain string or integer; data loaders may have turned it into a tensor."""
    if isinstance(case_id, str):
        return case_id
    if isinstance(case_id, torch.Tensor | np.generic) and case_id.ndim == 0:
        case_id = case_id.item()
    if isinstance(case_id, int) and not isinstance(case_id, bool):
        return case_id
    raise TypeError(f"a case's id must be a string or an integer, got {case_id!r}")
