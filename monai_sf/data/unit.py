"""Images as bytes until they are on the device, where they become [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

#: What 1.0 is in images of each type of bytes.
_WHITE = {torch.uint8: 255.0, torch.uint16: 65535.0}


def as_unit(images: Tensor) -> Tensor:
    """Return an image, or a batch of them, in [0, 1], with the same bits on every device.

    Nothing waits for the device.

    Args:
        images: of any shape: uint8 (255 becomes 1) or uint16 (65535 becomes 1).

    Returns:
        float32 of bytes; floating point as it is.

    Raises:
        TypeError: They are of another type, whose range is unknown.

    Examples:
        >>> import torch
        >>> from monai_sf.data import as_unit
        >>> as_unit(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
        >>> as_unit(torch.tensor([1]))
        Traceback (most recent call last):
        ...
        TypeError: images must be uint8, uint16 or floating point, got torch.int64
    """
    if images.is_floating_point():
        return images
    if (white := _WHITE.get(images.dtype)) is None:
        raise TypeError(f"images must be uint8, uint16 or floating point, got {images.dtype}")
    # a number instead of a tensor would make CUDA multiply by its rounded reciprocal
    return images.float().div_(torch.full((), white, device=images.device))


def deepened(image: Tensor) -> Tensor:
    """Return an image of 8 or 16 bits with 16: the same, to the bit, once it is in [0, 1]."""
    return (image.int() * 257).to(torch.uint16) if image.dtype == torch.uint8 else image
