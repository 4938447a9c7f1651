"""Case table and test sets from columns and names that a user gives."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.results.format import ResultsError, check_text, some
from monai_sf.results.given_numbers import plain
from monai_sf.results.test_set import TestSet
from monai_sf.vocabulary.ids import canonical_ids, case_notes, group_cases
from monai_sf.vocabulary.shifts import NEW_CLASS, TARGET_KINDS, UNKNOWN, corruption_of, is_corruption_name

_logger = logging.getLogger(__name__)

#: Columns of the case table that are made from the other arguments.
_OWN_COLUMNS = ("case_id", "label", "label_name")


def columns_of(given: Mapping[str, Sequence[Any]] | pd.DataFrame | None) -> dict[str, list[Any]]:
    """Return columns by name, their entries by position."""
    if given is None:
        return {}
    pairs = [(str(name), _entries(values)) for name, values in given.items()]
    twice = sorted({name for name, count in Counter(name for name, _ in pairs).items() if count > 1})
    if twice:
        raise ResultsError(f"columns must have different names; these occur twice: {twice}")
    found = dict(pairs)
    if own := [name for name in _OWN_COLUMNS if name in found]:
        raise ResultsError(
            f"columns must not hold {own}, which name cases and classes in every case table; rename or drop "
            "them"
        )
    return found


def _entries(values: Any) -> list[Any]:
    """Return the entries of a sequence, with Python numbers for tensors of one value."""
    return [
        entry.item() if hasattr(entry, "detach") and entry.ndim == 0 else entry for entry in plain(values)
    ]


def listed(name: str, given: Sequence[Any], n: int) -> list[Any]:
    """Return the n entries of a sequence."""
    values = _entries(given)
    if len(values) != n:
        raise ResultsError(f"{name} must have {n} entries (one per case), got {len(values)}")
    return values


def labelled(
    labels: NDArray[Any], names: Sequence[str], kinds: Sequence[str], ids: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return label and name of the class of every entry; those of new classes are all -1.

    Args:
        labels: (n,) integers; in test sets of new classes any outside 0..C-1.
        names: of the C classes.
        kinds: (n,) of the test sets, where they were given.
        ids: (n,) of the cases, for messages.

    Raises:
        ResultsError: an entry of a test set of new classes has one of the classes; names the cases.
    """
    new = np.array([kind == NEW_CLASS for kind in kinds], np.bool_)
    inside = (labels >= 0) & (labels < len(names))
    if (wrong := new & inside).any():
        raise ResultsError(
            f"labels of domains of kind {NEW_CLASS} must be outside 0..{len(names) - 1}, such as {UNKNOWN}: "
            f"their cases are of none of the classes; {wrong.sum()} are not: "
            f"{some([ids[i] for i in np.flatnonzero(wrong).tolist()])}"
        )
    named = np.array(
        [
            names[label] if ok else f"class {label}" if label >= 0 else "unknown"
            for label, ok in zip(labels.tolist(), inside, strict=True)
        ],
        object,
    )
    signed = labels.astype(np.int64)  # an unsigned label cannot be -1
    return np.where(new, UNKNOWN, signed), named


def case_table(
    ids: list[str],
    known: tuple[NDArray[np.int64], NDArray[np.object_]] | None,
    columns: Mapping[str, Sequence[Any]],
    n: int,
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return the case table, one row per id, and the row of every entry.

    Labels and their names are None without classes.
    """
    rows, unique = pd.factorize(pd.Series(ids, dtype=object))
    first = np.zeros(len(unique), np.int64)
    first[rows[::-1]] = np.arange(n)[::-1]
    table: dict[str, Any] = {"case_id": unique}
    if known is not None:
        labels, names = known
        differ = (labels != labels[first[rows]]) | (names != names[first[rows]])
        if unlike := sorted({ids[i] for i in np.flatnonzero(differ)}):
            raise ResultsError(f"labels differ between entries of one case id: {', '.join(unlike[:10])}")
        table["label"] = labels[first]
        table["label_name"] = names[first]
    for name, values in columns.items():
        cells = listed(f"column {name}", values, n)
        chosen_entries = _first_known(cells, ids, rows, first) if name == "group" else first
        table[name] = [cells[i] for i in chosen_entries]
    check_text(table.items())  # before pandas raises its own error
    _check_ids(unique.tolist(), table.get("group"))
    return pd.DataFrame(table), rows.astype(np.int64)


def _first_known(
    groups: list[Any], ids: list[str], rows: NDArray[np.intp], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return each case's entry that names its group; its other entries must name the same, or none."""
    found = canonical_ids(groups)
    entry = first.copy()
    known = np.flatnonzero([one is not None for one in found])[::-1]
    entry[rows[known]] = known
    if unlike := sorted({ids[i] for i in known if found[i] != found[entry[rows[i]]]}):
        raise ResultsError(f"column group differs between entries of one case id: {', '.join(unlike[:10])}")
    return entry


def _check_ids(case_ids: Sequence[str], groups: Sequence[Any] | None) -> None:
    """Refuse a placeholder as id of most patients, and log the notes on the ids."""
    found = group_cases(groups, case_ids)
    try:
        found.check()
    except ValueError as error:
        raise ResultsError(f"column group: {error}") from error
    for note in (*found.notes, *case_notes(case_ids)):
        _logger.warning("%s", note)


def test_sets_of(
    where: list[str], rows: NDArray[np.int64], arrays: Mapping[str, NDArray[Any]], kinds: Mapping[str, str]
) -> dict[str, TestSet]:
    """Return the test sets by name, in the order of their first entries."""
    unknown = [kind for kind in kinds.values() if kind not in TARGET_KINDS]
    if unknown:
        raise ResultsError(f"kinds must be among {TARGET_KINDS}, got {unknown}")
    targets = {d for d in where if d != "iid" and corruption_of(d) is None}
    absent = sorted(set(kinds) - targets)
    if absent:
        raise ResultsError(f"kinds must name target domains, {sorted(targets)}; {absent} are not")
    odd = sorted(d for d in targets if is_corruption_name(d))
    if odd:
        raise ResultsError(f'corrupted domains must be "corruption-<kind>-<1 to 5>", got {odd}')
    domain = np.array(where, object)
    alone = len(set(where)) == 1  # then nothing is copied: features may be a memory map larger than memory
    sets = {}
    for name in dict.fromkeys(where):
        members = np.flatnonzero(domain == name)
        corrupted = corruption_of(name)
        kind = "iid" if name == "iid" else "corruption" if corrupted else kinds.get(name, "acquisition")
        sets[name] = TestSet(
            name,
            kind,
            rows[members],
            {key: values if alone else values[members] for key, values in arrays.items()},
            *(corrupted or (None, 0)),
        )
    return sets
