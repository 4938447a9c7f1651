"""Corruption of tensors: one function for one image or a whole batch, on any device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, SupportsIndex

import torch
from monai.data.meta_tensor import MetaTensor

from .brightness import apply_brightness
from .elastic import apply_elastic, sample_elastic
from .motion_blur import apply_motion, sample_motion
from .noise import apply_noise, sample_noise
from .randomness import Seeds, check_seeds
from .severities import check_severity, severity_scale

# Pixels per chunk: on the CPU, few enough to stay in its cache.
_CHUNK_CPU = 2**20
_CHUNK_GPU = 2**26

_Sample = Callable[[torch.Tensor, Sequence[int]], Any]
_Apply = Callable[[torch.Tensor, Any, tuple[float, ...]], torch.Tensor]


def _nothing(images: torch.Tensor, seeds: Sequence[int]) -> None:
    """Sample nothing, for corruptions without randomness."""


_STEPS: dict[str, tuple[_Sample, _Apply]] = {
    "brightness_up": (_nothing, apply_brightness),
    "brightness_down": (_nothing, apply_brightness),
    "motion_blur": (sample_motion, apply_motion),
    "elastic": (sample_elastic, apply_elastic),
    "gaussian_noise": (sample_noise, apply_noise),
}


def corrupt(
    images: torch.Tensor,
    kind: str,
    severity: SupportsIndex,
    *,
    modality: str | None = None,
    seeds: Seeds,
) -> torch.Tensor:
    """Corrupt one image, or every image of a batch.

    The pixels of a case depend only on its seed, its pixels, the kind, the severity and the modality, not on
    the rest of the batch, the device, the number of threads or the processor, since every step is one
    correctly rounded operation.

    Args:
        images: (B, C, H, W) or (C, H, W), any number of channels, floating point, in [0, 1], on any device.
            float64 is computed in float64, everything else in float32.
        kind: one of `CORRUPTIONS`.
        severity: 0 (unchanged) to 5; see `monai_sf.transforms.severities` for what they mean.
        modality: one of `MODALITIES` for its presets, or None for the default.
        seeds: integers in [0, 2^64), one per case of a batch, or a single one for one image.

    Returns:
        New images in [0, 1] of the same shape, dtype and device, as MetaTensor with the same metadata if the
        input is one. They never share memory with the input, even at severity 0.

    Raises:
        TypeError: if the images are not a floating-point tensor, or the severity or a seed is not an integer.
        ValueError: if kind, severity or modality is unknown, the shape is not that of 2-D images, a pixel is
            NaN or outside [0, 1], or the numbers of seeds and cases differ.

    Examples:
        Brightness rises with the severity. Noise is that of the case's seed, whatever else is in the batch:

        >>> import torch
        >>> from monai_sf.transforms import corrupt
        >>> batch = torch.full((2, 3, 8, 8), 0.5)
        >>> for severity in (0, 1, 5):
        ...     brighter = corrupt(batch, "brightness_up", severity, seeds=[1, 2])
        ...     print(severity, round(float(brighter.amax()), 2))
        0 0.5
        1 0.55
        5 0.75
        >>> noisy = corrupt(batch, "gaussian_noise", 3, seeds=[1, 2])
        >>> torch.equal(noisy[1], corrupt(batch[1], "gaussian_noise", 3, seeds=2))
        True
    """
    (result,) = corrupt_severities(images, kind, (severity,), modality=modality, seeds=seeds)
    return result


def corrupt_severities(
    images: torch.Tensor,
    kind: str,
    severities: Sequence[SupportsIndex],
    *,
    modality: str | None = None,
    seeds: Seeds,
) -> Iterator[torch.Tensor]:
    """Corrupt at several severities, drawing the random fields once for all of them.

    Arguments, results and errors are those of `corrupt`; errors are raised at the call, results are yielded
    one by one.

    Yields:
        The corrupted images at each of the severities.
    """
    severity_scale(kind, modality)  # what costs nothing is checked first
    return severities_of(images, check_images(images), kind, severities, modality=modality, seeds=seeds)


def severities_of(
    images: torch.Tensor,
    pixels: torch.Tensor,
    kind: str,
    severities: Sequence[SupportsIndex],
    *,
    modality: str | None,
    seeds: Seeds,
) -> Iterator[torch.Tensor]:
    """Do what `corrupt_severities` does, with images that are checked already.

    Args:
        images: as they were given.
        pixels: what `check_images` returned for them.
        kind: see `corrupt_severities`, as for what follows.
        severities: of which to yield the images.
        modality: of the images.
        seeds: of the cases.
    """
    scale = severity_scale(kind, modality)
    checked = [check_severity(severity) for severity in severities]
    seed_list = check_seeds(seeds, len(images) if images.ndim == 4 else 1)

    def results() -> Iterator[torch.Tensor]:
        batch = pixels if pixels.ndim == 4 else pixels[None]
        work = batch.to(torch.promote_types(batch.dtype, torch.float32))
        sample, apply = _STEPS[kind]
        limit = _CHUNK_CPU if work.device.type == "cpu" else _CHUNK_GPU
        size = max(1, limit // work[:1].numel())
        chunks = torch.split(work, size)
        sampled: list[Any] | None = None
        for severity in checked:
            if severity == 0:
                yield _like(images, pixels.clone())
                continue
            if sampled is None:
                sampled = [sample(c, seed_list[i * size : i * size + len(c)]) for i, c in enumerate(chunks)]
            level = scale.levels[severity - 1]
            parts = [apply(chunk, state, level) for chunk, state in zip(chunks, sampled, strict=True)]
            result = parts[0] if len(parts) == 1 else torch.cat(parts)
            yield _like(images, result.to(pixels.dtype).view(pixels.shape))

    return results()


def check_images(images: torch.Tensor) -> torch.Tensor:
    """Return the images as a plain tensor without gradient history, or raise for invalid ones.

    The host has to know the smallest and the largest value, and so waits once for their device.
    """
    if not isinstance(images, torch.Tensor):
        raise TypeError(
            f"images must be a torch.Tensor, got {type(images).__name__}; Corrupt takes NumPy arrays"
        )
    if images.ndim not in (3, 4):
        raise ValueError(
            f"images must be 2-D images, (C, H, W) or in a batch (B, C, H, W), got shape "
            f"{tuple(images.shape)}; take slices of a volume first"
        )
    if not images.dtype.is_floating_point:
        raise TypeError(
            f"images must be floating point in [0, 1], got {images.dtype}; scale them first, for example "
            "with monai.transforms.ScaleIntensityRange"
        )
    if images.numel() == 0:
        raise ValueError(f"images must not be empty, got shape {tuple(images.shape)}")
    plain = images.as_tensor() if isinstance(images, MetaTensor) else images
    plain = plain.detach()
    low, high = torch.stack(plain.aminmax()).tolist()
    if low >= 0 and high <= 1:
        return plain
    # Scaling rounds: float32 can turn 1 into 1.0000001.
    rounding = max(1e-6, torch.finfo(plain.dtype).eps)
    if low >= -rounding and high <= 1 + rounding:
        return plain.clamp(0, 1)
    problem = "NaN" if low != low else f"values from {low!r} to {high!r}"
    raise ValueError(f"images must lie in [0, 1], got {problem}; scale or repair them first")


def _like(images: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """Return the result with the metadata of the images, if they have any."""
    if not isinstance(images, MetaTensor):
        return result
    wrapped = MetaTensor(result)
    wrapped.copy_meta_from(images)  # type: ignore[no-untyped-call]
    return wrapped
