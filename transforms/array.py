"""Corruptions as MONAI array transforms: one channel-first image in, one out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, SupportsIndex

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.dataset import CacheNTransDataset
from monai.transforms.traits import RandomizableTrait
from monai.transforms.transform import RandomizableTransform, Transform
from monai.utils.enums import TransformBackends
from monai.utils.type_conversion import convert_data_type, convert_to_dst_type

from .corrupt import corrupt
from .severities import CORRUPTIONS, MAX_SEVERITY, check_severity, severity_scale

_SEVERITIES = tuple(range(1, MAX_SEVERITY + 1))


class Corrupt(Transform, RandomizableTrait):
    """Corrupt an image, identically for the same seed.

    It is marked as random for MONAI's caches, although it is not: their keys do not depend on the transforms,
    so the pixels of the first severity would be returned for every other. Transforms before it are cached.

    Args:
        kind: one of `CORRUPTIONS`.
        severity: 0 (unchanged) to 5.
        modality: one of `MODALITIES` for its presets, or None for the default.

    Raises:
        TypeError: if the severity is not an integer.
        ValueError: if kind, severity or modality is unknown.

    Examples:
        Last in a ``Compose``, after the pixels have been scaled to [0, 1]:

        >>> import torch
        >>> from monai.transforms import Compose, ScaleIntensity
        >>> from monai_sf.transforms import Corrupt
        >>> image = torch.arange(64.0).view(1, 8, 8)
        >>> for severity in (0, 1, 5):
        ...     darken = Corrupt("brightness_down", severity)
        ...     corrupted = Compose([ScaleIntensity(), darken])(image)
        ...     print(severity, round(float(corrupted.max()), 2))
        0 1.0
        1 0.9
        5 0.5
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (as MONAI's own transforms)

    def __init__(self, kind: str, severity: SupportsIndex, *, modality: str | None = None) -> None:
        severity_scale(kind, modality)
        self.kind = kind
        self.severity = check_severity(severity)
        self.modality = modality

    def __call__(self, img: NdarrayOrTensor, seed: int = 0) -> NdarrayOrTensor:
        """Corrupt one image.

        Args:
            img: (C, H, W), floating point, in [0, 1]; array, tensor or MetaTensor.
            seed: integer in [0, 2^64); it determines the noise, direction or deformation.

        Returns:
            A new image of the same type, dtype and metadata.

        Raises:
            TypeError: if the image is not floating point.
            ValueError: if it is not a 2-D image with channels, or has NaN or values outside [0, 1].
            RuntimeError: if a `CacheNTransDataset` is about to store the result.
        """
        _refuse_to_be_cached()
        if not isinstance(img, np.ndarray | torch.Tensor):
            raise TypeError(f"img must be an array or a tensor, got {type(img).__name__}")
        if img.ndim != 3:
            raise ValueError(
                f"img must be one 2-D image, (C, H, W), got shape {tuple(img.shape)}; take slices "
                "of a volume first, and use monai_sf.transforms.corrupt for a batch"
            )
        tensor: torch.Tensor = (
            convert_data_type(img, torch.Tensor)[0] if not isinstance(img, torch.Tensor) else img
        )
        result = corrupt(tensor, self.kind, self.severity, modality=self.modality, seeds=seed)
        if isinstance(img, torch.Tensor):
            return result
        converted: NdarrayOrTensor = convert_to_dst_type(result, img)[0]
        return converted


class RandCorrupt(RandomizableTransform):
    """Corrupt an image at random, for augmentation: every call draws kind, severity and seed.

    Args:
        kinds: the kinds to draw from, each equally likely.
        severities: the severities to draw from, each equally likely.
        prob: probability of corrupting at all.
        modality: one of `MODALITIES` for its presets, or None for the default.

    Raises:
        TypeError: if a severity is not an integer.
        ValueError: if kinds or severities are empty, or one of them or the modality is unknown.

    Examples:
        An image is brightened with probability 1/2, by 10 or 50 %:

        >>> import torch
        >>> from monai_sf.transforms import RandCorrupt
        >>> image = torch.full((1, 8, 8), 0.5)
        >>> augment = RandCorrupt(["brightness_up"], severities=[1, 5], prob=0.5)
        >>> augment = augment.set_random_state(0)
        >>> [round(float(augment(image).max()), 2) for _ in range(8)]
        [0.5, 0.5, 0.5, 0.5, 0.75, 0.55, 0.5, 0.55]
    """

    backend = Corrupt.backend

    def __init__(
        self,
        kinds: Sequence[str] = CORRUPTIONS,
        severities: Sequence[SupportsIndex] = _SEVERITIES,
        *,
        prob: float = 0.1,
        modality: str | None = None,
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        self.choices = corruption_grid(kinds, severities, modality)
        self._choice = self.choices[0]
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw whether to corrupt, and with which kind, severity and seed."""
        super().randomize(data)
        if self._do_transform:
            self._choice = self.choices[self.R.randint(len(self.choices))]
            self._seed = int(self.R.randint(2**32, dtype="uint64"))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Corrupt one image, or return it unchanged.

        Args:
            img: (C, H, W), floating point, in [0, 1]; array, tensor or MetaTensor.
            randomize: False repeats the last draw.

        Returns:
            A new image of the same type, dtype and metadata, or `img` itself if no corruption was drawn.

        Raises:
            TypeError, ValueError: as `Corrupt`.
        """
        if randomize:
            self.randomize()
        return self._choice(img, self._seed) if self._do_transform else img


def _refuse_to_be_cached() -> None:
    """Raise if a MONAI dataset is about to cache the result under a key that does not name the corruption.

    Other datasets stop before the first random transform; `CacheNTransDataset` stores the first N transforms,
    random or not. On a cache hit it calls no transform, so this is only detectable while it fills the cache.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is CacheNTransDataset._pre_transform.__code__:
            if frame.f_locals["self"].cache_dir is None:
                return
            raise RuntimeError(
                "CacheNTransDataset would return these pixels for every other kind, severity and seed, as "
                "its keys do not tell them apart: lower cache_n_trans so that it ends before the corruption"
            )
        frame = frame.f_back


def corruption_grid(
    kinds: Sequence[str], severities: Sequence[SupportsIndex], modality: str | None
) -> list[Corrupt]:
    """Return one `Corrupt` for every kind and severity, kinds outermost.

    Raises:
        TypeError: if kinds is a single string, or a severity is not an integer.
        ValueError: if kinds or severities are empty, or one of them or the modality is unknown.
    """
    if isinstance(kinds, str):
        raise TypeError(f"kinds must be a sequence of kinds, got the string {kinds!r}; write ({kinds!r},)")
    if not kinds or not severities:
        raise ValueError(f"kinds and severities must not be empty, got {kinds!r} and {severities!r}")
    return [Corrupt(kind, severity, modality=modality) for kind in kinds for severity in severities]
