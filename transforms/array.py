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
    """Corrupts an image in the same way every time it sees the same seed.

    For MONAI's caches it counts as random, although it is not: their keys do not depend on the transforms, so
    that the first severity's pixels would be given for every other. What stands before it is cached.

    >>> import numpy as np
    >>> image = np.full((1, 8, 8), 0.5, np.float32)
    >>> float(Corrupt("brightness_down", 5)(image, seed=0).max())
    0.25

    Args:
        kind: one of `CORRUPTIONS`.
        severity: 0 (unchanged) to 5.
        modality: one of `MODALITIES` for its presets, or None for the default.

    Raises:
        TypeError: if the severity is no integer.
        ValueError: if kind, severity or modality is unknown.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (as MONAI's own transforms)

    def __init__(self, kind: str, severity: SupportsIndex, *, modality: str | None = None) -> None:
        severity_scale(kind, modality)
        self.kind = kind
        self.severity = check_severity(severity)
        self.modality = modality

    def __call__(self, img: NdarrayOrTensor, seed: int = 0) -> NdarrayOrTensor:
        """Corrupts one image.

        Args:
            img: (C, H, W), floating point, in [0, 1]; array, tensor or MetaTensor.
            seed: integer in [0, 2^64); another seed gives another noise, direction or deformation.

        Returns:
            A new image of the same type, dtype and metadata.

        Raises:
            TypeError: if the image is not floating point.
            ValueError: if it is no 2-D image with channels, or has NaN or values outside [0, 1].
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
    """Corrupts an image at random: kind, severity and seed are drawn anew at every call, for augmentation.

    Args:
        kinds: the kinds to draw from, each equally likely.
        severities: the severities to draw from, each equally likely.
        prob: probability of corrupting at all.
        modality: one of `MODALITIES` for its presets, or None for the default.

    Raises:
        TypeError: if a severity is no integer.
        ValueError: if kinds or severities are empty, or one of them or the modality is unknown.
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
        """Draws whether to corrupt, and with which kind, severity and seed."""
        super().randomize(data)
        if self._do_transform:
            self._choice = self.choices[self.R.randint(len(self.choices))]
            self._seed = int(self.R.randint(2**32, dtype="uint64"))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Corrupts one image, or returns it as it is.

        Args:
            img: (C, H, W), floating point, in [0, 1]; array, tensor or MetaTensor.
            randomize: False repeats the last draw.

        Returns:
            A new image of the same type, dtype and metadata, or, where nothing was drawn, `img` itself.

        Raises:
            TypeError, ValueError: as `Corrupt`.
        """
        if randomize:
            self.randomize()
        return self._choice(img, self._seed) if self._do_transform else img


def _refuse_to_be_cached() -> None:
    """Raises if a MONAI dataset is about to store the result, under a key that does not name the corruption.

    Others stop before what counts as random; `CacheNTransDataset` stores the first transforms, whatever they
    are. On a hit it calls no transform: only while it fills the cache can this be noticed.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is CacheNTransDataset._pre_transform.__code__:
            if frame.f_locals["self"].cache_dir is None:
                return
            raise RuntimeError(
                "CacheNTransDataset would give these pixels for every other kind, severity and seed too, as "
                "its keys do not tell them apart: lower cache_n_trans so that it ends before the corruption"
            )
        frame = frame.f_back


def corruption_grid(
    kinds: Sequence[str], severities: Sequence[SupportsIndex], modality: str | None
) -> list[Corrupt]:
    """Returns one `Corrupt` for every kind and severity, kinds outermost.

    Raises:
        TypeError: if kinds is one string, or a severity no integer.
        ValueError: if kinds or severities are empty, or one of them or the modality is unknown.
    """
    if isinstance(kinds, str):
        raise TypeError(f"kinds must be a sequence of kinds, got the string {kinds!r}; write ({kinds!r},)")
    if not kinds or not severities:
        raise ValueError(f"kinds and severities must not be empty, got {kinds!r} and {severities!r}")
    return [Corrupt(kind, severity, modality=modality) for kind in kinds for severity in severities]
