"""Random changes of pixel values of batches, with the arguments and distributions of MONAI's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .arguments import Problems, Range
from .augment import BatchTransform
from .augment_geometry import random_integers
from .host import on_device
from .randomness import Uniform, further_seeds, uniform_bits, uniform_numbers
from .separable import Axis, resample


class BatchRandScaleIntensity(BatchTransform):
    """Multiply images by 1 + a factor, without clipping; MONAI's `RandScaleIntensity`.

    Args:
        factors: smallest and largest factor, or x for (-x, x).
        prob: probability of a change.
        channel_wise: a factor for each channel.

    Raises:
        ValueError: if an argument is out of range; all of them are named.

    Examples:
        Each image has a factor of its own:

        >>> import torch
        >>> from monai_sf.transforms import BatchRandScaleIntensity
        >>> scale = BatchRandScaleIntensity(factors=0.2, prob=1.0)
        >>> images = scale(torch.full((3, 1, 8, 8), 0.5), seeds=[0, 1, 2])
        >>> images.amax((1, 2, 3)).round(decimals=2)
        tensor([0.4500, 0.5700, 0.4600])
    """

    draws = 1

    def __init__(self, *, factors: Range | float, prob: float = 0.1, channel_wise: bool = False) -> None:
        problems = Problems("BatchRandScaleIntensity")
        super().__init__(problems.probability("prob", prob))
        self.factors = problems.symmetric("factors", factors)
        problems.complain()
        self.channel_wise = channel_wise

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> Uniform:
        """Return factors, (N, C) or (N, 1)."""
        if self.channel_wise:
            numbers = uniform_numbers(further_seeds(numbers[:, 0]), shape[0])
        return _between(self.factors, numbers)

    def apply(self, images: torch.Tensor, factors: Uniform) -> torch.Tensor:
        """Multiply each image, or channel, by 1 + its factor."""
        return images * on_device(1 + factors, images.device, images.dtype)[:, :, None, None]


class BatchRandAdjustContrast(BatchTransform):
    """Raise pixels, scaled to [0, 1] by their image's smallest and largest, to a power.

    MONAI's `RandAdjustContrast`.

    Args:
        prob: probability of a change.
        gamma: smallest and largest exponent.

    Raises:
        ValueError: if an argument is out of range; all of them are named.

    Examples:
        Darkest and brightest pixel stay; those between are darkened by an exponent above 1:

        >>> import torch
        >>> from monai_sf.transforms import BatchRandAdjustContrast
        >>> square = BatchRandAdjustContrast(gamma=(2.0, 2.0), prob=1.0)
        >>> image = torch.tensor([0.0, 0.2, 0.5, 1.0]).view(1, 1, 1, 4)
        >>> square(image, seeds=[0]).round(decimals=2).flatten()
        tensor([0.0000, 0.0400, 0.2500, 1.0000])
    """

    draws = 1

    def __init__(self, *, prob: float = 0.1, gamma: Range = (0.5, 4.5)) -> None:
        problems = Problems("BatchRandAdjustContrast")
        super().__init__(problems.probability("prob", prob))
        self.gamma = problems.limits("gamma", gamma, above=0.0)
        problems.complain()

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> Uniform:
        """Return N exponents."""
        return _between(self.gamma, numbers[:, 0])

    def apply(self, images: torch.Tensor, gammas: Uniform) -> torch.Tensor:
        """Raise each image to the power of its exponent."""
        low = images.amin((1, 2, 3), keepdim=True)
        spread = images.amax((1, 2, 3), keepdim=True) - low
        scaled = (images - low).div_(spread + 1e-7)
        if images.device.type == "cpu":
            # A power differs in the last bit between vectors and what remains at their end, so that it must
            # begin anew with each case.
            for case, gamma in zip(scaled, gammas.tolist(), strict=True):
                case.pow_(gamma)
        else:
            scaled.pow_(on_device(gammas, images.device, images.dtype)[:, None, None, None])
        return scaled.mul_(spread).add_(low)


class BatchRandGaussianSmooth(BatchTransform):
    """Smooth images with Gaussians; MONAI's `RandGaussianSmooth`.

    As there, pixels beyond the border count as 0, so that the border darkens.

    Args:
        sigma_x: smallest and largest standard deviation along the columns (from row to row), in pixels.
        sigma_y: the same along the rows.
        prob: probability of smoothing.

    Raises:
        ValueError: if an argument is out of range; all of them are named.

    Examples:
        A bright pixel spreads to its neighbours, in every image by another width:

        >>> import torch
        >>> from monai_sf.transforms import BatchRandGaussianSmooth
        >>> widths = (0.5, 2.0)
        >>> smooth = BatchRandGaussianSmooth(sigma_x=widths, sigma_y=widths, prob=1.0)
        >>> images = torch.zeros(3, 1, 9, 9)
        >>> images[:, :, 4, 4] = 1
        >>> smooth(images, seeds=[0, 1, 2])[:, 0, 4, 4].round(decimals=2)
        tensor([0.2400, 0.1100, 0.0900])
    """

    draws = 2

    def __init__(
        self, *, sigma_x: Range = (0.25, 1.5), sigma_y: Range = (0.25, 1.5), prob: float = 0.1
    ) -> None:
        problems = Problems("BatchRandGaussianSmooth")
        super().__init__(problems.probability("prob", prob))
        self.sigmas = (
            problems.limits("sigma_x", sigma_x, above=0.0),
            problems.limits("sigma_y", sigma_y, above=0.0),
        )
        problems.complain()

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> Uniform:
        """Return standard deviations from row to row and from column to column, (N, 2)."""
        drawn = [_between(sigmas, numbers[:, axis]) for axis, sigmas in enumerate(self.sigmas)]
        return np.column_stack(drawn)

    def apply(self, images: torch.Tensor, sigmas: Uniform) -> torch.Tensor:
        """Smooth each image by its standard deviations."""
        cases = len(images)
        rows, columns = (
            Axis(np.zeros(cases), np.full(cases, float(size)), size, sigmas[:, axis], self.sigmas[axis][1])
            for axis, size in enumerate(images.shape[2:])
        )
        return resample(images, rows, columns)


class Rectangles(NamedTuple):
    """A rectangle of each image, (N, 4): first row, first column, rows, columns; and seeds of its noise."""

    places: npt.NDArray[np.int64]
    seeds: list[int]


class BatchRandErase(BatchTransform):
    """Fill a rectangle of each image with noise, uniform between the image's smallest and largest pixel.

    MONAI's `RandCoarseDropout` with one hole; Zhong et al., "Random erasing data augmentation", AAAI 2020.
    The noise has 2^16 levels, and is independent in every pixel and channel.

    Args:
        spatial_size: rows and columns of the rectangle, or the smallest if there is `max_spatial_size`; an
            image's side at most.
        max_spatial_size: the largest rows and columns.
        prob: probability of a change.

    Raises:
        ValueError: if an argument is out of range; all of them are named.

    Examples:
        A rectangle of 2 × 3 pixels is filled with noise; the rest stays:

        >>> import torch
        >>> from monai_sf.transforms import BatchRandErase
        >>> erase = BatchRandErase(spatial_size=(2, 3), prob=1.0)
        >>> image = torch.linspace(0, 1, 36).view(1, 1, 6, 6)
        >>> (erase(image, seeds=[0]) != image).int().squeeze()
        tensor([[0, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 0],
                [0, 0, 1, 1, 1, 0],
                [0, 0, 1, 1, 1, 0],
                [0, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """

    draws = 5

    def __init__(
        self,
        *,
        spatial_size: Sequence[int] | int,
        max_spatial_size: Sequence[int] | int | None = None,
        prob: float = 0.1,
    ) -> None:
        problems = Problems("BatchRandErase")
        super().__init__(problems.probability("prob", prob))
        self.smallest = problems.size("spatial_size", spatial_size)
        self.largest = self.smallest
        if max_spatial_size is not None:
            self.largest = problems.size("max_spatial_size", max_spatial_size)
            if not problems.found and any(np.greater(self.smallest, self.largest)):
                problems.add("max_spatial_size", f"at least {spatial_size!r}", max_spatial_size)
        problems.complain()

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> Rectangles:
        """Return the rectangles of N cases."""
        image = np.array(shape[1:])
        drawn = random_integers(numbers[:, :2], np.array(self.smallest), np.array(self.largest))
        sizes = np.minimum(drawn, image)
        corners = random_integers(numbers[:, 2:4], np.zeros(2, np.int64), image - sizes)
        return Rectangles(np.hstack((corners, sizes)), further_seeds(numbers[:, 4]))

    def apply(self, images: torch.Tensor, rectangles: Rectangles) -> torch.Tensor:
        """Fill the rectangle of each image."""
        channels, height, width = images.shape[1:]
        rows, columns = np.minimum(self.largest, (height, width)).tolist()
        bits = uniform_bits(rectangles.seeds, channels * rows * columns)
        noise = on_device(bits, images.device).to(images.dtype).mul_(2.0**-16)
        places = on_device(rectangles.places, images.device)[:, :, None, None]
        top, left, tall, wide = places.unbind(1)
        y = torch.arange(height, device=images.device)[:, None] - top
        x = torch.arange(width, device=images.device) - left
        inside = ((y >= 0) & (y < tall) & (x >= 0) & (x < wide))[:, None]
        index = y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1)
        index = index.view(-1, 1, height * width).expand(-1, channels, -1)
        fill = noise.view(-1, channels, rows * columns).gather(2, index).view_as(images)
        low = images.amin((1, 2, 3), keepdim=True)
        spread = images.amax((1, 2, 3), keepdim=True) - low
        return torch.where(inside, fill.mul_(spread).add_(low), images)


def _between(limits: Range, numbers: Uniform) -> Uniform:
    low, high = limits
    return low + (high - low) * numbers
