"""Reusable MONAI transforms, imported as ``monai_sf.transforms``."""

from .array import Corrupt, RandCorrupt
from .corrupt import corrupt
from .dictionary import Corruptd, RandCorruptd
from .nodule_slices import ExtractNoduleSlices, ExtractNoduleSlicesd
from .severities import CORRUPTIONS, MODALITIES
from .sweep import CorruptionSweep, SweepLoader

__all__ = [
    "CORRUPTIONS",
    "MODALITIES",
    "Corrupt",
    "Corruptd",
    "CorruptionSweep",
    "ExtractNoduleSlices",
    "ExtractNoduleSlicesd",
    "RandCorrupt",
    "RandCorruptd",
    "SweepLoader",
    "corrupt",
]
