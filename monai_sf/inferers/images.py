"""What every inferer asks of its images."""

from __future__ import annotations

from torch import Tensor


def check_floating(images: Tensor) -> Tensor:
    """Return the images, or refuse bytes, which a network would take for values far beyond [0, 1].

    No value is read, so that nothing waits for the device.

    Raises:
        TypeError: they are not of floating point.
    """
    if not images.is_floating_point():
        raise TypeError(
            f"images must be floating point in [0, 1], got {images.dtype}: pass bytes through "
            "monai_sf.data.as_unit first"
        )
    return images
