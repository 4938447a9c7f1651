"""What lies beyond an image's border: its mirror image, the border pixel itself not repeated."""

from __future__ import annotations

import torch


def reflect(index: torch.Tensor, size: int) -> torch.Tensor:
    """Folds pixel indices that leave [0, size) back inside by mirroring, as often as it takes.

    >>> reflect(torch.arange(-3, 6), 3).tolist()
    [1, 2, 1, 0, 1, 2, 1, 0, 1]

    Args:
        index: integer tensor of any shape.
        size: number of pixels, at least 1.

    Returns:
        A new integer tensor, in [0, size).
    """
    if size == 1:
        return torch.zeros_like(index)
    last = size - 1
    return last - (index.remainder(2 * last) - last).abs()
