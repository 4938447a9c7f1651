"""Reusable MONAI transforms, imported as ``monai_sf.transforms``.

Examples:
    The five kinds of corruption at their strongest, by how much they change a pixel on average:

    >>> import torch
    >>> from monai_sf.transforms import CORRUPTIONS, MODALITIES, corrupt
    >>> image = torch.linspace(0, 0.8, 64).repeat(1, 64, 1)
    >>> for kind in CORRUPTIONS:
    ...     change = corrupt(image, kind, 5, seeds=0) - image
    ...     print(f"{kind:15} {change.abs().mean():.2f}")
    brightness_up   0.18
    brightness_down 0.20
    motion_blur     0.03
    elastic         0.01
    gaussian_noise  0.19

    A modality may have severities of its own, such as a stronger light in fluorescence microscopy:

    >>> image = torch.full((1, 8, 8), 0.5)
    >>> for modality in MODALITIES:
    ...     bright = corrupt(image, "brightness_up", 5, modality=modality, seeds=0)
    ...     print(f"{modality:12} {bright.amax():.2f}")
    dermoscopy   0.75
    xray         0.75
    fluorescence 0.85
    ct           0.80
"""

from .array import Corrupt, RandCorrupt
from .augment import BatchAugment, BatchTransform
from .augment_geometry import BatchRandFlip, BatchRandResizedCrop, BatchRandRotate
from .augment_intensity import (
    BatchRandAdjustContrast,
    BatchRandErase,
    BatchRandGaussianSmooth,
    BatchRandScaleIntensity,
)
from .corrupt import corrupt
from .dictionary import Corruptd, RandCorruptd
from .each_image import EachImage
from .nodule_slices import ExtractNoduleSlices, ExtractNoduleSlicesd
from .severities import CORRUPTIONS, MODALITIES
from .sweep import CorruptionSweep, SweepLoader

__all__ = [
    "CORRUPTIONS",
    "MODALITIES",
    "BatchAugment",
    "BatchRandAdjustContrast",
    "BatchRandErase",
    "BatchRandFlip",
    "BatchRandGaussianSmooth",
    "BatchRandResizedCrop",
    "BatchRandRotate",
    "BatchRandScaleIntensity",
    "BatchTransform",
    "Corrupt",
    "Corruptd",
    "CorruptionSweep",
    "EachImage",
    "ExtractNoduleSlices",
    "ExtractNoduleSlicesd",
    "RandCorrupt",
    "RandCorruptd",
    "SweepLoader",
    "corrupt",
]
