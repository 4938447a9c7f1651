"""Any random MONAI transform of single images, applied to every image of a batch."""

from __future__ import annotations

from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import Randomizable

from .augment import BatchTransform
from .randomness import Uniform


class EachImage(BatchTransform):
    """Apply a random MONAI transform of single images to every image of a batch, one after the other.

    That is slow, but any transform will do, such as ``RandGridDistortion`` or a ``Compose``; it draws from
    NumPy generators of its own (`Randomizable`), which are set for each image. Whether the host waits for a
    GPU, and whether the same pixels come out on another device, is up to the transform. Its own ``prob`` is
    the probability of a change.

    Args:
        transform: takes (C, H, W) and returns a tensor, the same shape for every image of a batch.

    Raises:
        TypeError: if `transform` is not random, or is a transform of dictionaries. When called, if it returns
            no tensor.
        ValueError: when called, if the results differ in shape.
    """

    draws = 1

    def __init__(self, transform: Randomizable) -> None:
        super().__init__()
        if not isinstance(transform, Randomizable) or not callable(transform):
            raise TypeError(
                f"EachImage needs a random MONAI transform of single images, such as RandFlip or a Compose, "
                f"got {type(transform).__name__}"
            )
        self.transform: Any = transform

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> list[int]:
        """Return the seeds of N images, as `Randomizable.set_random_state` takes them."""
        return [int(number * 2**32) for number in numbers[:, 0]]

    def apply(self, images: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        """Transform every image, with its seed."""
        results = []
        for image, seed in zip(images, seeds, strict=True):
            self.transform.set_random_state(seed=seed)
            # A copy, since some transforms change what they are given.
            result = self.transform(image.clone())
            if not isinstance(result, torch.Tensor):
                raise TypeError(f"{self._name} must return a tensor, got {type(result).__name__}")
            results.append(result.as_tensor() if isinstance(result, MetaTensor) else result)
        shapes = sorted({tuple(result.shape) for result in results})
        if len(shapes) > 1:
            raise ValueError(
                f"{self._name} must return images of one shape, got {', '.join(map(str, shapes))}; resize "
                "them last"
            )
        return torch.stack(results).to(images) if results else images

    @property
    def _name(self) -> str:
        return f"EachImage({type(self.transform).__name__})"
