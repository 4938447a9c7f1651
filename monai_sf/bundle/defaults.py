"""Network, image size and training that suit the number of cases, the size of the images and the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Pixels that a training on a CPU sees in all its epochs: a minute on one core.
_PIXELS_ON_CPU = 12_000 * 64**2
_MOST_CACHED_BYTES = 2**30
_BYTES = 2  # of a value of an image, at most
_SMALLEST = 32


@dataclass(frozen=True)
class Defaults:
    """The numbers of a bundle's ``train.yaml``, ``evaluate.yaml`` and ``benchmark.yaml``.

    Attributes:
        network: name of the backbone.
        weights: "imagenet", or None for random ones.
        image_size: side of the square that every image is resized to, in pixels.
        epochs: of the classifier, of Deep Gamblers and of DeVries.
        confidnet_epochs: of ConfidNet on the trained classifier.
        finetuning_epochs: of the fine-tuning of its copy of the encoder.
        confidnet_learning_rate: of ConfidNet.
        finetuning_learning_rate: of its fine-tuning.
        batch_size: cases in a batch.
        learning_rate: at the start.
        weight_decay: of Adam.
        cache_rate: share of the images that is kept in memory.
        mc_samples: dropout samples in the evaluation.
        report_points: cases of a run that the benchmark's report shows one by one.
        seeds: of the benchmark.
        reasons: what was chosen and why, one line each.
    """

    network: str
    weights: str | None
    image_size: int
    epochs: int
    confidnet_epochs: int
    finetuning_epochs: int
    confidnet_learning_rate: float
    finetuning_learning_rate: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    cache_rate: float
    mc_samples: int
    report_points: int
    seeds: tuple[int, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class AuditDefaults:
    """The numbers of the ``evaluate.yaml`` and ``benchmark.yaml`` of an audit.

    Attributes:
        image_size: (height, width) of the images that the model gets.
        batch_size: cases in a batch.
        mc_samples: dropout samples; 0 for a model without dropout.
        report_points: as of :class:`Defaults`.
        seeds: of the benchmark: one, since nothing is trained.
    """

    image_size: tuple[int, int]
    batch_size: int
    mc_samples: int
    report_points: int
    seeds: tuple[int, ...] = (0,)


def audit_defaults(image_size: tuple[int, int], *, has_dropout: bool, has_gpu: bool) -> AuditDefaults:
    """Return numbers that suit a given model and the device."""
    samples = 50 if has_gpu else 10
    return AuditDefaults(
        image_size=image_size,
        batch_size=32 if has_gpu else 16,
        mc_samples=samples if has_dropout else 0,
        report_points=3000 if has_gpu else 1000,
    )


def choose_defaults(
    n_train: int, n_cases: int, sides: Sequence[int], *, channels: int, has_gpu: bool
) -> Defaults:
    """Return numbers that suit the data and the device.

    Args:
        n_train: cases that the largest training has.
        n_cases: all cases.
        sides: shorter side of each image of a sample, in pixels.
        channels: of an image.
        has_gpu: whether trainings run on a GPU.
    """
    median = sorted(sides)[len(sides) // 2]
    size = _size(median, 256 if has_gpu else 64)
    batch_size = 16 if n_train < 1000 else 32 if n_train < 20_000 else 64
    kept = n_cases * channels * size**2 * _BYTES
    cached = kept <= _MOST_CACHED_BYTES
    where = "a GPU" if has_gpu else "no GPU here"
    if has_gpu:
        small = median < 64  # halved five times by DenseNet121, nothing would be left
        network, weights = ("densenet-small", None) if small else ("densenet121", "imagenet")
        epochs = min(60, max(20, math.ceil(100_000 / max(1, n_train))))
    else:
        network, weights = "densenet-small", None
        epochs = min(40, max(4, math.ceil(_PIXELS_ON_CPU / (max(1, n_train) * size**2))))
    resized = "as most images are" if size == median else f"the median shorter side is {median} px"
    started = "from ImageNet weights, which are downloaded" if weights else "from random weights"
    seeds = (0, 1, 2) if has_gpu else (0,)
    reasons = (
        f"network {network}, {started}: {where}"
        + (", and images are small" if has_gpu and not weights else ""),
        f"images {size} x {size} px: {resized}" + ("" if has_gpu or median <= size else f", and {where}"),
        f"epochs {epochs}, of batches of {batch_size}: {n_train} cases to train on",
        f"images {'' if cached else 'not '}kept in memory: {n_cases} cases, {kept / 2**20:.0f} MiB",
        f"benchmark with {len(seeds)} seed{'s' if len(seeds) > 1 else ''}: {where}"
        + ("" if has_gpu else "; --seeds '[0,1,2]' for an interval"),
    )
    pretrained = weights is not None
    return Defaults(
        network=network,
        weights=weights,
        image_size=size,
        epochs=epochs,
        confidnet_epochs=max(1, epochs // 4 if has_gpu else epochs // 2),
        finetuning_epochs=max(1, epochs // 4) if has_gpu else 1,
        confidnet_learning_rate=1e-4 if pretrained else 1e-3,
        finetuning_learning_rate=1e-6 if pretrained else 1e-5,
        batch_size=batch_size,
        learning_rate=2e-4 if pretrained else 3e-3,
        weight_decay=1e-5 if pretrained else 1e-4,
        cache_rate=1.0 if cached else 0.0,
        mc_samples=50 if has_gpu else 10,
        report_points=3000 if has_gpu else 1000,
        seeds=seeds,
        reasons=reasons,
    )


def _size(median: int, most: int) -> int:
    """Return the median, at most so many pixels, and at least those that a network can halve."""
    return max(_SMALLEST, min(median, most))
