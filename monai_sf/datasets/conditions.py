"""Conditions on the columns of a case table, as data: they are compared, and nothing of them is executed."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from monai_sf.datasets.texts import is_text
from monai_sf.vocabulary.ids import canonical_ids

__all__ = ["Condition", "Mask", "absent_columns", "did_you_mean", "read_condition", "row_name", "text_of"]

Mask = npt.NDArray[np.bool_]

_KEYS = ("is", "above", "below", "missing")
_MOST_SHOWN = 20
_MOST_ROWS = 5


def row_name(place: int) -> str:
    """Return the name of a row as spreadsheets count it: the header is row 1, the first case row 2."""
    return f"row {place + 2}"


@dataclass(frozen=True)
class Condition:
    """What the cells of one column must hold.

    Attributes:
        values: Texts or numbers of which a cell must be one; empty for any.
        above: Exclusive lower limit of a number.
        below: Exclusive upper limit of a number.
        missing: Whether an empty cell fulfils the condition. None: no cell may be empty.
    """

    values: tuple[str | int | float | bool, ...] = ()
    above: float | None = None
    below: float | None = None
    missing: bool | None = None

    @property
    def has_limits(self) -> bool:
        """Whether cells are compared as numbers."""
        return self.above is not None or self.below is not None

    def matches(self, column: pd.Series) -> Mask:
        """Return which cells of a column (N,) fulfil the condition, as (N,) bool.

        Cells that :meth:`faults` names do not.
        """
        if is_text(column):  # many cells of few texts, of which each is compared once
            texts, of_cell = _distinct(column)
            return self._matching(texts)[of_cell]
        return self._matching(column)

    def _matching(self, column: pd.Series) -> Mask:
        empty = _is_empty(column)
        if self.has_limits:
            number = _numbers(column)
            found = np.ones(len(column), np.bool_)
            found &= number > self.above if self.above is not None else ~np.isnan(number)
            found &= number < self.below if self.below is not None else ~np.isnan(number)
        elif self.values:
            keys = pd.Series(_keys(column), dtype=object)
            found = keys.isin({_key(value, column) for value in self.values}).to_numpy(np.bool_)
        else:
            return empty if self.missing else ~empty
        return np.where(empty, bool(self.missing), found)

    def faults(self, column: pd.Series, name: Callable[[int], str] = row_name) -> list[str]:
        """Return why the condition is not one on this column.

        Values that no cell has or that other cells spell differently, and cells of no use.

        Args:
            column: The cells (N,).
            name: Names a case in messages, by its place 0..N-1.
        """
        found = []
        empty = _is_empty(column)
        if empty.any() and self.missing is None:
            found.append(
                f"{int(empty.sum())} of {len(column)} cells are empty (first: "
                f"{_first(np.flatnonzero(empty).tolist(), name)}): "
                "add `missing: true` if these cases are in the target domain, or `missing: false`"
            )
        if self.has_limits:
            wrong = [text_of(cell) for cell in column[~empty & np.isnan(_numbers(column))].unique()]
            if wrong:
                found.append(f"above and below need numbers, and there are {_listed(list(map(repr, wrong)))}")
        elif self.values:
            keys = _keys(column)
            shown: dict[Any, str] = {}
            for key, cell in zip(keys, column.tolist(), strict=True):
                if key is not None:
                    shown.setdefault(key, text_of(cell))
            absent = [value for value in self.values if _key(value, column) not in shown]
            if absent:
                there = sorted(shown.values())
                found.append(
                    f"no case has {_listed([_said(value, there) for value in absent])}; "
                    f"there are {_listed(list(map(repr, there)))}"
                )
            found += self._other_spellings(keys, column, name)
        return found

    def _other_spellings(
        self, keys: Sequence[Any], column: pd.Series, name: Callable[[int], str]
    ) -> list[str]:
        """Return which values have cells that differ from them in spelling only and that are not named."""
        if _is_number(column):
            return []
        named = {_key(value, column) for value in self.values if not isinstance(value, bool)}
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            if key is not None:
                places.setdefault(key, []).append(place)
        plain = dict(zip(places, _plain_texts(list(places)), strict=True))
        wanted = {plain[key] for key in named & places.keys()}
        alike: dict[str, list[str]] = {}
        for key, text in plain.items():
            if text in wanted:
                alike.setdefault(text, []).append(key)
        found = []
        for own in alike.values():
            if set(own) <= named:
                continue
            # Forms of one letter look alike: only then are they shown as code points.
            show = ascii if len({unicodedata.normalize("NFC", key) for key in own}) < len(own) else repr
            said = " and ".join(
                f"{show(key)} ({len(places[key])} cases: {_first(places[key], name)})" for key in sorted(own)
            )
            found.append(
                f"{said} differ in spelling only, and the condition does not name all of them: the others "
                "would be trained on. Spell them in one way in the table (if they mean different things, "
                "with different words), or name all of them in the condition"
            )
        return found

    def __str__(self) -> str:
        """Return the condition in words, to stand after the column's name."""
        if self.has_limits:
            limits = [(word, limit) for word, limit in (("above", self.above), ("below", self.below))]
            words = " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
        elif self.values:
            texts = [str(value) for value in self.values]
            words = f"is {texts[0]}" if len(texts) == 1 else f"is one of {_listed(texts)}"
        else:
            return "is missing" if self.missing else "is not missing"
        return f"{words} or missing" if self.missing else words


