"""Classes of a table of one's own: from texts, whole numbers, or a list."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_sf.datasets.conditions import did_you_mean
from monai_sf.datasets.faults import Faults
from monai_sf.vocabulary.shifts import UNKNOWN

__all__ = ["Labels", "read_classes"]

_INTEGER = re.compile("-?[0-9]{1,15}")
_DIGITS = re.compile("[0-9]+")
_FEW = 20
_RARE = 5
_MOST_COMPARED = 200  # pairs of names cost time
_NEAR = 0.8


@dataclass(frozen=True)
class Labels:
    """The classes of N cases.

    Attributes:
        label: (N,) int64 in 0..C-1, or -1 for none of the classes.
        label_name: (N,) names of the classes, or the labels that are none of them.
        names: (C,) names of the classes.
        notes: What to say about them.
    """

    label: npt.NDArray[np.int64]
    label_name: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]


def read_classes(
    texts: Sequence[str | None],
    column: str,
    classes: Sequence[Any] | None,
    faults: Faults,
    unknown: Sequence[Any] = (),
) -> Labels:
    """Return the class of each case.

    Args:
        texts: (N,) cells of the column of labels; empty ones are a fault.
        column: Its name.
        classes: Names of the classes in their order. A column of numbers 0..C-1 that are none of the names
            holds their places. None: all texts that occur, in alphabetical order, or, where all are whole
            numbers, by number.
        faults: Takes what is wrong: empty cells, labels that are none of the classes, classes that differ in
            spelling only, fewer than two, an unknown label that no case has.
        unknown: Labels that are none of the classes, which are never trained on and get the label -1.

    Raises:
        ValueError: The names of classes or unknown labels cannot be names, or one is both.
    """
    others = _given_unknown(unknown, classes)
    faults.rows(f"column {column!r}: no label", [k for k, text in enumerate(texts) if text is None], texts)
    every = Counter(text for text in texts if text is not None)
    counts = Counter({text: count for text, count in every.items() if text not in others})
    if absent := [f"{name!r}{did_you_mean(name, list(every))}" for name in others if name not in every]:
        faults.add(f"column {column!r}: no case has the unknown label {', '.join(absent)}")
    if classes is None:
        names = _found(counts)
        _check_found(every, names, others, column, len(texts), faults)
        place = {name: k for k, name in enumerate(names)}
    else:
        names = _given(classes)
        place = {name: k for k, name in enumerate(names)}
        if not counts.keys() & place.keys():
            place = {str(k): k for k in range(len(names))}
            if not counts.keys() <= place.keys():
                place = {name: k for k, name in enumerate(names)}
        known = f"none of the classes {', '.join(map(repr, names))}"
        likely = [*names, *others]
        shown = {text: f"{text!r}{did_you_mean(text, likely)}" for text in counts if text not in place}
        faults.rows(
            f"column {column!r}: label is {known}",
            [k for k, text in enumerate(texts) if text in shown],
            [None if text is None else shown.get(text) for text in texts],
        )
    label = np.array([UNKNOWN if text is None else place.get(text, UNKNOWN) for text in texts], np.int64)
    often = np.bincount(label[label >= 0], minlength=len(names))
    notes = [
        "classes, in this order: "
        + ", ".join(f"{k} {name!r} ({often[k]} cases)" for k, name in enumerate(names[:_FEW]))
        + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
    ]
    if absent := [name for k, name in enumerate(names) if not often[k]]:
        notes.append(f"{len(absent)} classes have no case: {', '.join(map(repr, absent[:_FEW]))}")
    if others:
        listed = ", ".join(f"{name!r} ({every[name]} cases)" for name in others)
        notes.append(f"none of the classes, never trained on: {listed}")
    if classes is None:
        notes += _misspelt(texts, names, every, faults)
    label_name = tuple(
        str(text) if k == UNKNOWN else names[k] for text, k in zip(texts, label.tolist(), strict=True)
    )
    return Labels(label, label_name, tuple(names), tuple(notes))


def _given_unknown(unknown: Sequence[Any], classes: Sequence[Any] | None) -> list[str]:
    if isinstance(unknown, str):
        raise ValueError(f"unknown must be a list of labels, got {unknown!r}")
    names = _texts(unknown, "unknown")
    if both := [name for name in names if name in [str(one).strip() for one in classes or ()]]:
        raise ValueError(f"{', '.join(map(repr, both))} cannot be both a class and unknown")
    return names


def _misspelt(
    texts: Sequence[str | None], names: Sequence[str], counts: Counter[str], faults: Faults
) -> list[str]:
    """Return a warning of each class with very few cases that is spelled almost like a label with more."""
    found: list[str] = []
    if len(counts) > _MOST_COMPARED:
        return found
    for rare in sorted(name for name in names if counts[name] < _RARE):
        # grade 1 and grade 2 are two classes
        more = {
            name.casefold(): name
            for name, count in counts.items()
            if count > counts[rare] and _DIGITS.sub("", name) != _DIGITS.sub("", rare)
        }
        if close := get_close_matches(rare.casefold(), more, n=1, cutoff=_NEAR):
            rows = ", ".join(faults.row(k) for k, text in enumerate(texts) if text == rare)
            other = more[close[0]]
            found.append(
                f"warning: is the class {rare!r} ({counts[rare]} cases: {rows}) a misspelt {other!r} "
                f"({counts[other]} cases)? Correct it in the table, or name the classes with classes=[...]"
            )
    return found


def _found(counts: Counter[str]) -> list[str]:
    if all(map(_INTEGER.fullmatch, counts)):
        return sorted(counts, key=lambda text: (int(text), text))
    return sorted(counts)


def _given(classes: Sequence[Any]) -> list[str]:
    if isinstance(classes, str) or len(classes) < 2:
        raise ValueError(f"classes must name at least two classes, got {classes!r}")
    return _texts(classes, "classes")


def _texts(given: Sequence[Any], what: str) -> list[str]:
    names = [str(name).strip() for name in given]
    if wrong := [one for one in given if one is None or isinstance(one, bool) or not str(one).strip()]:
        raise ValueError(f"{what} must be texts, got {wrong[0]!r}; put it in quotes")
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise ValueError(f"{what} must differ, got several times {', '.join(map(repr, twice))}")
    return names


def _check_found(
    counts: Counter[str],
    names: Sequence[str],
    others: Sequence[str],
    column: str,
    n_rows: int,
    faults: Faults,
) -> None:
    spellings = defaultdict(list)
    for name in (*names, *others):
        number = str(int(name)) if _INTEGER.fullmatch(name) else name
        spellings[" ".join(number.casefold().split())].append(name)
    alike = [
        " and ".join(f"{name!r} ({counts[name]} rows)" for name in own)
        for own in spellings.values()
        if len(own) > 1
    ]
    if alike:
        faults.add(
            f"column {column!r}: classes that differ in spelling only: {'; '.join(alike)}. Spell each in one "
            "way, or name all with classes=[...]"
        )
    if counts and len(names) < 2:
        found = f"one class only, {names[0]!r}" if names else "no class beside the unknown labels"
        faults.add(f"column {column!r} has {found}: there is nothing to tell apart")
    if len(names) > max(_FEW, n_rows // 2):
        faults.add(
            f"column {column!r} has {len(names)} different labels in {n_rows} rows: is it the column of "
            "labels? If it is, name the classes with classes=[...]"
        )
