"""Which columns of a case table divide the cases into groups, and into which."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.metrics.groups import MISSING, group_name, in_order
from monai_sf.results import Results, ResultsError
from monai_sf.tables.redaction import is_identifying, redacted_text
from monai_sf.vocabulary.ids import canonical_id, is_absent

#: Name of the division by the label.
CLASS = "class"

#: A column with more different texts, and classes of which there are more, are no subgroups.
MOST_VALUES = 30

#: A column with more different numbers is cut into bins.
MOST_NUMBERS = 10

_QUARTERS = 4

#: With more different texts, no column of a run has few in a test set.
_FREE_TEXT = 1000

#: Columns of the case table that say how it is organised, not what the cases are like.
_STRUCTURE = frozenset(("case_id", "image", "images", "label", "label_name", "group", "split"))

_IDS = re.compile(r"(?i:(^|_|\s)(ids?|uuid|index|row|key|hash|checksum|sha256|md5)$)|[a-z]I[dD]s?$")

_DATES = re.compile(r"(^|_|\s)(date|time|timestamp|datetime|birthday)$|(Date|Time)$")

_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?[./]\d\d?[./]\d{2,4}")

_AGE = re.compile(r"(^|_|\s)age($|_|\s)|Age$", re.IGNORECASE)

#: As DICOM writes an age.
_YEARS = re.compile(r"\d{3}Y")

_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


class Subgroups(NamedTuple):
    """Divisions of the cases of a test set.

    Attributes:
        columns: name to the group of each case, (n,) categorical in the order of the groups, with missing
            values. The names of the categories are those in :func:`monai_sf.tables.by_group`.
        left_out: name of a column that is none, to why.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import Subgroups, subgroups_of
        >>> columns = {"sex": ["f", "m", "F", "m"], "patient_id": ["p1", "p2", "p3", "p4"]}
        >>> run = Results.from_arrays(
        ...     [[4.0, 0], [3, 0], [0, 1], [0.5, 0]], [0, 0, 0, 1], columns=columns
        ... )
        >>> found: Subgroups = subgroups_of(run, "iid")
        >>> found.columns["sex"].tolist()
        ['F', 'm', 'F', 'm']
        >>> found.left_out
        {'patient_id': 'ids'}
    """

    columns: Mapping[str, pd.Series[Any]]
    left_out: Mapping[str, str]


def subgroups_of(results: Results, test_set: str) -> Subgroups:
    """Return how class and case table divide the cases of a test set.

    Suitable are text, categories and booleans of 2 to 30 values (spellings that differ only in case and
    blanks are one), and numbers, also stored as text with words for what is missing: up to 10 different ones
    as they are, more in bins, which are the same for all test sets of a run (decades of an age, else quarters
    of the cases). Left out are ids, paths, dates, what identifies persons, what is the same in all cases, and
    what divides them like the class or an earlier column.

    Args:
        results: the results of a run.
        test_set: name of one of its test sets.

    Raises:
        ResultsError: there is no such test set.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import subgroups_of
        >>> columns = {"age": [31, 35, 52, 58, 64, 67, 70, 75, 77, 79, 81, 83]}
        >>> run = Results.from_arrays([[2.0, 0]] * 12, [0, 1] * 6, columns=columns)
        >>> subgroups_of(run, "iid").columns["age"].value_counts(sort=False).to_dict()
        {'30 to 39': 2, '50 to 59': 2, '60 to 69': 2, '70 to 79': 4, '80 to 89': 2}
    """
    if test_set not in results.test_sets:
        raise ResultsError(f"test_set must be one of {sorted(results.test_sets)}, got {test_set!r}")
    rows = results.test_sets[test_set].rows
    columns: dict[str, pd.Series[Any]] = {}
    left_out: dict[str, str] = {}
    known: dict[bytes, str] = {}
    for name, found in _candidates(results):
        if isinstance(found, str):
            left_out[name] = found
            continue
        values = found.iloc[rows].reset_index(drop=True).cat.remove_unused_categories()
        n_values = len(values.cat.categories) + int(values.isna().any())
        pattern = _pattern(values)
        if n_values < 2:
            left_out[name] = "the same in all cases"
        elif len(values.cat.categories) > MOST_VALUES:
            left_out[name] = f"{len(values.cat.categories)} different values, more than {MOST_VALUES}"
        elif pattern in known:
            left_out[name] = f"divides the cases as {known[pattern]} does"
        else:
            known[pattern] = name
            columns[name] = values
    return Subgroups(columns, left_out)


def _candidates(results: Results) -> Iterator[tuple[str, pd.Series[Any] | str]]:
    """Yield the name of every division with the group of each case of the run, or why it is none."""
    if results.is_classification:
        yield CLASS, _classes(results)
    groups = _pattern(results.cases["group"]) if "group" in results.cases else None
    for name, values in results.cases.items():
        own = str(name)
        if own in _STRUCTURE:
            continue
        found: pd.Series[Any] | str = _why_not(own, values)
        if not found:
            # measurements may differ between any two patients, but whole numbers and texts are ids then
            is_id = not _has_fractions(values) and _pattern(values) == groups
            found = "divides the cases as group does" if is_id else _divided(own, values)
        yield (f"column {own}" if own == CLASS else own), found


def _classes(results: Results) -> pd.Series[Any]:
    """Return the class of each case; cases of a class that the classifier does not have keep its name."""
    names = [str(name) for name in results.run["class_names"]]
    labels = results.cases["label"].to_numpy(np.int64)
    others = results.cases["label_name"] if "label_name" in results.cases else [MISSING] * len(labels)
    texts = [names[label] if label >= 0 else str(o) for label, o in zip(labels, others, strict=True)]
    return _categories(texts, [*names, *sorted(set(texts) - set(names))])


def _why_not(name: str, values: pd.Series[Any]) -> str:
    """Return why a column of the case table holds no groups; empty if it does."""
    if is_identifying(name):
        return "paths, dates, or what identifies a person"
    if _IDS.search(name):
        return "ids"
    if values.dtype.kind in "mM" or _DATES.search(name):
        return "dates"
    if values.dtype.kind in "iuf" and not pd.api.types.is_bool_dtype(values.dtype):
        return ""
    texts = [v for v in values.dropna().tolist() if not (_is_number(v) or isinstance(v, bool | np.bool_))]
    if others := [value for value in texts if not isinstance(value, str)]:
        return f"holds values of the type {type(others[0]).__name__}"
    different = set(texts)
    if len(different) > _FREE_TEXT:
        return f"{len(different)} different texts"
    if any(redacted_text(text) != text for text in different):
        return "paths, addresses or hosts"
    if different and all(_DATE.fullmatch(text.strip()) for text in different if text.strip()):
        return "dates"
    return ""


def _divided(name: str, values: pd.Series[Any]) -> pd.Series[Any] | str:
    """Return the group of each case as a categorical, or why there is none."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _spelled(_texts(values), [_text(value) for value in values.cat.categories])
    numbers = _numbers(values)
    if numbers is None:
        texts = _texts(values)
        return _spelled(texts, in_order({text for text in texts if text is not None}))
    different = np.unique(numbers[~np.isnan(numbers)])
    if len(different) <= MOST_NUMBERS:
        return _categories(_texts(pd.Series(numbers)), [_text(value) for value in different.tolist()])
    if len(different) > max(100, 0.9 * len(numbers)) and (different == np.round(different)).all():
        return f"{len(different)} different whole numbers, which look like ids"
    if _AGE.search(name) and different[0] >= 0 and different[-1] <= 130:
        edges = 10 * np.arange(math.floor(different[0] / 10), math.floor(different[-1] / 10) + 1)
        titles = [f"{edge} to {edge + 9}" for edge in edges]
    else:
        edges = np.unique(np.nanquantile(numbers, np.arange(_QUARTERS) / _QUARTERS, method="higher"))
        titles = _ranges(different, edges)
    place = np.where(np.isnan(numbers), 0, np.searchsorted(edges, numbers, side="right") - 1)
    gone = np.isnan(numbers).tolist()
    return _categories([None if g else titles[i] for g, i in zip(gone, place.tolist(), strict=True)], titles)


