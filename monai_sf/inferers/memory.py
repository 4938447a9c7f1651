"""How many images a pass may have, so that it fits into the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_Result = TypeVar("_Result")

#: Images per pass where memory does not limit it; more are hardly faster on a CPU.
ENOUGH_ON_A_CPU = 256
#: Share of the free memory of a GPU that a pass may take: another process may want some, and parts are lost.
_SHARE = 0.7
#: The most values of a tensor: kernels of GPUs count them in 32 bits.
_MOST = 2**31 - 1


class BatchLimit:
    """The largest number of images per pass, for images of each shape.

    On a GPU it follows from the memory that is free, from what a pass of one group takes at its peak, and
    from its largest tensor. The results of that pass are discarded, and the number of groups is a power of
    two, so that an evaluation that is resumed, with somewhat more or less memory free, computes passes as
    large as those before: the last bits of outputs depend on it. A pass that does not fit in spite of that is
    halved. On a CPU it is 256.

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
        measured = self.fixed is None and has_limit(device)
        if measured and kind not in self._known:
            call(1)  # which may load kernels, and learns what later passes make at once
            free = free_bytes(device)
            with _LargestTensor() as largest:
                used = peak_bytes(device, lambda: call(1))
            fits = min(_SHARE * free / max(1, used), _MOST / max(1, largest.values))
            self._known[kind] = int(fits * rows)
        groups = max(1, self._known.get(kind, self.fixed or ENOUGH_ON_A_CPU) // rows)
        count = min(left, 2 ** (groups.bit_length() - 1) if measured else groups)
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


def peak_bytes(device: torch.device, call: Callable[[], object]) -> int:
    """Return what a call takes of a GPU's memory at its peak."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    return torch.cuda.max_memory_allocated(device) - before


class _LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the number of values of the largest tensor that any operation gives, also within modules."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, list | tuple) else (found,):
            if isinstance(one, torch.Tensor):
                self.values = max(self.values, one.numel())
        return found
