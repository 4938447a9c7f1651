"""Significance of the differences between scores: paired bootstrap over groups (patients).

See :mod:`monai_sf.metrics.paired`. The trained networks are fixed: a small p-value means that other patients
would show the same order, not that another training would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.metrics.paired import difference_of, holm
from monai_sf.tables.aggregate import Column, Unit, column_order, in_column, row_order, select
from monai_sf.tables.cells import Collection, records

LEVEL = 0.95
#: Largest share of undefined resamples, such as those without a failure, that is not noted.
UNDEFINED = 0.01
COLUMNS = (
    "scope", "dataset", "group", "shift", "first", "second", "difference", "low", "high", "p_value", "p_holm",
    "better", "pairs", "note",
)  # fmt: skip


class _Scored(NamedTuple):
    value: float
    resampled: NDArray[np.float64] | None
    fingerprint: str
    group_fingerprint: str


_Place = tuple[Unit, int]  # and seed


def significance(collection: Collection, *, reference: str | None = None) -> pd.DataFrame:
    """Compare scores with intervals and p-values, per column, per shift and per test set.

    Two scores are compared on the cases, test sets and seeds that both have. Their metric is averaged as in
    the table, over seeds and then over test sets, in each resample of the groups. Cases that several test
    sets share (an image and its corruptions, a patient in two test sets) are resampled together.

    Args:
        collection: with resampled values, see :func:`monai_sf.tables.collect`.
        reference: name of a row to compare all others with; None for all pairs.

    Returns:
        One row per comparison: ``scope`` (column, shift or test set), ``dataset``, ``group``, ``shift``
        (for a test set its unit), ``first``, ``second``, ``difference`` (first minus second) with ``low`` and
        ``high`` (95 %), in percentage points, ``p_value`` (two-sided), ``p_holm`` (adjusted for all
        comparisons of the same scope and column), ``better`` (the better one if p_holm < 0.05), ``pairs``
        (number of compared test sets times seeds), ``note`` (what could not be compared). If a test set has a
        single group, or the two runs name other groups for the same cases, there is no interval or p-value.

    Raises:
        ValueError: the reference is not a row of the table, or the collection was not resampled.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import collect, significance
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [1, 0], [0.5, 0], [0, 3], [2, 0]]
        >>> scores = {"mine": [1, 2, 8, 6, 7, 5, 3, 4]}
        >>> run = Results.from_arrays(
        ...     logits, [0, 0, 1, 0, 0, 1, 1, 0], dataset="skin", scores=scores
        ... )
        >>> run.save("runs/seed_0")
        >>> found = significance(
        ...     collect(["runs"], csfs=["MSR", "mine"], n_resamples=200), reference="MSR"
        ... )
        >>> # eight cases show no difference
        >>> found.loc[0, ["first", "second", "better"]].tolist()
        ['mine', 'MSR', '']
        >>> bool(found["low"][0] < found["difference"][0] < found["high"][0])
        True
    """
    cells = select(collection.cells, collection.measure.name)
    rows = row_order(cells)
    if reference is not None and reference not in rows:
        raise ValueError(f"reference must be one of {', '.join(rows)}, got {reference!r}")
    if not collection.n_resamples:
        raise ValueError("the collection holds no resamples: collect with n_resamples of at least 1")
    pairs = (
        [(row, reference) for row in rows if row != reference] if reference else list(combinations(rows, 2))
    )
    found: list[dict[str, Any]] = []
    for per_shift, scope in ((False, "column"), (True, "shift")):
        for column in column_order(cells, per_shift):
            scores = _scores(cells, collection, column)
            found += _family(scope, column, scores, pairs, collection)
            units = sorted({unit for places in scores.values() for unit, _ in places})
            if per_shift and len(units) > 1:
                for unit in units:
                    own = {
                        row: {place: score for place, score in places.items() if place[0] == unit}
                        for row, places in scores.items()
                    }
                    found += _family("test set", (*column[:2], unit.name), own, pairs, collection)
    return pd.DataFrame(found, columns=list(COLUMNS))


def _scores(cells: pd.DataFrame, collection: Collection, column: Column) -> dict[str, dict[_Place, _Scored]]:
    scores: dict[str, dict[_Place, _Scored]] = {}
    for c in records(in_column(cells, column)):
        scores.setdefault(str(c.row), {})[c.unit, c.seed] = _Scored(
            c.value, collection.resampled.get(c.key), c.fingerprint, c.group_fingerprint
        )
    return scores


def _family(
    scope: str,
    column: Column,
    scores: dict[str, dict[_Place, _Scored]],
    pairs: Sequence[tuple[str, str]],
    collection: Collection,
) -> list[dict[str, Any]]:
    """Compare the pairs in one column; the p-values are adjusted together."""
    places = sorted({place for own in scores.values() for place in own})
    compared = [
        {
            "scope": scope,
            "dataset": column[0],
            "group": column[1],
            "shift": column[2] if len(column) == 3 else "",
            "first": first,
            "second": second,
            **_compare(scores[first], scores[second], places),
        }
        for first, second in pairs
        if first in scores and second in scores
    ]
    adjusted = holm([entry["p_value"] for entry in compared])
    for entry, p_value in zip(compared, adjusted, strict=True):
        entry["p_holm"] = float(p_value)
        first_is_less = entry["difference"] < 0
        wins = entry["first" if first_is_less == collection.measure.lower_is_better else "second"]
        entry["better"] = wins if p_value < 1 - LEVEL else ""
    return compared


def _compare(
    first: dict[_Place, _Scored], second: dict[_Place, _Scored], places: Sequence[_Place]
) -> dict[str, Any]:
    """Compare two scores where both were tested on the same cases."""
    result = {**dict.fromkeys(("difference", "low", "high", "p_value"), np.nan), "pairs": 0}
    both = [place for place in places if place in first and place in second]
    same = [place for place in both if first[place].fingerprint == second[place].fingerprint]
    if both and not same:
        return {**result, "note": "tested on different cases"}
    usable = [p for p in same if not np.isnan(first[p].value - second[p].value)]
    note = "" if len(usable) == len(places) else f"on {len(usable)} of {len(places)} test sets and seeds"
    if not usable:
        return {**result, "note": "nothing in common"}
    estimate = _mean_of_units((p, np.asarray(first[p].value - second[p].value)) for p in usable)
    result |= {"difference": 100 * float(estimate), "pairs": len(usable)}
    draws = [(p, first[p].resampled, second[p].resampled) for p in usable]
    alike = all(first[p].group_fingerprint == second[p].group_fingerprint for p in usable)
    if not alike or any(a is None or b is None for _, a, b in draws):
        reason = "a test set has a single group" if alike else "the runs name other groups for the same cases"
        return {**result, "note": "; ".join(filter(None, (note, f"no interval: {reason}")))}
    resampled = _mean_of_units((p, a - b) for p, a, b in draws if a is not None and b is not None)
    if np.isnan(resampled).all():
        return {**result, "note": "not defined in any resample"}
    undefined = float(np.isnan(resampled).mean())
    if undefined > UNDEFINED:
        note = "; ".join(filter(None, (note, f"not defined in {undefined:.0%} of the resamples")))
    found = difference_of(100 * float(estimate), 100 * resampled, LEVEL)
    return {**result, "low": found.low, "high": found.high, "p_value": found.p_value, "note": note}


def _mean_of_units(differences: Iterable[tuple[_Place, NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Mean over seeds per unit, then over units, as in the table."""
    units: dict[Unit, list[NDArray[np.float64]]] = {}
    for (unit, _), values in differences:
        units.setdefault(unit, []).append(values)
    result: NDArray[np.float64] = np.mean([np.mean(values, axis=0) for values in units.values()], axis=0)
    return result


