"""Features in pieces that stay in the processor's cache, and fitted arrays as tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from monai_sf.scores.csf import Fitted
from monai_sf.scores.functions import ArrayLike, as_float64

#: Number of cases in a piece; larger ones cost new pages of memory at every step, smaller ones slow products.
PIECE = 1024


def rowwise(compute: Callable[..., Tensor], width: int, features: ArrayLike, *others: ArrayLike) -> Tensor:
    """Return ``compute`` of pieces of the same cases, concatenated; NaN where features are NaN or infinite.

    Args:
        compute: from pieces (m, ...) float64 to (m, ...); the result of a case depends on no other case.
        width: number F of features that the scores were fitted to.
        features: (N, F).
        others: (N, ...), further arrays of the cases.

    Raises:
        ValueError: another number of features.
    """
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"features must be ({len(features)}, {width}), got {tuple(features.shape)}")
    found = []
    for first in range(0, max(1, len(features)), PIECE):
        piece, *further = (
            as_float64(array[first : first + PIECE], "features") for array in (features, *others)
        )
        value = compute(piece, *further)
        usable = piece.sum(1).isfinite().reshape(-1, *[1] * (value.ndim - 1))
        found.append(torch.where(usable, value, torch.nan))
    return torch.cat(found)


def squared_length(x: Tensor) -> Tensor:
    """Return the squared lengths (n,) of vectors (n, F), without a temporary array of their squares."""
    length: Tensor = torch.linalg.vector_norm(x, dim=1)
    return length.square()


def tensors(fitted: Fitted, like: ArrayLike) -> dict[str, Tensor]:
    """Return fitted arrays as tensors of their own type, on the device of another array."""
    device = like.device if isinstance(like, Tensor) else "cpu"
    # A copy where torch cannot wrap an array: a read-only memory map.
    writeable = {name: np.require(array, requirements="W") for name, array in fitted.items()}
    return {name: torch.from_numpy(array).to(device) for name, array in writeable.items()}
