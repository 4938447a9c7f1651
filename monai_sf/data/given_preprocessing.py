"""The preprocessing of a given MONAI bundle, with images in [0, 1] behind it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias

import torch
from monai.data import MetaTensor, get_track_meta, set_track_meta
from monai.transforms import (
    CastToTyped,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    Resized,
    ScaleIntensityd,
    ScaleIntensityRanged,
    ToTensord,
    Transform,
)
from monai.utils import ensure_tuple
from torch import Tensor

from monai_sf.files.naming import named

#: How far a value may be beyond the range, relative to its width: what float32 rounds.
_ROUNDING = 1e-5
#: Transforms that leave the range of values as it is.
_NEUTRAL = (CastToTyped, EnsureChannelFirstd, EnsureTyped, LoadImaged, ToTensord)
#: Interpolations that give no value beyond those that they start from.
_WITHIN = {"area", "bilinear", "nearest"}

Range: TypeAlias = tuple[float, float]


class GivenPreprocessingd(Transform):
    """Make images as a given bundle's preprocessing does, and map its range of values to [0, 1].

    Metadata, which its transforms may need, are tracked meanwhile and then dropped.

    Args:
        transforms: of the bundle, on the key ``image``; see :func:`monai_sf.networks.bundle_preprocessing`.
        value_range: lowest and highest value that they give.
        transposed: whether they exchange rows and columns, as MONAI's reader of pictures does; the image is
            turned upright, and the network (:class:`monai_sf.networks.GivenClassifier`) turns it back.

    Raises:
        ValueError: the range is empty or not finite.

    Examples:
        >>> import numpy as np
        >>> from monai.transforms import Compose, Lambdad, ScaleIntensityRanged
        >>> from monai_sf.data import GivenPreprocessingd
        >>> of_bundle = [
        ...     Lambdad("image", np.load),
        ...     ScaleIntensityRanged("image", -1000, 400, -1, 1),
        ... ]
        >>> np.save("ct.npy", np.full((1, 8, 8), -300, np.float32))
        >>> prepare = GivenPreprocessingd(Compose(of_bundle), value_range=[-1, 1])
        >>> prepare({"image": "ct.npy", "label": 1})["image"].unique()
        tensor([0.5000])
    """

    def __init__(
        self, transforms: Compose, value_range: Sequence[float], *, transposed: bool = False
    ) -> None:
        low, high = map(float, value_range)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"value_range must be [lowest, highest], two different numbers, got {value_range!r}"
            )
        self.transforms, self.low, self.high, self.transposed = transforms, low, high, transposed

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record with its image (channels, H, W) in [0, 1] instead of its path.

        Raises:
            OSError: the image cannot be read or used; names the file.
        """
        with named(*ensure_tuple(data["image"])):
            unit = (self.raw(data) - self.low) / (self.high - self.low)
            low, high = float(unit.min()), float(unit.max())
            if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
                span = self.high - self.low
                raise ValueError(
                    f"has values from {low * span + self.low:g} to {high * span + self.low:g} after the "
                    f"bundle's preprocessing, beyond value_range [{self.low:g}, {self.high:g}]: correct that "
                    "in configs/data.yaml to hold all images"
                )
            unit = unit.clamp(0, 1)
            return {**data, "image": unit.transpose(-1, -2).contiguous() if self.transposed else unit}

    def raw(self, data: Mapping[str, Any]) -> Tensor:
        """Return the image (channels, H, W) float32 as the bundle's network gets it.

        Raises:
            ValueError: it is no 2-D image with channels, holds NaN, or is a slice of a volume.
        """
        if data.get("slice") is not None:
            raise ValueError("is a slice of a volume, which a bundle's own preprocessing does not cut out")
        with _metadata_tracked():
            image = self.transforms({"image": data["image"]})["image"]
        tensor = image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)
        if tensor.ndim != 3:
            raise ValueError(
                f"has the shape {tuple(tensor.shape)} after the bundle's preprocessing, expected channels x "
                "height x width: only models of 2-D images are audited"
            )
        tensor = tensor.float().cpu()  # a bundle may put its images where its network is
        if not tensor.isfinite().all():
            raise ValueError("has NaN or infinite values after the bundle's preprocessing")
        return tensor


class _Tracking:
    """How many threads need metadata now, and whether the process tracked them before the first."""

    lock = Lock()
    users = 0
    before = True


@contextmanager
def _metadata_tracked() -> Iterator[None]:
    with _Tracking.lock:
        if not _Tracking.users:
            _Tracking.before = get_track_meta()
            set_track_meta(True)
        _Tracking.users += 1
    try:
        yield
    finally:
        with _Tracking.lock:
            _Tracking.users -= 1
            if not _Tracking.users:
                set_track_meta(_Tracking.before)


def known_range(transforms: Compose) -> Range | None:
    """Return lowest and highest value that transforms of the key ``image`` give, None if they do not tell."""
    found: Range | None = None
    for transform in transforms.flatten().transforms:  # type: ignore[no-untyped-call]
        found = _range_after(transform, found)
    return found


def _range_after(transform: Any, before: Range | None) -> Range | None:
    if isinstance(transform, ScaleIntensityRanged):
        return _range(transform.scaler.b_min, transform.scaler.b_max)
    if isinstance(transform, ScaleIntensityd):
        return _range(transform.scaler.minv, transform.scaler.maxv)
    if isinstance(transform, NormalizeIntensityd):
        norm = transform.normalizer
        if before is None or norm.subtrahend is None or norm.divisor is None or norm.nonzero:
            return None
        pairs = zip(_listed(norm.subtrahend), _listed(norm.divisor), strict=False)
        ends = [(end - minus) / over for minus, over in pairs if over for end in before]
        return (min(ends), max(ends)) if ends else None
    if isinstance(transform, Resized):
        return before if set(transform.mode) <= _WITHIN else None
    return before if isinstance(transform, _NEUTRAL) else None


def _range(low: float | None, high: float | None) -> Range | None:
    return None if low is None or high is None else (float(low), float(high))


def _listed(values: Any) -> list[float]:
    return torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
