"""A column of lists of paths, one path per channel file, that holds what they have in common once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take

from monai_sf.datasets.texts import AT_ONCE, TEXT, Texts, arrow_texts, joined

__all__ = ["PathLists", "PathListsDtype"]

_OTHERS = (
    "cells of paths are lists of texts, all of one length, and are not changed: make a column of objects of "
    "them first, .astype(object)"
)


class PathListsDtype(ExtensionDtype):
    """The dtype of :class:`PathLists`."""

    name = "object"  # that of lists, as which Parquet files and others know them
    type = list
    kind = "O"

    @classmethod
    def construct_array_type(cls) -> Any:
        """Return the class of its arrays."""
        return PathLists


class PathLists(ExtensionArray):
    """A column whose cells are lists of K texts: each cell is one when it is asked for.

    Six paths as a list of Python's texts take 0.7 kB. They mostly differ in the mark of the channel alone:
    then what stands before it is held once, and the marks with what follows once for the whole column.

    Args:
        stems: (K,) columns of texts (N,), none missing; the same object for channels that have it in common.
        tails: (K,) what follows in every cell.
    """

    def __init__(self, stems: Sequence[Texts], tails: Sequence[str]) -> None:
        self._stems, self._tails = tuple(stems), tuple(tails)

    @classmethod
    def of_channels(cls, channels: Iterable[Texts]) -> PathLists:
        """Return the lists of the K channels' texts (N,), which are taken one after the other."""
        stems: list[Texts] = []
        tails: list[str] = []
        for texts in channels:
            common = _in_common(stems, tails, texts)
            if common is not None:
                stem, tails = common
                stems = [stem] * len(tails)
                continue
            if any(tails):
                stems, tails = cls(stems, tails).channels(), [""] * len(stems)
            stems, tails = [*stems, texts], [*tails, ""]
        return cls(stems, tails)

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> PathLists:
        lists = list(scalars)
        if not all(isinstance(one, list) and len(one) == len(lists[0]) for one in lists) or any(
            not isinstance(text, str) for one in lists for text in one
        ):
            raise TypeError(_OTHERS)
        return cls.of_channels([arrow_texts(list(texts)) for texts in zip(*lists, strict=True)])

    @property
    def dtype(self) -> PathListsDtype:
        """The dtype of pandas."""
        return PathListsDtype()

    @property
    def nbytes(self) -> int:
        """Bytes that the texts take."""
        return sum(texts.nbytes for texts in {id(texts): texts for texts in self._stems}.values())

    def __len__(self) -> int:
        return len(self._stems[0]) if self._stems else 0

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, (int, np.integer)):
            place = range(len(self))[item]
            return [f"{texts[place]}{tail}" for texts, tail in zip(self._stems, self._tails, strict=True)]
        return self.take(np.arange(len(self))[pd.api.indexers.check_array_indexer(self, item)])

    def __setitem__(self, item: Any, value: Any) -> None:
        raise TypeError(_OTHERS)

    def __iter__(self) -> Iterator[list[str]]:
        for start in range(0, len(self), AT_ONCE):
            own = {id(texts): texts for texts in self._stems}
            read = {key: texts.slice(start, AT_ONCE).to_pylist() for key, texts in own.items()}
            columns = [
                [text + tail for text in read[id(texts)]]
                for texts, tail in zip(self._stems, self._tails, strict=True)
            ]
            yield from map(list, zip(*columns, strict=True))

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Any:
        """Return the cells at some places; with ``allow_fill`` -1 stands for a missing one."""
        places = np.asarray(indices, np.intp)
        if allow_fill and (places < 0).any():  # a column of objects, which may have missing cells
            return take(self.to_numpy(object), places, allow_fill=True, fill_value=fill_value)
        if len(places) and not len(self):
            raise IndexError("cannot take cells of an empty column")
        places = np.where(places < 0, places + len(self), places)
        return self._with(lambda texts: texts.take(pa.array(places)))

    def copy(self) -> PathLists:
        """Return the same cells, which cannot be changed."""
        return PathLists(self._stems, self._tails)

    def isna(self) -> npt.NDArray[np.bool_]:
        """Return whether each cell (N,) is missing: none is."""
        return np.zeros(len(self), np.bool_)

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = None) -> npt.NDArray[Any]:
        """Return the cells (N,) as objects."""
        cells = np.empty(len(self), object)
        cells[:] = list(self)
        return cells

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return self.to_numpy()

    def __arrow_array__(self, type: Any = None) -> Any:
        return pa.array(list(self), pa.list_(pa.string()) if type is None else type)

    def __eq__(self, other: Any) -> Any:
        if isinstance(other, (pd.Series, pd.DataFrame, pd.Index)):
            return NotImplemented
        if not pd.api.types.is_list_like(other):
            return np.zeros(len(self), np.bool_)
        if len(other) != len(self):
            raise ValueError("Lengths must match to compare")  # as pandas says it
        others = other.tolist() if isinstance(other, np.ndarray) else other
        return np.array([one == two for one, two in zip(self, others, strict=True)], np.bool_)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[PathLists]) -> PathLists:
        parts = [one for one in to_concat if len(one)] or to_concat[:1]
        if len({len(one._stems) for one in parts}) > 1:
            raise TypeError(_OTHERS)
        alike = len({(one._tails, one._shared) for one in parts}) == 1
        parts = parts if alike else [cls(one.channels(), [""] * len(one._stems)) for one in parts]
        done: dict[tuple[int, ...], Texts] = {}
        stems = []
        for texts in zip(*(one._stems for one in parts), strict=True):
            key = tuple(map(id, texts))
            if key not in done:
                done[key] = pa.chunked_array([chunk for own in texts for chunk in own.chunks], TEXT)
            stems.append(done[key])
        return cls(stems, parts[0]._tails)

    def channels(self) -> list[Texts]:
        """Return the texts (N,) of each of the K channels."""
        return [joined(texts, tail) for texts, tail in zip(self._stems, self._tails, strict=True)]

    def _explode(self) -> tuple[Any, npt.NDArray[np.uint64]]:
        cells = np.array([path for own in self for path in own], object)
        return cells, np.full(len(self), len(self._stems), np.uint64)

    @property
    def _shared(self) -> tuple[int, ...]:
        """Which of the channels have their texts in common."""
        first = [id(texts) for texts in self._stems]
        return tuple(map(first.index, first))

    def _with(self, change: Any) -> PathLists:
        done = {id(texts): change(texts) for texts in {id(one): one for one in self._stems}.values()}
        return PathLists([done[id(texts)] for texts in self._stems], self._tails)


def _in_common(stems: Sequence[Texts], tails: Sequence[str], texts: Texts) -> tuple[Texts, list[str]] | None:
    """Return the stem that channels have in common with a further one, and the tails of all; None without."""
    if not stems or not len(texts) or (len(stems) > 1 and not any(tails)):
        return None
    first, other = f"{stems[0][0]}{tails[0]}", str(texts[0])
    if len(stems) == 1:
        length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, other, strict=False)))
    else:
        length = len(str(stems[0][0]))
    tail = other[length:]
    stem = _without(stems[0], first[length:]) if len(stems) == 1 else stems[0]
    mine = _without(texts, tail)
    if stem is None or mine is None or not stem.equals(mine):
        return None
    return stem, [*(tails if len(stems) > 1 else [first[length:]]), tail]


def _without(texts: Texts, tail: str) -> Texts | None:
    """Return the texts without what they end with; None if not all do."""
    if not tail:
        return texts
    if not pc.all(pc.ends_with(texts, tail)).as_py():
        return None
    return pc.utf8_slice_codeunits(texts, 0, -len(tail))
