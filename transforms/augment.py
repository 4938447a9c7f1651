"""Augmentation of batches where they are, with a stream of random numbers for each case.

All random numbers are drawn on the host, so that nothing ever waits for the device, and a transform computes
only the cases that drew it. The result of a case depends on its image and its seed alone: every step treats
the cases of a batch independently, and none is a convolution or a matrix product, whose algorithm may depend
on the size of the batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor

from .host import on_device
from .randomness import Seeds, Uniform, check_seeds, uniform_numbers

# Pixels per chunk on the CPU: few enough to stay in its cache.
_CHUNK_CPU = 2**20
_CHUNK_GPU = 2**28


class BatchTransform(ABC):
    """A random transform of batches: the parameters of each case are sampled, then applied.

    Call it with images (N, C, H, W) and N seeds, or give several to `BatchAugment`, which draws different
    numbers for each of them.

    Args:
        prob: probability that a case is transformed, in [0, 1].

    Examples:
        A transform of one's own, which inverts each image with probability 1/2:

        >>> import torch
        >>> from monai_sf.transforms import BatchTransform
        >>> class BatchRandInvert(BatchTransform):
        ...     draws = 0  # nothing to draw but whether to invert
        ...
        ...     def sample(self, numbers, shape):
        ...         return None
        ...
        ...     def apply(self, images, sampled):
        ...         return 1 - images
        >>> invert = BatchRandInvert(prob=0.5)
        >>> invert(torch.zeros(6, 1, 8, 8), seeds=range(6)).amax((1, 2, 3)).tolist()
        [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    """

    draws: int
    """How many random numbers `sample` needs for a case."""

    def __init__(self, prob: float = 1.0) -> None:
        self.prob = prob

    @abstractmethod
    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> Any:
        """Return the parameters of N cases, on the host.

        Args:
            numbers: (N, `draws`), uniform in [0, 1).
            shape: (C, H, W) of each image.
        """

    @abstractmethod
    def apply(self, images: torch.Tensor, sampled: Any) -> torch.Tensor:
        """Return new images of N cases with the parameters from `sample`; asks for no value of a tensor."""

    def __call__(self, images: torch.Tensor, seeds: Seeds) -> torch.Tensor:
        """Transform a batch; see `BatchAugment`."""
        return BatchAugment([self])(images, seeds)


class BatchAugment:
    """Apply random transforms one after the other to the images of a batch, on their device.

    The result of a case depends on its image and its seed alone, to the bit on one kind of device and number
    of threads, whatever else is in the batch. Global random generators are not touched. No value of a tensor
    is asked for, so that a GPU's queue never runs empty.

    Args:
        transforms: `BatchRandFlip`, `BatchRandRotate` and others, or `EachImage`; none leaves images as they
            are.

    Raises:
        TypeError: if it is no list, or an entry is no transform of batches.

    Examples:
        The first of two images is flipped, and would be in any other batch, too:

        >>> import torch
        >>> from monai_sf.transforms import BatchAugment, BatchRandFlip
        >>> augment = BatchAugment([BatchRandFlip(prob=0.5, spatial_axis=1)])
        >>> images = torch.tensor([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]).view(2, 1, 1, 3)
        >>> changed = augment(images, seeds=[2, 3])
        >>> changed.squeeze()
        tensor([[0.4000, 0.2000, 0.0000],
                [0.6000, 0.8000, 1.0000]])
        >>> torch.equal(changed[:1], augment(images[:1], seeds=[2]))
        True
    """

    def __init__(self, transforms: Sequence[BatchTransform] = ()) -> None:
        if not isinstance(transforms, list | tuple):
            raise TypeError(
                "transforms must be a list of transforms of batches, "
                f"got {type(transforms).__name__}: [] for none"
            )
        wrong = [f"{i} is a {type(t).__name__}" for i, t in enumerate(transforms) if not _is_ours(t)]
        if wrong:
            raise TypeError(
                f"transforms must act on batches, like monai_sf.transforms.BatchRandFlip, but number "
                f"{', '.join(wrong)}; monai_sf.transforms.EachImage makes one of a MONAI transform of "
                "single images"
            )
        self.transforms = tuple(transforms)

    def __call__(self, images: torch.Tensor, seeds: Seeds) -> torch.Tensor:
        """Transform the images.

        Args:
            images: (N, C, H, W), float32 (or float64, which is computed in float64), in [0, 1], on any
                device; N may be 0. That pixels are in range is not checked, as the host would wait for it.
            seeds: integers in [0, 2^64), one per case; on the host.

        Returns:
            Images of the same dtype and device, in contiguous memory, without metadata or gradient; they may
            share memory with the input where nothing was changed.

        Raises:
            TypeError: if the images are no tensor of float32 or float64, or a seed is not an integer.
            ValueError: if the shape is not that of a batch of 2-D images, a transform does not fit it, a seed
                is out of range, or the numbers of seeds and cases differ.
        """
        batch = _check_batch(images)
        listed = check_seeds(seeds, len(batch))
        numbers = uniform_numbers(listed, sum(1 + transform.draws for transform in self.transforms))
        limit = _CHUNK_CPU if batch.device.type == "cpu" else _CHUNK_GPU
        # At least a case for every thread, as some steps run one case per thread.
        size = max(torch.get_num_threads(), limit // math.prod(batch.shape[1:]))
        with torch.no_grad():
            if len(batch) <= size:
                return self._augment(batch, numbers)
            for first in range(0, len(batch), size):
                part = self._augment(batch[first : first + size], numbers[first : first + size])
                if not first:
                    result = part.new_empty(len(batch), *part.shape[1:])
                # At once, so that every part takes the memory of the one before.
                result[first : first + size] = part
        return result

    def _augment(self, images: torch.Tensor, numbers: Uniform) -> torch.Tensor:
        first = 0
        for transform in self.transforms:
            last = first + 1 + transform.draws
            images = _transform_drawn(transform, images, numbers[:, first:last])
            first = last
        return images


def _is_ours(transform: Any) -> bool:
    return isinstance(transform, BatchTransform)


def _transform_drawn(transform: BatchTransform, images: torch.Tensor, numbers: Uniform) -> torch.Tensor:
    """Transform the cases whose first number is below the transform's probability."""
    (drawn,) = np.nonzero(numbers[:, 0] < transform.prob)
    cases = len(images)
    # A batch without cases may still change its height and width.
    if cases and not len(drawn):
        return images
    sampled = transform.sample(numbers[drawn, 1:], tuple(images.shape[1:]))
    if len(drawn) == cases:
        return transform.apply(images, sampled)
    changed = transform.apply(images.index_select(0, on_device(drawn, images.device)), sampled)
    # Not index_copy: where torch is asked to be deterministic, it waits for a GPU.
    order = np.arange(cases)
    order[drawn] = np.arange(cases, cases + len(drawn))
    return torch.cat((images, changed)).index_select(0, on_device(order, images.device))


def _check_batch(images: torch.Tensor) -> torch.Tensor:
    """Return the images as a plain contiguous tensor without gradient history, or raise for invalid ones."""
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"images must be a torch.Tensor, got {type(images).__name__}")
    problems = []
    if images.ndim != 4 or 0 in images.shape[1:]:
        problems.append(f"be a batch of 2-D images, (N, C, H, W), got shape {tuple(images.shape)}")
    if images.dtype not in (torch.float32, torch.float64):
        problems.append(f"be float32 in [0, 1], got {images.dtype}; monai_sf.data.as_unit scales integers")
    if problems:
        error = ValueError if images.dtype in (torch.float32, torch.float64) else TypeError
        raise error(f"images must {', and '.join(problems)}")
    plain = images.as_tensor() if isinstance(images, MetaTensor) else images
    return plain.detach().contiguous()
