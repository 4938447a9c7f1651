"""The cases that fitted scores are fitted to, read in blocks, with what several fits share computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from monai_sf.scores.functions import ArrayLike, as_float64
from monai_sf.vocabulary.outputs import check_labels
from monai_sf.vocabulary.reference import REFERENCE_ARRAYS

#: Number of cases that are read at once.
BLOCK = 2048

#: Arrays that tell the number of classes, with the axis.
_CLASSES = {"training_logits": 1, "validation_logits": 1, "last_layer_weight": 0}

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

    Examples:
        Arrays that do not fit together are refused before anything is fitted:

        >>> import numpy as np
        >>> from monai_sf.scores import Reference
        >>> features, labels = np.zeros((5, 3)), np.zeros(5)
        >>> list(Reference({"training_features": features, "training_labels": labels}))
        ['training_features', 'training_labels']
        >>> Reference({"training_features": features, "training_labels": labels[1:]})
        Traceback (most recent call last):
        ValueError: sizes of the axis n differ: training_features 5, training_labels 4
    """

    def __init__(self, arrays: Mapping[str, ArrayLike]) -> None:
        self._arrays = dict(arrays)
        self._shared: dict[Callable[[Reference], Any], Any] = {}
        self._undefined: dict[str, int] = {}
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
        """Return the classes (n,) int64 of the training or validation cases.

        Raises:
            ValueError: some are no classes, or not among those that the logits or the last layer have.
        """
        name = f"{part}_labels"
        found = self.float64(name)
        sizes = [self[other].shape[axis] for other, axis in _CLASSES.items() if other in self]
        largest = int(found.nan_to_num().max()) if len(found) else -1
        classes = max(2, int(sizes[0])) if sizes else largest + 1  # a single logit tells two classes apart
        return torch.as_tensor(check_labels(found, len(found), classes, name), dtype=torch.int64)

    def check(self, name: str) -> None:
        """Raise ValueError if cases of an array hold NaN or infinity, but for -inf of an excluded class."""
        bad = self._undefined.get(name)
        if bad is None:
            # The largest of a row is NaN if one of them is.
            looked_at = (
                (block.amax(dim=-1) if name.endswith("_logits") else block.abs().amax(dim=-1))
                for (block,) in self.blocks(name)
            )
            bad = self._undefined[name] = sum(int((~largest.isfinite()).sum()) for largest in looked_at)
        if bad:
            raise ValueError(
                f"{bad} of {len(self[name])} cases of {name} are NaN or infinite: find out why the network "
                f"gives such values, or leave these cases out"
            )

    def part_with(self, *kinds: str) -> str:
        """Return the part that has held-out cases: "validation", or "training" where there are none.

        Args:
            kinds: the arrays that the part must have, of "features", "logits" and "labels".
        """
        for part in ("validation", "training"):
            if all(len(self.get(f"{part}_{kind}", ())) for kind in kinds):
                return part
        raise ValueError(
            f"there is no validation and no training case with {' and '.join(kinds)}: give at least one"
        )

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
