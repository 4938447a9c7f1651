"""What is checked of a case table before it is split, and of one that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from monai_sf.datasets.texts import distinct, is_text
from monai_sf.vocabulary.ids import Groups, group_cases, is_absent
from monai_sf.vocabulary.shifts import UNKNOWN

__all__ = ["CODES", "SPLITS", "check_cases", "check_sets", "check_sides", "check_splits", "checked_codes"]

SPLITS = ("train", "val", "calibration", "iid", "target")
#: The place of each among them, as which arrays hold them.
CODES = {name: code for code, name in enumerate(SPLITS)}
_COLUMNS = ("case_id", "image", "label", "label_name", "group", "source")

_MOST_LISTED = 50


def checked_codes(column: pd.Series) -> npt.NDArray[np.int8]:
    """Return the place of each cell (N,) among the splits.

    Raises:
        ValueError: A cell names none.
    """
    place, found = pd.factorize(column, use_na_sentinel=False)
    names = [*map(str, found)]
    if unknown := sorted({*names} - {*SPLITS}):
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {', '.join(unknown)}")
    return np.array([CODES[name] for name in names], np.int8)[place]


def check_cases(cases: pd.DataFrame, needed: Sequence[str] = ()) -> None:
    """Check that a case table can be split.

    Args:
        cases: Case table.
        needed: Further columns that are required, without missing values.

    Raises:
        ValueError: Names the fault: missing columns (all of them), no rows, missing values, duplicate
            ``case_id``, a label that is neither an integer from 0 nor -1, or labels and label names that do
            not match. The label -1, of none of the classes, may have several names.
    """
    absent = [name for name in (*_COLUMNS, *needed) if name not in cases.columns]
    if absent:
        raise ValueError(
            f"case table lacks the columns {', '.join(absent)}; it has {', '.join(map(str, cases))}"
        )
    if cases.empty:
        raise ValueError("case table is empty")
    holes = cases[["case_id", "label", "label_name", *needed]].isna().sum()
    if holes.any():
        listed = ", ".join(f"{name} ({count})" for name, count in holes[holes > 0].items())
        raise ValueError(f"case table has missing values (number of rows): {listed}")
    _check_unique(cases["case_id"])
    _check_labels(cases["label"], cases["label_name"])


def _check_unique(case_id: pd.Series) -> None:
    doubtful = case_id[~case_id.str[:1].str.isalnum().to_numpy(np.bool_)] if is_text(case_id) else case_id
    if absent := sum(map(is_absent, doubtful.tolist())):
        raise ValueError(f"{absent} case_id are empty")
    if is_text(case_id) and distinct(case_id):
        return
    text = case_id.astype(str)  # as it will be written and read again: 1 and "1" are the same
    twice = text[text.duplicated()].unique()
    if len(twice):
        raise ValueError(f"{len(twice)} case_id are not unique (first: {', '.join(map(str, twice[:5]))})")


def _check_labels(label: pd.Series, label_name: pd.Series) -> None:
    number = pd.to_numeric(label, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~((number >= UNKNOWN) & (number == np.floor(number)))
    if wrong.any():
        raise ValueError(
            f"label must be an integer from 0 to C - 1, or -1 for none of the classes; {wrong.sum()} are not "
            f"(first: {label.to_numpy()[wrong][:5].tolist()})"
        )
    pairs = pd.DataFrame({"label": number.astype(np.int64), "label_name": label_name.array}).drop_duplicates()
    for column, other in (("label", "label_name"), ("label_name", "label")):
        twice = pairs[pairs[column].duplicated() & ((column != "label") | (pairs["label"] != UNKNOWN))]
        if len(twice):
            value = twice[column].iloc[0]
            others = pairs[other][pairs[column] == value].tolist()
            raise ValueError(f"{column} {value} has more than one {other}: {others}")


def check_splits(splits: pd.DataFrame, *, expect_target: bool | None = None) -> None:
    """Check a case table with the column ``split`` for leaks and unusable sets.

    Args:
        splits: Case table with ``case_id``, ``label``, ``group`` and ``split``.
        expect_target: Whether there must be a target set. Default: it is checked if there is one.

    Raises:
        ValueError: If a group (in any spelling) is in two splits, a ``case_id`` is not unique, a split has an
            unknown name, train, val, iid (and target), but not calibration, are empty or hold fewer than two
            classes (a target set of label -1 alone is that of new classes), or others than target hold -1.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import check_splits
        >>> splits = pd.DataFrame({"split": ["train", "train", "val", "val", "iid", "iid"]})
        >>> splits["case_id"], splits["label"] = list("abcdef"), [0, 1] * 3
        >>> splits["group"] = ["Ann", "Bob", "Cem", "Dan", "Eva", "ANN"]
        >>> check_splits(splits)
        Traceback (most recent call last):
        ...
        ValueError: 1 groups are in more than one split:
          ANN: iid, train
    """
    absent = [name for name in ("case_id", "label", "group", "split") if name not in splits.columns]
    if absent:
        raise ValueError(
            f"case table lacks the columns {', '.join(absent)}; it has {', '.join(map(str, splits))}"
        )
    checked_codes(splits["split"])
    _check_unique(splits["case_id"])
    check_sides(splits, group_cases(splits["group"], splits["case_id"]))
    check_sets(splits, expect_target=expect_target)


def check_sides(splits: pd.DataFrame, groups: Groups) -> None:
    """Raise ValueError if a group of the cases (N,) is in two splits; names the groups and the splits."""
    side, sides = pd.factorize(splits["split"])
    pairs = np.unique(groups.of_case * len(sides) + side)  # a groupby takes many times as long
    leaking = np.flatnonzero(np.bincount(pairs // len(sides)) > 1)
    if len(leaking):
        first = [(groups.names[k], splits["split"][groups.of_case == k]) for k in leaking[:_MOST_LISTED]]
        listed = [f"{name}: {', '.join(sorted(set(split)))}" for name, split in first]
        more = f"\n  and {len(leaking) - _MOST_LISTED} more" if len(leaking) > _MOST_LISTED else ""
        raise ValueError(
            f"{len(leaking)} groups are in more than one split:\n  " + "\n  ".join(listed) + more
        )


def check_sets(
    splits: pd.DataFrame, *, expect_target: bool | None, why: str = "", ways: Sequence[str] = ()
) -> None:
    """Raise ValueError for every set that cannot be used.

    Args:
        splits: See :func:`check_splits`.
        expect_target: See :func:`check_splits`.
        why: What is added to the faults.
        ways: What helps, besides further cases.
    """
    splits = splits[[c for c in ("case_id", "label", "label_name", "split") if c in splits]]
    present = set(splits["split"].unique())
    expect_target = expect_target or "target" in present
    wanted = ("train", "val", "iid", *(("target",) if expect_target else ()))
    name_of_class = "label_name" if "label_name" in splits else "label"
    faults = []
    stray = splits["case_id"][(splits["label"] == UNKNOWN) & (splits["split"] != "target")]
    if len(stray):
        faults.append(f"{len(stray)} cases of no class are not in target: {', '.join(map(str, stray[:10]))}")
    for name in wanted:
        own = splits[splits["split"] == name]
        new = name == "target" and len(own) and (own["label"] == UNKNOWN).all()
        if own["label"].nunique() < 2 and not new:
            found = f"only class {own[name_of_class].iloc[0]!r}" if len(own) else "no case at all"
            faults.append(f"split {name!r} needs cases of at least two classes, it has {found}")
    if faults:
        ways = ("add cases, of several groups (patients) of every class", *ways)
        raise ValueError(f"{'; '.join(faults)}{why}. What helps: {', or '.join(ways)}")
