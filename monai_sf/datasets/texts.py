"""Columns of text as Arrow holds them: some bytes per cell, where a Python text takes fifty and more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monai_sf.vocabulary.distinct import all_differ

__all__ = [
    "AT_ONCE",
    "TEXT",
    "Texts",
    "arrow_texts",
    "changed",
    "distinct",
    "in_parts",
    "is_text",
    "joined",
    "places_of",
    "shared_list",
    "stripped",
    "text_column",
]

Texts: TypeAlias = pa.ChunkedArray
"""Cells of text, null where one is empty."""

TEXT = pa.large_string()
AT_ONCE = 2**14
"""Cells that are Python texts at the same time."""

#: What ``str.strip`` removes: all characters of which ``str.isspace`` is true.
_BLANKS = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def text_column(texts: Any, index: pd.Index | None = None) -> pd.Series:
    """Return Arrow's texts as a column of pandas' text, which shares them from pandas 3 on."""
    dtype: Any = pd.Series([], dtype="str").dtype
    column = dtype.__from_arrow__(texts) if hasattr(dtype, "__from_arrow__") else texts.to_pandas().array
    return pd.Series(column, index=index)


def is_text(column: pd.Series) -> bool:
    """Return whether all cells of a column are texts or missing, as its dtype says."""
    return isinstance(column.dtype, pd.StringDtype)


def arrow_texts(column: Any) -> Texts:
    """Return the texts of a column, or of a list, which must hold nothing else but missing values."""
    if isinstance(column, pa.ChunkedArray):
        return column
    texts = pa.array(column, type=TEXT, from_pandas=True)
    return texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])


def stripped(texts: Texts) -> Texts:
    """Return texts as ``str.strip`` does."""
    return pc.utf8_trim(texts, _BLANKS)


def shared_list(texts: Texts) -> list[str | None]:
    """Return the cells as Python's texts, one object for all equal ones; None where one is empty."""
    code = texts.dictionary_encode().combine_chunks()
    own = np.array([*code.dictionary.to_pylist(), None], object)
    return list(own[code.indices.fill_null(len(own) - 1).to_numpy()])


def in_parts(texts: Texts) -> Iterator[list[str | None]]:
    """Yield the cells as Python texts, some thousands at once."""
    for start in range(0, len(texts), AT_ONCE):
        yield texts.slice(start, AT_ONCE).to_pylist()


def joined(*pieces: Texts | str) -> Texts:
    """Return the texts that follow each other in each row; a text of Python stands in all rows."""
    each = [pa.scalar(piece, TEXT) if isinstance(piece, str) else piece for piece in pieces]
    return pc.binary_join_element_wise(*each, pa.scalar("", TEXT))


def places_of(texts: pd.Series, among: pd.Series) -> npt.NDArray[np.intp]:
    """Return the place of each text (N,) in a column of distinct ones; -1 where it is not there."""
    place = pc.index_in(arrow_texts(texts), value_set=arrow_texts(among).combine_chunks())
    return np.asarray(place.combine_chunks().fill_null(-1), np.intp)


def distinct(texts: pd.Series | Texts, change: Callable[[Texts], Texts] | None = None) -> bool:
    """Return whether the texts of a column all differ, also after a change; False if in doubt."""
    cells = arrow_texts(texts)
    parts = (cells.slice(start, AT_ONCE) for start in range(0, len(cells), AT_ONCE))
    return all_differ((part if change is None else change(part)).to_pylist() for part in parts)


def changed(texts: Texts, change: Callable[[str], str | None]) -> Texts:
    """Return the texts after a function of Python."""
    parts = [
        pa.array([None if text is None else change(text) for text in part], type=TEXT)
        for part in in_parts(texts)
    ]
    return pa.chunked_array(parts, type=TEXT)
