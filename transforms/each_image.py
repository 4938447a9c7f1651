"""Any random MONAI transform of single images, applied to every image of a batch."""

from __future__ import annotations

import random
from threading import Lock
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.transform import MapTransform, Randomizable

from .augment import BatchTransform
from .randomness import Uniform
from .steps import steps_of

# A transform holds its generator, so that two threads would draw from it in turn. Of all, since a lock of
# each could not be copied.
_one_at_a_time = Lock()


class EachImage(BatchTransform):
    """Apply a random MONAI transform of single images to every image of a batch, one after the other.

    That is slow, but any transform will do, such as ``RandGridDistortion`` or a ``Compose``; it draws from
    NumPy generators of its own (`Randomizable`), which are set for each image. Threads wait for each other.
    Whether the host waits for a GPU, and whether the same pixels come out on another device, is up to the
    transform. Its own ``prob`` is the probability of a change.

    Args:
        transform: takes (C, H, W) and returns a tensor, the same shape for every image of a batch.

    Raises:
        TypeError: if `transform` is not random, or is one of dictionaries or batches, or holds one. When
            called, if it returns no tensor.
        ValueError: when called, if the results differ in shape, or the transform draws from a generator that
            is not its own, that of Python, NumPy, or torch on the CPU, from which no other thread may draw
            meanwhile either.

    Examples:
        A transform of MONAI in a chain of batch transforms; what an image becomes depends on its seed
        alone:

        >>> import torch
        >>> from monai.transforms import RandGaussianNoise
        >>> from monai_sf.transforms import BatchAugment, BatchRandFlip, EachImage
        >>> add_noise = EachImage(RandGaussianNoise(prob=1.0, std=0.1))
        >>> augment = BatchAugment([BatchRandFlip(prob=0.5), add_noise])
        >>> images = torch.full((3, 1, 8, 8), 0.5)
        >>> one, other = augment(images, [7, 8, 9]), augment(images, [9, 8, 7])
        >>> torch.equal(one[0], other[2]), torch.equal(one[0], one[1])
        (True, False)
    """

    draws = 1

    def __init__(self, transform: Randomizable) -> None:
        super().__init__()
        steps = list(steps_of(transform))
        wrong = [
            f"{type(step).__name__} is one of {of}"
            for step in steps
            for kind, of in ((MapTransform, "dictionaries"), (BatchTransform, "batches"))
            if isinstance(step, kind)
        ]
        if not callable(transform) or not any(isinstance(step, Randomizable) for step in steps):
            wrong = wrong or [f"{_named(transform)} is not random"]
        if wrong:
            raise TypeError(
                "EachImage needs a random MONAI transform of single images, such as RandFlip, or a Compose "
                f"that holds one, but {', '.join(wrong)}"
            )
        self.transform: Any = transform

    def sample(self, numbers: Uniform, shape: tuple[int, ...]) -> list[int]:
        """Return the seeds of N images, as `Randomizable.set_random_state` takes them."""
        return [int(number * 2**32) for number in numbers[:, 0]]

    def apply(self, images: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        """Transform every image, with its seed."""
        with _one_at_a_time:
            before = _global_generators()
            results = [self._transformed(image, seed) for image, seed in zip(images, seeds, strict=True)]
            drawn = [name for name, state in _global_generators().items() if state != before[name]]
        if drawn:
            raise ValueError(
                f"{self._name} draws from the global generator of {', '.join(drawn)}, which is not set for "
                "each image, so that its results could not be repeated: draw from self.R of a Randomizable"
            )
        shapes = sorted({tuple(result.shape) for result in results})
        if len(shapes) > 1:
            raise ValueError(
                f"{self._name} must return images of one shape, got {', '.join(map(str, shapes))}; resize "
                "them last"
            )
        return torch.stack(results).to(images) if results else images

    def _transformed(self, image: torch.Tensor, seed: int) -> torch.Tensor:
        self.transform.set_random_state(seed=seed)
        # A copy, since some transforms change what they are given.
        result = self.transform(image.clone())
        if not isinstance(result, torch.Tensor):
            raise TypeError(f"{self._name} must return a tensor, got {type(result).__name__}")
        return result.as_tensor() if isinstance(result, MetaTensor) else result

    @property
    def _name(self) -> str:
        return f"EachImage({type(self.transform).__name__})"


def _named(transform: Any) -> str:
    """Return what error messages call a transform."""
    if type(transform) is Compose:
        return f"Compose of {', '.join(type(step).__name__ for step in steps_of(transform)) or 'nothing'}"
    return f"the class {transform.__name__}" if isinstance(transform, type) else type(transform).__name__


def _global_generators() -> dict[str, Any]:
    """Return the states of the generators that all share."""
    _, keys, place, *normal = np.random.get_state()  # noqa: NPY002 (that of others)
    return {
        "Python": random.getstate(),
        "NumPy": (np.asarray(keys).tobytes(), place, *normal),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