def read_condition(given: Any) -> Condition:
    """Return a condition from a config's value.

    Args:
        given: A text or number that the cells are equal to, a list of them, or a mapping with ``is`` (one or
            a list), or ``above`` and ``below`` (numbers), and ``missing`` (true or false).

    Raises:
        ValueError: If it is anything else; says what is wrong.
    """
    if not isinstance(given, Mapping):
        return Condition(values=_values(given))
    if unknown := [key for key in given if key not in _KEYS]:
        raise ValueError(
            f"unknown {', '.join(map(str, unknown))}; known are a value, a list of values, and "
            f"{', '.join(_KEYS)}"
        )
    if not given:
        raise ValueError(f"is empty; give a value, a list of values, or some of {', '.join(_KEYS)}")
    if "is" in given and {"above", "below"} & given.keys():
        raise ValueError("has both `is` and a limit: leave one out")
    missing = given.get("missing")
    if "missing" in given and not isinstance(missing, bool):
        raise ValueError(f"missing must be true or false, got {missing!r}")
    above, below = (_limit(name, given) for name in ("above", "below"))
    if above is not None and below is not None and not above < below:
        raise ValueError(f"nothing is above {above:g} and below {below:g}")
    return Condition(_values(given["is"]) if "is" in given else (), above, below, missing)


def _values(given: Any) -> tuple[str | int | float | bool, ...]:
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if not listed:
        raise ValueError("is an empty list; name at least one value")
    for value in listed:
        if value is None or (isinstance(value, str) and not value.strip()):
            raise ValueError("has an empty value; for empty cells write `missing: true`")
        if not isinstance(value, (str, int, float)) or value != value:
            raise ValueError(f"must hold texts or numbers, got {value!r}; put it in quotes if it is text")
    return tuple(listed)


def _limit(name: Literal["above", "below"], given: Mapping[str, Any]) -> float | None:
    if name not in given:
        return None
    value = given[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)


def text_of(cell: Any) -> str:
    """Return a cell as text, a whole number without a decimal point."""
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def _distinct(column: pd.Series) -> tuple[pd.Series, npt.NDArray[np.intp]]:
    """Return the distinct cells of a column of text and each cell's place (N,) among them; None is last."""
    place, texts = pd.factorize(column)
    return pd.Series([*texts, None], dtype=object), place


def _is_empty(column: pd.Series) -> Mask:
    if _is_number(column):
        return np.asarray(column.isna(), dtype=np.bool_)
    blank = [isinstance(cell, str) and not cell.strip() for cell in column.tolist()]
    return np.asarray(column.isna(), dtype=np.bool_) | np.array(blank, np.bool_)


def _numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    numbers = np.array(pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan))
    if not pd.api.types.is_numeric_dtype(column):
        # pandas may read a text as one of the neighbours of its number, and so as beyond a limit that it is.
        finite = np.isfinite(numbers)
        numbers[finite] = [float(cell) for cell in column.to_numpy(object)[finite]]
    return numbers


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _keys(column: pd.Series) -> list[Any]:
    """Return the cells as they are compared: numbers of a column of numbers, else text; None where empty."""
    empty = _is_empty(column).tolist()
    cells = _numbers(column).tolist() if _is_number(column) else map(text_of, column.tolist())
    return [None if is_empty else cell for cell, is_empty in zip(cells, empty, strict=True)]


def _key(value: str | int | float | bool, column: pd.Series) -> Any:
    if isinstance(value, bool):  # YAML's yes, no, on and off: no number, and no text but True
        return text_of(value) if pd.api.types.is_bool_dtype(column.dropna().infer_objects()) else (value,)
    if not _is_number(column):
        return text_of(value)
    try:
        return float(value)
    except ValueError:
        return value


def _said(value: str | int | float | bool, there: Sequence[str]) -> str:
    if isinstance(value, bool):
        return f"{value!r} (YAML reads yes, no, on and off so: put the text in quotes)"
    return f"{text_of(value)!r}{did_you_mean(text_of(value), there)}"


def _plain_texts(texts: Sequence[str]) -> list[str]:
    """Return what is equal for all spellings of a text: as of ids, words for a missing id included."""
    return [
        " ".join(text.casefold().split()) if one is None else str(one)
        for text, one in zip(texts, canonical_ids(texts), strict=True)
    ]


def _first(places: Sequence[int], name: Callable[[int], str]) -> str:
    more = f" and {len(places) - _MOST_ROWS} more" if len(places) > _MOST_ROWS else ""
    return ", ".join(map(name, places[:_MOST_ROWS])) + more


def _listed(texts: Sequence[str], most: int = _MOST_SHOWN) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return " (do you mean ...?)" for the known name that is spelled most alike, or nothing."""
    plain = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), plain, n=1, cutoff=0.7)
    return f" (do you mean {plain[close[0]]!r}?)" if close else ""


def absent_columns(names: Sequence[str], columns: Sequence[str], unsaid: Sequence[str] = ()) -> str:
    """Return which columns a table lacks, with what it has but for the unsaid; empty where it has all."""
    said = [column for column in columns if column not in unsaid]
    absent = [f"{name!r}{did_you_mean(name, said)}" for name in names if name not in columns]
    if not absent:
        return ""
    return f"there is no column {', '.join(absent)}; there are {_listed(list(map(repr, said)), 50)}"
