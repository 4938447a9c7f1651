"""The table of corruption strengths per severity, with the source of every number.

Severity 0 changes nothing; 1 to 5 rise. Lengths refer to an image whose shorter side has
`REFERENCE_SIDE` pixels, or are fractions of the shorter side; either way they scale with the image.

Sources:
    MedMNIST-C: Di Salvo, Doerrich, Ledig, "MedMNIST-C: Comprehensive benchmark and improved classifier
        robustness by simulating realistic image corruptions", arXiv:2406.17536, registry of the released
        code (medmnistc-api), at 224 pixels.
    ImageNet-C: Hendrycks, Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
        Perturbations", ICLR 2019, and its released code.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import SupportsIndex

CORRUPTIONS = ("brightness_up", "brightness_down", "motion_blur", "elastic", "gaussian_noise")
"""The five kinds of corruption, by name."""

MODALITIES = ("dermoscopy", "xray", "fluorescence", "ct")
"""The modalities with their own presets; every other image takes the default."""

MAX_SEVERITY = 5
REFERENCE_SIDE = 224
"""Shorter side, in pixels, of the images for which lengths in pixels were published."""

Level = tuple[float, ...]
"""The numbers of one severity; see `Scale` for their meaning."""


@dataclass(frozen=True)
class Scale:
    """Five rising strengths of one kind of corruption, and where they come from.

    Attributes:
        levels: what severities 1 to 5 mean. Brightness: (factor,). Gaussian noise: (standard deviation in
            units of the image's range [0, 1],). Motion blur: (radius, σ) in pixels at `REFERENCE_SIDE`; the
            exposure covers 2·radius + 1 pixels. Elastic: (root mean square displacement along each axis as
            a fraction of the shorter side,).
        source: where the levels come from, and the reason for those that are ours.
    """

    levels: tuple[Level, ...]
    source: str


def _scale(levels: tuple[float, ...], source: str) -> Scale:
    return Scale(tuple((level,) for level in levels), source)


# A modality without an entry takes the default.
_TABLE: dict[str, dict[str | None, Scale]] = {
    "brightness_up": {
        None: _scale((1.1, 1.2, 1.3, 1.4, 1.5), "MedMNIST-C, DermaMNIST and ChestMNIST"),
        "fluorescence": _scale(
            (1.3, 1.4, 1.5, 1.6, 1.7), "MedMNIST-C, TissueMNIST (the collection's fluorescence microscopy)"
        ),
        "ct": _scale((1.2, 1.3, 1.4, 1.5, 1.6), "MedMNIST-C, Organ{A,C,S}MNIST (CT)"),
    },
    "brightness_down": {
        None: _scale((0.9, 0.8, 0.7, 0.6, 0.5), "MedMNIST-C, DermaMNIST and ChestMNIST"),
        "fluorescence": _scale(
            (0.8, 0.7, 0.6, 0.5, 0.4), "MedMNIST-C, TissueMNIST (the collection's fluorescence microscopy)"
        ),
        "ct": _scale((0.8, 0.75, 0.7, 0.65, 0.6), "MedMNIST-C, Organ{A,C,S}MNIST (CT)"),
    },
    "motion_blur": {
        None: Scale(
            ((10, 5), (15, 6.5), (15, 8), (15, 12), (20, 15)),
            "MedMNIST-C, DermaMNIST; ours for X-ray and CT, since it has none for them; at severity 2 the "
            "published (15, 5) differs from (10, 5) by less than 0.01 % of the weight, so σ is ours: "
            "half-way",
        ),
        "fluorescence": Scale(
            ((3, 3), (5, 4), (10, 5), (10, 7), (10, 9)),
            "MedMNIST-C, BloodMNIST (microscopy: a stage moves less than a hand or a patient); at severity 2 "
            "the published (5, 5) is hardly weaker than (10, 5), so σ is ours: half-way",
        ),
    },
    "elastic": {
        None: _scale(
            (1 / 300, 2 / 300, 3 / 300, 4 / 300, 5 / 300),
            "ours: equal steps between the smallest and the largest local displacement of ImageNet-C "
            "(0.33 % and 1.67 % of the side, its severities 3 and 2), whose own order is not monotone; "
            "the same for every modality",
        ),
    },
    "gaussian_noise": {
        None: _scale(
            (0.04, 0.08, 0.12, 0.18, 0.26),
            "MedMNIST-C, DermaMNIST and ChestMNIST; ours for fluorescence, since it has none for microscopy",
        ),
        "ct": _scale((0.04, 0.08, 0.12, 0.16, 0.2), "MedMNIST-C, Organ{A,C,S}MNIST (CT)"),
    },
}


def severity_scale(kind: str, modality: str | None = None) -> Scale:
    """Return the five strengths of a corruption for a modality.

    Args:
        kind: one of `CORRUPTIONS`.
        modality: one of `MODALITIES`, or None for the default.

    Raises:
        ValueError: if kind or modality is unknown; the message lists the known ones.
    """
    check_kind(kind)
    if modality is not None and modality not in MODALITIES:
        raise ValueError(f"modality must be None or one of {', '.join(MODALITIES)}, got {modality!r}")
    scales = _TABLE[kind]
    return scales.get(modality, scales[None])


def check_kind(kind: str) -> None:
    """Raise ValueError, listing the known kinds, unless `kind` is one of `CORRUPTIONS`."""
    if kind not in CORRUPTIONS:
        raise ValueError(f"kind must be one of {', '.join(CORRUPTIONS)}, got {kind!r}")


def check_severity(severity: SupportsIndex) -> int:
    """Return the severity as an int.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it lies outside 0 to `MAX_SEVERITY`.
    """
    if isinstance(severity, bool) or not isinstance(severity, SupportsIndex):
        raise TypeError(f"severity must be an integer from 0 to {MAX_SEVERITY}, got {severity!r}")
    value = operator.index(severity)
    if not 0 <= value <= MAX_SEVERITY:
        raise ValueError(f"severity must be an integer from 0 to {MAX_SEVERITY}, got {value}")
    return value
