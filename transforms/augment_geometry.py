"""Random flips, rotations and crops of batches, with the arguments and distributions of MONAI's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from .arguments import Problems, Range, is_integer
from .augment import BatchTransform
from .host import on_device
from .randomness import Uniform
from .separable import Axis, resample

PADDING_MODES = ("zeros", "border", "reflection")
"""What may stand beyond an image's border; see `torch.nn.functional.grid_sample`."""


class BatchRandFlip(BatchTransform):
    """Flip images; MONAI's `RandFlip`.

    Args:
        prob: probability of a flip.
        spatial_axis: 0 exchanges top and bottom, 1 left and right; several flip along each; None along both.

    Raises:
        ValueError: if an argument is out of range; all of them are named.

    Examples:
        Of four copies of an image, those whose seeds say so are mirrored:

        >>> import torch
        >>> from monai_sf.transforms import BatchRandFlip
        >>> images = torch.tensor([0.0, 0.5, 1.0]).repeat(4, 1, 1, 1)
        >>> BatchRandFlip(prob=0.5, spatial_axis=1)(images, seeds=range(4)).squeeze()
        tensor([[1.0000, 0.5000, 0.0000],
                [1.0000, 0.5000, 0.0000],
                [1.0000, 0.5000, 0.0000],
                [0.0000, 0.5000, 1.0000]])
    """

    draws = 0

    def __init__(self, *, prob: float = 0.1, spatial_axis: int | Sequence[int] | None = None) -> None:
        problems = Problems("BatchRandFlip")
        super().__init__(problems.probability("prob", prob))
        given = (0, 1) if spatial_axis is None else spatial_axis
        axes = tuple(given) if isinstance(given, Sequence) else (given,)
        if not axes or not all(is_integer(axis) and -2 <= axis <= 1 for axis in axes):
            problems.add("spatial_axis", "0, 1, or both", spatial_axis)
        elif len({axis % 2 for axis in axes}) < len(axes):
            problems.add("spatial_axis", "axes that differ", spatial_axis)
        problems.complain()
        self.axes = tuple(int(axis) % 2 + 2 for axis in axes)

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> None:
        """Sample nothing but whether to flip."""

    def apply(self, images: torch.Tensor, sampled: None) -> torch.Tensor:
        """Flip all images."""
        return images.flip(self.axes)


class BatchRandRotate(BatchTransform):
    """Rotate images about their centre, with bilinear interpolation; MONAI's `RandRotate`.

    Args:
        range_x: smallest and largest angle in radians, or x for (-x, x); positive turns rows towards
            columns.
        prob: probability of a rotation.
        padding_mode: what stands beyond the border, "zeros", "border" (its pixel goes on) or "reflection".

    Raises:
        ValueError: if an argument is out of range; all of them are named.

    Examples:
        A turn by exactly 90 degrees; usually the angle is random, such as ``range_x=0.3``:

        >>> import math
        >>> import torch
        >>> from monai_sf.transforms import BatchRandRotate
        >>> quarter = BatchRandRotate(range_x=(math.pi / 2, math.pi / 2), prob=1.0)
        >>> image = torch.tensor([[1.0, 0.0], [0.0, 0.5]]).view(1, 1, 2, 2)
        >>> quarter(image, seeds=[0]).abs().round(decimals=3).squeeze()
        tensor([[0.0000, 1.0000],
                [0.5000, 0.0000]])
    """

    draws = 1

    def __init__(
        self, *, range_x: Range | float = 0.0, prob: float = 0.1, padding_mode: str = "border"
    ) -> None:
        problems = Problems("BatchRandRotate")
        super().__init__(problems.probability("prob", prob))
        self.range_x = problems.symmetric("range_x", range_x)
        if padding_mode not in PADDING_MODES:
            problems.add("padding_mode", f"one of {', '.join(PADDING_MODES)}", padding_mode)
        problems.complain()
        self.padding_mode = padding_mode

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> Uniform:
        """Return N angles in radians."""
        low, high = self.range_x
        return low + (high - low) * numbers[:, 0]

    def apply(self, images: torch.Tensor, angles: Uniform) -> torch.Tensor:
        """Rotate each image by its angle."""
        height, width = images.shape[2:]
        cosines, sines = ([turn(angle) for angle in angles.tolist()] for turn in (math.cos, math.sin))
        # From pixels of the result, relative to the centre, to where they come from, in halves of a side.
        matrix = np.array([cosines, sines, np.negative(sines), cosines]).T * 2
        matrix /= (width, width, height, height)
        x_of_x, x_of_y, y_of_x, y_of_y = on_device(matrix, images.device, images.dtype)[
            :, :, None, None
        ].unbind(1)
        rows = _from_centre(height, images)[:, None]
        columns = _from_centre(width, images)
        grid = images.new_empty(len(images), height, width, 2)
        torch.add(columns * x_of_x, rows * x_of_y, out=grid[..., 0])
        torch.add(columns * y_of_x, rows * y_of_y, out=grid[..., 1])
        return F.grid_sample(
            images, grid, mode="bilinear", padding_mode=self.padding_mode, align_corners=False
        )


