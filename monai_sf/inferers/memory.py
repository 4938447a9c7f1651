"""How many images a pass may have, so that it fits into the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch

_Result = TypeVar("_Result")

#: Images per pass where memory does not limit it; more are hardly faster on a CPU.
ENOUGH_ON_A_CPU = 256
#: Share of the free memory of a GPU that a pass may take: another process may want some, and parts are lost.
_SHARE = 0.7
#: The most bytes that a pass may take, so that no tensor has 2^31 values, which cuDNN counts in 32 bits.
_MOST = 2**32


class BatchLimit:
    """The largest number of images per pass, for images of each shape.

    On a GPU it follows from the memory that is free and from what a first, small pass took at its peak; a
    pass that does not fit in spite of that halves it. On a CPU it is 256.

    Args:
        fixed: this number instead of what memory allows, unless so many do not fit.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.fixed = fixed
        self._known: dict[Hashable, int] = {}

    def run(
        self, kind: Hashable, device: torch.device, left: int, rows: int, call: Callable[[int], _Result]
    ) -> tuple[int, _Result]:
        """Call with as many groups of images as fit, at least one, and return their number and the result.

        Args:
            kind: what the memory per image depends on, such as the shape of an image.
            device: where the pass is computed.
            left: number of groups that are left to compute, at least 1.
            rows: number of images in a group.
            call: computes a pass of a number of groups.

        Raises:
            torch.OutOfMemoryError: a single group does not fit.
        """
        limit = self._known.get(kind, self.fixed)
        if limit is None and not has_limit(device):
            limit = ENOUGH_ON_A_CPU
        if limit is None:
            free = free_bytes(device)
            result, used = peak_bytes(device, lambda: call(1))
            self._known[kind] = min(int(_SHARE * free), _MOST) * rows // max(1, used)
            return 1, result
        count = min(left, max(1, limit // rows))
        while True:
            try:
                return count, call(count)
            except torch.OutOfMemoryError:
                if count == 1:
                    raise
            count //= 2
            self._known[kind] = count * rows


def has_limit(device: torch.device) -> bool:
    """Return whether a device has memory of its own that can be measured."""
    return device.type == "cuda"


def free_bytes(device: torch.device) -> int:
    """Return the memory of a GPU that this process may still take, its own unused cache included."""
    own = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + own


def peak_bytes(device: torch.device, call: Callable[[], _Result]) -> tuple[_Result, int]:
    """Return the result of a call, and what it took of a GPU's memory at its peak."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = call()
    return result, torch.cuda.max_memory_allocated(device) - before
