"""Mirror padding beyond an image's border; the border pixel itself is not repeated."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pad_mirrored(plane: torch.Tensor, top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    """Pad images with their mirror images.

    Args:
        plane: (B, H, W).
        top: rows to add above, fewer than H; if H is 1, the only row is repeated. The same holds below.
        bottom: rows to add below.
        left: columns to add before.
        right: columns to add after.

    Returns:
        Tensor (B, top + H + bottom, left + W + right).

    Examples:
        >>> import torch
        >>> from monai_sf.transforms.borders import pad_mirrored
        >>> pad_mirrored(torch.tensor([[[1.0, 2.0, 3.0]]]), 0, 1, 2, 1).tolist()
        [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0], [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]
    """
    if min(plane.shape[1:]) > 1:
        return F.pad(plane, (left, right, top, bottom), mode="reflect")
    for padding, size in (((left, right, 0, 0), plane.shape[2]), ((0, 0, top, bottom), plane.shape[1])):
        if any(padding):
            plane = F.pad(plane, padding, mode="reflect" if size > 1 else "replicate")
    return plane