class BatchRandResizedCrop(BatchTransform):
    """Cut a part of random size and place out of each image and resize it.

    MONAI's `RandSpatialCrop` with ``random_size``, then its `Resize`, bilinear with ``anti_aliasing``. Height
    and width are drawn independently of each other.

    Args:
        roi_size: smallest rows and columns of the part; the largest is the whole image.
        spatial_size: rows and columns of the result.

    Raises:
        ValueError: if an argument is out of range; all of them are named. When called, if an image is smaller
            than `roi_size`.

    Examples:
        Two crops of an image whose columns rise from 0 to 1; both are resized to 32 × 32 pixels:

        >>> import torch
        >>> from monai_sf.transforms import BatchRandResizedCrop
        >>> crop = BatchRandResizedCrop(roi_size=16, spatial_size=32)
        >>> images = torch.linspace(0, 1, 64).repeat(2, 1, 64, 1)
        >>> crops = crop(images, seeds=[0, 1])
        >>> crops.shape
        torch.Size([2, 1, 32, 32])
        >>> for one in crops:
        ...     print(f"from {one.min():.2f} to {one.max():.2f}")
        from 0.35 to 0.67
        from 0.55 to 0.94
    """

    draws = 4

    def __init__(self, *, roi_size: Sequence[int] | int, spatial_size: Sequence[int] | int) -> None:
        problems = Problems("BatchRandResizedCrop")
        super().__init__()
        self.roi_size = problems.size("roi_size", roi_size)
        self.spatial_size = problems.size("spatial_size", spatial_size)
        problems.complain()

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """Return the parts, (N, 4): first row, first column, rows, columns."""
        image = np.array(shape[1:])
        if (image < self.roi_size).any():
            raise ValueError(
                f"BatchRandResizedCrop cuts out at least {self.roi_size[0]} × {self.roi_size[1]} pixels, but "
                f"the images have {image[0]} × {image[1]}"
            )
        sizes = random_integers(numbers[:, :2], np.array(self.roi_size), image)
        return np.hstack((random_integers(numbers[:, 2:], np.zeros(2, np.int64), image - sizes), sizes))

    def apply(self, images: torch.Tensor, parts: npt.NDArray[np.int64]) -> torch.Tensor:
        """Cut out and resize the part of each image."""
        rows, columns = (
            Axis(
                parts[:, axis].astype(float),
                parts[:, axis + 2].astype(float),
                size,
                _anti_aliasing(parts[:, axis + 2], size),
                float(_anti_aliasing(np.array([images.shape[axis + 2]]), size)[0]),
            )
            for axis, size in enumerate(self.spatial_size)
        )
        return resample(images, rows, columns)


def random_integers(
    numbers: Uniform, lowest: npt.NDArray[np.int64], highest: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Turn numbers in [0, 1) into integers from the lowest to the highest, both possible."""
    drawn: npt.NDArray[np.int64] = (lowest + np.floor(numbers * (highest - lowest + 1))).astype(np.int64)
    return drawn


def _anti_aliasing(lengths: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    """Return the σ by which MONAI's `Resize` and scikit-image smooth before they shrink."""
    sigmas: npt.NDArray[np.float64] = np.maximum(0.0, (lengths / size - 1) / 2)
    return sigmas


def _from_centre(size: int, like: torch.Tensor) -> torch.Tensor:
    return torch.arange(size, device=like.device, dtype=like.dtype).sub_((size - 1) / 2)
