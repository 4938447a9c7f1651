"""Deep ensembles: the mean softmax of runs that differ in the seed only.

Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles", NeurIPS 2017.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.results.format import PRECISION, SCORES, ResultsError
from monai_sf.results.given_numbers import log_softmax_of, mean_and_entropy
from monai_sf.results.test_set import TestSet
from monai_sf.vocabulary.config_keys import PLACES, TRACKING
from monai_sf.vocabulary.ids import case_keys, group_cases

Rows = NDArray[np.int64]

#: Keys of run.json that must be equal; ``trained_on`` identifies training and validation cases.
_EQUAL = (
    *("dataset", "study", "method", "class_names", "data_kind", "role", "split_counts", "trained_on"),
    PRECISION,
)
#: Keys of run.json that describe a single run or its folder.
_OWN = frozenset(
    (
        *("seed", "config", "sha256", "thresholds", "not_fitted", SCORES),
        *("format", "format_version", "test_sets", "files", "digest"),
    )
)
#: Numbers that are computed at once, and the largest array in bytes that is held in memory.
_BLOCK, _IN_MEMORY = 1 << 18, 1 << 26


class Member(NamedTuple):
    """A run of an ensemble: the attributes of its results."""

    run: Mapping[str, Any]
    cases: pd.DataFrame
    test_sets: Mapping[str, TestSet]


def parts_of_ensemble(
    runs: Sequence[Member],
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, TestSet]]:
    """Return description, case table and test sets of the ensemble of runs that differ in the seed only.

    The cases of a test set stand in the order of the run with the smallest seed, and have its pictures.
    Members may have them in another order: cases are matched by their canonical ids.

    Raises:
        ResultsError: fewer than two runs, or runs that are no ensemble; names all differences.
    """
    members = sorted(runs, key=lambda member: int(member.run["seed"]))
    if len(members) < 2:
        raise ResultsError(f"an ensemble needs at least two runs, got {len(members)}")
    first, *others = members
    rows_of = [np.arange(len(first.cases)), *(_rows_in(first.cases, other.cases) for other in others)]
    faults = [
        f"seed {seed} occurs {count} times"
        for seed, count in Counter(member.run["seed"] for member in members).items()
        if count > 1
    ]
    for other, rows in zip(others, rows_of[1:], strict=True):
        found = [*_other_description(first.run, other.run), *_other_cases(first, other, rows)]
        if found:
            faults.append(
                f"seed {other.run['seed']} differs from seed {first.run['seed']}: {', '.join(found)}"
            )
    without = {name for m in members for name, s in m.test_sets.items() if "logits" not in s.arrays}
    if without:
        faults.append(f"no logits in {', '.join(sorted(without))}")
    if faults:
        raise ResultsError(f"these runs are no ensemble: {'; '.join(faults)}")
    test_sets = {
        name: _combined(
            [member.test_sets[name] for member in members],
            [
                _order(first.test_sets[name], m.test_sets[name], r)
                for m, r in zip(members, rows_of, strict=True)
            ],
        )
        for name in first.test_sets
    }
    return _description([member.run for member in members]), first.cases, test_sets


def _description(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = runs[0]
    seeds = [int(run["seed"]) for run in runs]
    run = {**_common(runs, _OWN), "seed": seeds[0], "members": seeds}
    if all(isinstance(run.get("config"), Mapping) for run in runs):
        run["config"] = _common([run["config"] for run in runs], frozenset({"seed"}))
    return {key: run[key] for key in (*first, "members") if key in run}


def _common(parts: Sequence[Mapping[str, Any]], left_out: frozenset[str]) -> dict[str, Any]:
    first, *others = parts
    return {
        key: value
        for key, value in first.items()
        if key not in left_out and all(key in other and other[key] == value for other in others)
    }


def _other_description(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = {"trained_on": "training or validation cases", "split_counts": "sizes of the split"}
    found = []
    for key in _EQUAL:
        a, b = first.get(key), other.get(key)
        if (list(a) if isinstance(a, tuple) else a) != (list(b) if isinstance(b, tuple) else b):
            found.append(names.get(key, f"{key} ({b!r:.60}, not {a!r:.60})"))
    one, two = first.get("config"), other.get("config")
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        nothing = object()
        keys = sorted(
            key
            for key in (one.keys() | two.keys()) - PLACES - TRACKING - {"seed", "tracking"}
            if one.get(key, nothing) != two.get(key, nothing)
        )
        if keys:
            found.append(f"config ({', '.join(keys)})")
    return found


def _rows_in(first: pd.DataFrame, other: pd.DataFrame) -> Rows:
    """Return the row of the first case table for every case of the other one, -1 if it is not there."""
    if first["case_id"].equals(other["case_id"]):  # the usual case, and far faster
        return np.arange(len(first))
    place = {key: row for row, key in enumerate(case_keys(first["case_id"]))}
    return np.array([place.get(key, -1) for key in case_keys(other["case_id"])], np.int64)


def _other_cases(first: Member, other: Member, rows: Rows) -> list[str]:
    found = []
    if lacking := sorted(first.test_sets.keys() - other.test_sets.keys()):
        found.append(f"lacks the test sets {', '.join(lacking)}")
    if more := sorted(other.test_sets.keys() - first.test_sets.keys()):
        found.append(f"has further test sets {', '.join(more)}")
    common = [name for name in first.test_sets if name in other.test_sets]
    unlike = [name for name in common if _kind(first.test_sets[name]) != _kind(other.test_sets[name])]
    if unlike:
        found.append(f"other kinds of the test sets {', '.join(unlike)}")
    moved = [name for name in common if _order(first.test_sets[name], other.test_sets[name], rows) is None]
    if moved:
        found.append(f"other cases in {', '.join(moved)}")
    there = rows >= 0
    # results of errors have no labels, nor logits, which is said elsewhere
    labels = [m.cases.get("label", pd.Series(0, m.cases.index)).to_numpy() for m in (first, other)]
    if count := int((labels[0][rows[there]] != labels[1][there]).sum()):
        found.append(f"other labels of {count} cases")
    if count := _other_groups(first.cases, other.cases, rows):
        found.append(f"other groups (patients) of {count} cases")
    return found


def _kind(test_set: TestSet) -> tuple[str, str | None, int]:
    return test_set.kind, test_set.corruption, test_set.severity


def _other_groups(first: pd.DataFrame, other: pd.DataFrame, rows: Rows) -> int:
    """Return the number of cases of the other table whose groups are other ones in the first."""
    one, two = first.get("group"), other.get("group")
    unchanged = (one is None and two is None) or (one is not None and two is not None and one.equals(two))
    if unchanged and np.array_equal(rows, np.arange(len(first))):
        return 0  # the usual case, and far faster
    groups = [group_cases(one, first["case_id"]), group_cases(two, other["case_id"])]
    ids = [found.ids[found.of_case] for found in groups]
    there = rows >= 0
    return int((ids[0][rows[there]] != ids[1][there]).sum())


def _order(first: TestSet, other: TestSet, rows: Rows) -> Rows | None:
    """Return the position in the other test set of every entry of the first; None if their cases differ."""
    there = rows[other.rows]
    if len(there) != len(first.rows) or (there < 0).any():
        return None
    if not len(there):
        return there
    place = np.full(max(there.max(), first.rows.max()) + 1, -1, np.int64)
    place[there] = np.arange(len(there))
    order: Rows = place[first.rows]
    return None if (order < 0).any() else order


def _combined(sets: Sequence[TestSet], orders: Sequence[Rows | None]) -> TestSet:
    first = sets[0]
    logits = [test_set.arrays["logits"] for test_set in sets]
    shape = logits[0].shape
    entropy = np.empty(shape[0], np.float32)
    size = max(1, _BLOCK // (len(sets) * shape[1]))

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, shape[0], size):
            part = slice(start, start + size)
            own = [
                log_softmax_of(np.asarray(values[order[part]], np.float64))
                for values, order in zip(logits, orders, strict=True)
                if order is not None
            ]
            mean, entropy[part] = mean_and_entropy(np.stack(own))
            yield mean.astype(np.float32)

    arrays: dict[str, NDArray[Any]] = {"ensemble_log_softmax": _kept(blocks(), shape)}
    arrays["ensemble_entropy"] = entropy
    if "images" in first.arrays:
        arrays["images"] = first.arrays["images"]
    return TestSet(first.name, first.kind, first.rows, arrays, first.corruption, first.severity)


def _kept(blocks: Iterator[NDArray[np.float32]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the blocks as one array, in memory or, if it is large, in a temporary file without a name."""
    if 4 * shape[0] * shape[1] <= _IN_MEMORY:
        return np.concatenate([np.empty((0, shape[1]), np.float32), *blocks])
    with tempfile.TemporaryFile() as file:
        for block in blocks:  # written before it is mapped: a full disk is an error, and no crash
            file.write(block.tobytes())
        file.flush()
        return np.memmap(file, np.float32, "r", shape=shape)
