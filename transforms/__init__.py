"""Reusable MONAI transforms, imported as ``monai_sf.transforms``."""

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