def _ranges(different: NDArray[np.float64], edges: NDArray[np.float64]) -> list[str]:
    """Return names of bins from the smallest to the largest number in each, with as many digits as needed."""
    last = different[np.searchsorted(different, [*edges[1:], np.inf]) - 1]
    whole = len(str(int(np.abs(different).max())))  # digits before the point
    shown: list[str] = []
    for digits in (max(3, whole), max(6, whole), 17):
        pairs = [(f"{low:.{digits}g}", f"{high:.{digits}g}") for low, high in zip(edges, last, strict=True)]
        shown = [low if low == high else f"{low} to {high}" for low, high in pairs]
        if len(set(shown)) == len(shown):
            break
    return shown


def _numbers(values: pd.Series[Any]) -> NDArray[np.float64] | None:
    """Return numbers with NaN for what is missing or infinite, None for a column of something else."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return None
    if values.dtype.kind not in "iuf" and not pd.api.types.is_numeric_dtype(values.dtype):
        found = list(map(_number, values.tolist()))
        known = [number for number in found if number is not None]
        if len(known) < len(found) or all(map(math.isnan, known)):
            return None
        values = pd.Series(known)
    numbers = pd.to_numeric(values).to_numpy(np.float64, na_value=math.nan)
    return np.where(np.isfinite(numbers), numbers, math.nan)


def _number(value: Any) -> float | None:
    """Return a number, also one that is stored as text; NaN for a missing value, None for anything else."""
    if isinstance(value, str):
        return _number_in(value)
    if _is_number(value):
        try:
            return float(value)
        except OverflowError:  # a whole number beyond all floats, which as text is infinite, too
            return math.inf
    return math.nan if is_absent(value) else None


@lru_cache(maxsize=4096)  # a column repeats its texts
def _number_in(text: str) -> float | None:
    if _YEARS.fullmatch(text := text.strip()):
        return float(text[:3])
    if _DECIMAL.fullmatch(text):
        return float(text)
    return math.nan if canonical_id(text) is None else None


def _has_fractions(values: pd.Series[Any]) -> bool:
    numbers = _numbers(values)
    return numbers is not None and bool((numbers % 1 > 0).any())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    """Return the name of a group, None for a missing one."""
    name = group_name(value)
    return None if name == MISSING else name


def _texts(values: pd.Series[Any]) -> list[str | None]:
    return [_text(value) for value in values.tolist()]


def _spelled(texts: Sequence[str | None], order: Iterable[str | None]) -> pd.Series[Any]:
    """Return categories in which spellings that differ in case only are one, named by the commonest."""
    names: dict[str, str] = {}
    for text, _ in sorted(Counter(filter(None, texts)).items(), key=lambda item: (-item[1], item[0])):
        names.setdefault(text.casefold(), text)
    one = [None if text is None else names[text.casefold()] for text in texts]
    return _categories(one, [names[t.casefold()] for t in order if t is not None and t.casefold() in names])


def _categories(texts: Sequence[str | None], order: Iterable[str | None]) -> pd.Series[Any]:
    categories = [text for text in dict.fromkeys(order) if text is not None]
    return pd.Series(list(texts), dtype=pd.CategoricalDtype(categories))


def _pattern(values: pd.Series[Any]) -> bytes:
    """Return the same for all columns that divide the cases alike, whatever they call the groups."""
    return pd.factorize(values, use_na_sentinel=False)[0].tobytes()
