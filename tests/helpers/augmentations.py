"""Every transform of batches, and images for them."""

import math

import torch
from monai.transforms import Compose, RandGaussianNoise, RandGridDistortion
from monai_sf.transforms import (
    BatchRandAdjustContrast,
    BatchRandErase,
    BatchRandFlip,
    BatchRandGaussianSmooth,
    BatchRandResizedCrop,
    BatchRandRotate,
    BatchRandScaleIntensity,
    EachImage,
)

SMALLEST = 5
"""Rows and columns that every one of them takes."""

TRANSFORMS = {
    "flip": BatchRandFlip(prob=0.5, spatial_axis=1),
    "flip both": BatchRandFlip(prob=0.5),
    "rotate, zeros": BatchRandRotate(range_x=math.pi, prob=1.0, padding_mode="zeros"),
    "rotate, reflection": BatchRandRotate(range_x=0.3, prob=0.5, padding_mode="reflection"),
    "crop": BatchRandResizedCrop(roi_size=(SMALLEST, 4), spatial_size=(8, 7)),
    "scale": BatchRandScaleIntensity(factors=0.1, prob=0.5),
    "scale channels": BatchRandScaleIntensity(factors=0.1, prob=0.5, channel_wise=True),
    "contrast": BatchRandAdjustContrast(prob=0.5, gamma=(0.8, 1.25)),
    "smooth": BatchRandGaussianSmooth(prob=0.5),
    "erase": BatchRandErase(prob=0.5, spatial_size=3, max_spatial_size=6),
    "noise each": EachImage(RandGaussianNoise(prob=0.5)),
    "distort each": EachImage(Compose([RandGridDistortion(num_cells=2, prob=0.5)])),
}


def images(*shape, seed=0, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
