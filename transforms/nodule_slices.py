"""Extraction of the few 2-D slices that show a nodule best, from a volume and the nodule's mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils.enums import TransformBackends
from monai.utils.misc import ImageMetaKey
from monai.utils.type_conversion import convert_to_dst_type, convert_to_tensor

__all__ = ["ExtractNoduleSlices", "ExtractNoduleSlicesd"]


class ExtractNoduleSlices(Transform):
    """Extract the slices around the one where a nodule is largest, cropped around its centre.

    The middle slice is the one with the largest annotated area: the sum of the mask, so a mask that counts
    readers weighs them; of equal ones the lowest. At the border of the volume the slices are shifted inwards,
    so that all of them exist. The centre is that of the whole mask, the same for all slices.

    Args:
        axis: The spatial axis (0, 1, 2, or negative from the last) perpendicular to the slices.
        slices: Number of slices, odd.
        size: Height and width of the crop in voxels, or None for whole slices.
        padding: Value of a crop outside the volume, in the volume's unit.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        A volume whose every slice holds its number, with a nodule that is largest in slice 6 of 0 to 8:

        >>> import torch
        >>> from monai_sf.transforms import ExtractNoduleSlices
        >>> volume = torch.arange(9.0).expand(1, 32, 32, 9)
        >>> mask = torch.zeros(1, 32, 32, 9)
        >>> mask[0, 10:14, 10:14, 3:8] = 1
        >>> mask[0, 8:16, 8:16, 6] = 1
        >>> slices = ExtractNoduleSlices(slices=5, size=16)(volume, mask)
        >>> slices.shape
        torch.Size([5, 1, 16, 16])
        >>> slices[:, 0, 8, 8].tolist()
        [4.0, 5.0, 6.0, 7.0, 8.0]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  # as MONAI declares it

    def __init__(
        self, axis: int = -1, *, slices: int = 5, size: int | None = 64, padding: float = -1024.0
    ) -> None:
        if not -3 <= axis <= 2:
            raise ValueError(f"axis must be from -3 to 2, one of three spatial axes, got {axis}")
        if slices < 1 or slices % 2 == 0:
            raise ValueError(f"slices must be odd and positive, so that one is in the middle, got {slices}")
        if size is not None and size < 1:
            raise ValueError(f"size must be positive, or None for whole slices, got {size}")
        self.axis, self.slices, self.size, self.padding = axis % 3, slices, size, float(padding)

    def __call__(  # type: ignore[override]  # two inputs
        self, volume: NdarrayOrTensor, mask: NdarrayOrTensor
    ) -> NdarrayOrTensor:
        """Crop the slices.

        Args:
            volume: (C, X, Y, Z), for example in Hounsfield units.
            mask: (1, X, Y, Z) of the same X, Y, Z: 0 outside the nodule, above 0 inside.

        Returns:
            (slices, C, H, W) of the volume's type; H and W are ``size``, or the other two axes in order. Of a
            MetaTensor's metadata only the file name is kept: its affine describes the volume, not 2-D slices.

        Raises:
            ValueError: If shapes or affines do not match, the mask is empty or not finite, the volume has too
                few slices, or its type cannot hold ``padding``.
        """
        values = convert_to_tensor(volume, track_meta=False)
        weight = convert_to_tensor(mask, track_meta=False)
        if (
            values.ndim != 4
            or weight.ndim != 4
            or weight.shape[0] != 1
            or values.shape[1:] != weight.shape[1:]
        ):
            raise ValueError(
                "volume must be (C, X, Y, Z) and mask (1, X, Y, Z) of the same X, Y, Z; got "
                f"{tuple(values.shape)} and {tuple(weight.shape)}"
            )
        if not torch.isfinite(weight).all():
            raise ValueError("mask holds NaN or infinity: its largest slice and its centre are undefined")
        _check_same_place(volume, mask)
        if self.size is not None:
            _check_padding(self.padding, volume)
        values = values.movedim(1 + self.axis, 0)
        weight = weight[0].movedim(self.axis, 0).to(torch.float64)
        if not (weight > 0).any():
            raise ValueError("mask is empty: no voxel is above 0, so there is no nodule to extract")
        if len(weight) < self.slices:
            raise ValueError(
                f"volume has {len(weight)} slices along axis {self.axis}, and {self.slices} are wanted"
            )
        largest = int(weight.clamp(min=0).sum(dim=(1, 2)).argmax())
        start = max(0, min(largest - self.slices // 2, len(weight) - self.slices))
        cut = values[start : start + self.slices]
        if self.size is not None:
            cut = self._crop(cut, weight.clamp(min=0))
        result: NdarrayOrTensor = convert_to_dst_type(cut.contiguous(), volume)[0]
        if isinstance(result, MetaTensor):
            name = ImageMetaKey.FILENAME_OR_OBJ
            kept = {name: result.meta[name]} if name in result.meta else {}
            result = MetaTensor(result.as_tensor(), meta=kept)
        return result

    def _crop(self, cut: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        assert self.size is not None
        total = weight.sum()
        for dim, axis in ((2, 1), (3, 2)):
            profile = weight.sum(dim=tuple(d for d in (0, 1, 2) if d != axis))
            centre = float((profile * torch.arange(len(profile), device=profile.device)).sum() / total)
            first = int(centre + 0.5) - self.size // 2
            low, high = max(first, 0), min(first + self.size, cut.shape[dim])
            inside = cut.narrow(dim, low, high - low)
            before, after = low - first, first + self.size - high
            pad = [0, 0, before, after] if dim == 2 else [before, after]
            cut = torch.nn.functional.pad(inside, pad, value=self.padding)
        return cut


def _check_padding(padding: float, volume: NdarrayOrTensor) -> None:
    if isinstance(volume, torch.Tensor):
        if volume.is_floating_point():
            return
        dtype = np.asarray(torch.empty(0, dtype=volume.dtype)).dtype
    else:
        dtype = volume.dtype
    if dtype.kind not in "biu":
        return
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not (low <= padding <= high and padding.is_integer()):
        raise ValueError(
            f"padding {padding:g} cannot be stored in the volume's {dtype} ({low} to {high}): give "
            "padding in the volume's unit, the value of air"
        )


def _check_same_place(volume: NdarrayOrTensor, mask: NdarrayOrTensor) -> None:
    """Refuse a mask of the same shape at another place; an identity affine means that none was read."""
    if not (isinstance(volume, MetaTensor) and isinstance(mask, MetaTensor)):
        return
    one, other = (
        torch.as_tensor(image.affine, dtype=torch.float64, device="cpu") for image in (volume, mask)
    )
    if any(torch.equal(affine, torch.eye(4, dtype=torch.float64)) for affine in (one, other)):
        return
    ends = [torch.tensor([0.0, size - 1], dtype=torch.float64) for size in volume.shape[1:]]
    corners = torch.cartesian_prod(*ends, torch.ones(1, dtype=torch.float64))
    apart = float((corners @ (one - other).T).norm(dim=1).max())
    if apart > 0.5 * float(one[:3, :3].norm(dim=0).min()):
        raise ValueError(
            f"volume and mask lie in different places: their corners are up to {apart:.3g} mm apart. Bring "
            "the mask onto the volume's grid first, with MONAI's Orientation or ResampleToMatch"
        )


class ExtractNoduleSlicesd(MapTransform):
    """Extract the slices where a nodule is largest from some entries of a case, all at the same place.

    See `ExtractNoduleSlices` for which slices these are.

    Args:
        keys: The volumes to crop; may include the mask itself, which is padded with 0.
        mask_key: The entry with the nodule's mask.
        axis: The spatial axis (0, 1, 2, or negative from the last) perpendicular to the slices.
        slices: Number of slices, odd.
        size: Height and width of the crop in voxels, or None for whole slices.
        padding: Value of a crop outside the volume, in the volume's unit.
        allow_missing_keys: Skip missing volumes instead of raising.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        Scan and mask are cropped alike, beyond the scan's border with the values of air and of no nodule:

        >>> import torch
        >>> from monai.transforms import Compose
        >>> from monai_sf.transforms import ExtractNoduleSlicesd
        >>> crop = Compose([ExtractNoduleSlicesd(["ct", "mask"], slices=3, size=16)])
        >>> mask = torch.zeros(1, 32, 32, 9)
        >>> mask[0, :4, :4, 4] = 1
        >>> case = crop({"ct": torch.full((1, 32, 32, 9), 40.0), "mask": mask})
        >>> case["ct"].shape, case["mask"].shape
        (torch.Size([3, 1, 16, 16]), torch.Size([3, 1, 16, 16]))
        >>> case["ct"].unique().tolist(), int(case["mask"].sum())
        ([-1024.0, 40.0], 16)
    """

    backend = ExtractNoduleSlices.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: Hashable = "mask",
        axis: int = -1,
        *,
        slices: int = 5,
        size: int | None = 64,
        padding: float = -1024.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.extract = ExtractNoduleSlices(axis, slices=slices, size=size, padding=padding)
        self.extract_mask = ExtractNoduleSlices(axis, slices=slices, size=size, padding=0.0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the volumes of one case; return a shallow copy with new arrays under the keys.

        Args:
            data: The case; each volume (C, X, Y, Z), the mask (1, X, Y, Z).

        Raises:
            KeyError: If the mask or, unless allowed, a volume is missing.
            ValueError: As :class:`ExtractNoduleSlices`.
        """
        result = dict(data)
        if self.mask_key not in result:
            raise KeyError(
                f"no entry {self.mask_key!r} with the nodule's mask; there are {', '.join(map(repr, data))}"
            )
        mask = result[self.mask_key]
        for key in self.key_iterator(result):
            extract = self.extract_mask if key == self.mask_key else self.extract
            result[key] = extract(result[key], mask)
        return result
