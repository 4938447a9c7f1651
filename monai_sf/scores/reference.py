"""The cases that fitted scores are fitted to, read in blocks, with what several fits share computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from monai_sf.scores.functions import ArrayLike, as_float64
from monai_sf.vocabulary.reference import REFERENCE_ARRAYS

#: Number of cases that are read at once.
BLOCK = 4096

Shared = TypeVar("Shared")


class Reference(Mapping[str, ArrayLike]):
    """Features, logits and labels of the cases that scores are fitted to.

    Arrays are NumPy arrays (memory maps included) or tensors; a fit reads features in blocks, since they may
    not fit into memory. Blocks begin at the first case and have a fixed size, so a fit depends on neither
    batch size nor number of processes of the evaluation.

    Args:
        arrays: name, one of :data:`monai_sf.vocabulary.reference.REFERENCE_ARRAYS`, to array.

    Raises:
        ValueError: an unknown name, or arrays whose shapes do not fit together; names them all.
    """

    def __init__(self, arrays: Mapping[str, ArrayLike]) -> None:
        self._arrays = dict(arrays)
        self._shared: dict[Callable[[Reference], Any], Any] = {}
        if faults := _faults(self._arrays):
            raise ValueError("; ".join(faults))

    def __getitem__(self, name: str) -> ArrayLike:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def float64(self, name: str) -> Tensor:
        """Return a whole array as float64; for logits and the last layer, not for features."""
        return as_float64(self[name], name)

    def labels(self, part: str = "training") -> Tensor:
        """Return the classes (n,) int64 of the training or validation cases."""
        return torch.as_tensor(as_float64(self[f"{part}_labels"], f"{part}_labels"), dtype=torch.int64)

    def blocks(self, *names: str) -> Iterator[tuple[Tensor, ...]]:
        """Yield blocks of at most `BLOCK` cases of arrays of the same cases, as float64."""
        for first in range(0, len(self[names[0]]), BLOCK):
            yield tuple(as_float64(self[name][first : first + BLOCK], name) for name in names)

    def shared(self, compute: Callable[[Reference], Shared]) -> Shared:
        """Return ``compute(self)``, which is called once however many fits ask for it."""
        if compute not in self._shared:
            self._shared[compute] = compute(self)
        return cast(Shared, self._shared[compute])


def _faults(arrays: Mapping[str, ArrayLike]) -> list[str]:
    if unknown := sorted(arrays.keys() - REFERENCE_ARRAYS.keys()):
        return [f"reference arrays must be among {', '.join(REFERENCE_ARRAYS)}, got {', '.join(unknown)}"]
    faults = []
    sizes: dict[tuple[str, str], dict[str, int]] = {}
    for name, array in arrays.items():
        axes = REFERENCE_ARRAYS[name][0].split(",")
        if array.ndim != len(axes):
            faults.append(f"{name} must have shape ({', '.join(axes)}), got {tuple(array.shape)}")
            continue
        for axis, size in zip(axes, array.shape, strict=True):
            where = name.partition("_")[0] if axis == "n" else ""
            sizes.setdefault((where, axis), {})[name] = int(size)
    for (_, axis), found in sizes.items():
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in found.items())
            faults.append(f"sizes of the axis {axis} differ: {listed}")
    return faults