def wins_and_losses(differences: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Count for each score and column how many others it beats and is beaten by, such as "+3 −1".

    Args:
        differences: see :func:`significance`; only the scope "column" is counted.
        columns: columns of the table.

    Returns:
        (rows, columns) of text; empty if a score was not compared.
    """
    own = differences[(differences["scope"] == "column") & differences["p_value"].notna()]
    names = list(dict.fromkeys([*own["first"], *own["second"]]))
    result = pd.DataFrame("", names, pd.MultiIndex.from_tuples(columns))
    for column in columns:
        part = own[(own["dataset"] == column[0]) & (own["group"] == column[1])]
        for name in {*part["first"], *part["second"]}:
            meets = part[(part["first"] == name) | (part["second"] == name)]
            wins = int((meets["better"] == name).sum())
            losses = int((meets["better"] != "").sum()) - wins
            result.loc[name, column] = f"+{wins} −{losses}"
    return result


def verdicts(differences: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Return "better" or "worse" than the reference for each score and column; empty if it may be chance.

    Args:
        differences: see :func:`significance`, with a reference; only the scope "column" is read.
        columns: columns of the table.
    """
    own = differences[differences["scope"] == "column"]
    result = pd.DataFrame("", list(dict.fromkeys(own["first"])), pd.MultiIndex.from_tuples(columns))
    for c in records(own[own["better"] != ""]):
        result.loc[c.first, (c.dataset, c.group)] = "better" if c.better == c.first else "worse"
    return result
