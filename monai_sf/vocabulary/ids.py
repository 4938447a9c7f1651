"""One rule for ids: which spellings mean the same patient, and which mean that nobody knows.

Tables write one patient as ``P1``, ``p1`` or ``P1␠``, as ``007``, ``7`` or ``7.0``, with accents in one
character or two. Whoever compares such ids letter by letter puts one patient into training and test. And
``NaN`` or ``unknown`` is no patient at all, though its cases look like those of one.

The rule. Two ids are one when their canonical spelling is:

- Unicode NFKC (full-width letters are ordinary ones), digits of all scripts as 0 to 9, all dashes as ``-``;
- without characters that nobody sees (zero-width blanks, byte order marks, direction marks, NUL), blanks of
  all kinds trimmed and collapsed to one;
- case folded;
- a whole number without leading zeros and without ``.0``: 7, 7.0, ``"007"`` and ``"7.0"`` are one id. Only
  if the whole id is a number: ``P07`` and ``P7`` differ, as do ``1.10`` and ``1.1``.

Missing are None, NaN, NaT, pandas' NA, what holds nothing but blanks and punctuation (``-``, ``?``, ``--``),
and the words of :data:`MISSING_WORDS`, also in brackets or behind ``#``.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MISSING_WORDS",
    "PLACEHOLDERS",
    "Groups",
    "canonical_id",
    "canonical_ids",
    "case_keys",
    "case_notes",
    "group_cases",
    "is_absent",
]

Objects = NDArray[np.object_]

#: What people write where an id is not known, in canonical spelling.
MISSING_WORDS = frozenset(
    (
        *("", "nan", "nat", "na", "n/a", "n.a", "none", "null", "nil", "unknown", "unk", "undefined"),
        *("missing", "empty", "not available", "not applicable", "not known", "not specified", "no id"),
    )
)
#: What stands in for the ids that were taken out; no patient as soon as it holds most of the cases.
PLACEHOLDERS = frozenset(
    (
        *("0", "-1", "anonymous", "anonymized", "anonymised", "anonym", "anon", "deidentified"),
        *("de-identified", "redacted", "removed", "hidden", "masked", "confidential", "placeholder", "dummy"),
        *("default", "patient", "subject", "person", "id", "test", "tbd", "todo", "other", "various"),
    )
)
_FILLED_UP = re.compile(r"x{2,}|9{3,}")
#: A group is suspected of being no patient from so many cases on, when it holds most of all cases and so many
#: times as many as the next.
_FEW, _TIMES = 10, 5
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.0*)?")
_NUMBER_ENDS = frozenset("0123456789.")
_AROUND = string.punctuation + " "
#: What begins neither a number nor punctuation around a word.
_PLAIN_STARTS = frozenset(string.ascii_lowercase)
_SHOWN = 5
#: Begins the name of a case without an id. Tidied ids never hold two blanks in a row, so none begins so.
_NO_ID = "no id:  "


def canonical_id(value: object) -> str | None:
    """Return the canonical spelling of an id, the same for all that mean one; None where it is missing."""
    return _canonical(_tidy(_text(value)))


def is_absent(value: object) -> bool:
    """Return whether there is no id at all: None, NaN, NaT, NA, or nothing that can be seen.

    Words such as "unknown" are text, which may be the name of a case.
    """
    if isinstance(value, str) and value[:1].isalnum():
        return False
    return not _tidy(_text(value))


def canonical_ids(values: Iterable[Any]) -> Objects:
    """Return the canonical spelling of each id (N,), None where it is missing."""
    unique, of_value = _distinct(values)
    return _objects(_canonical_all([_text(value) for value in unique]))[of_value]


@dataclass(frozen=True, eq=False)
class Groups:
    """Which of N cases belong together.

    Attributes:
        of_case: (N,) int64, number of each case's group in 0..G-1.
        ids: (G,) text, what tells the groups apart in this and any other table: canonical ids; of a case
            without an id something that no id is.
        names: (G,) text for people: the group's spelling, of several the first by alphabet.
        missing: (N,) bool, whether a case has no id and is a group of its own.
        united: how many groups are spelled in more than one way.
        notes: what the owner of the table should know, with examples: spellings that were united, ids that
            are missing, a group that holds most of the cases.
    """

    of_case: NDArray[np.int64]
    ids: Objects
    names: Objects
    missing: NDArray[np.bool_]
    united: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def summary(self) -> tuple[str, ...]:
        """The notes without any id, for pages that others read."""
        parts = []
        if self.united:
            parts.append(
                f"{self.united} groups (patients) are spelled in more than one way and count as one each"
            )
        if count := int(self.missing.sum()):
            parts.append(
                f"{count} of {len(self.missing)} cases have no group (patient): each is one of its own"
            )
        return tuple(parts)

    def at(self, rows: NDArray[Any]) -> Groups:
        """Return the groups of some of the cases, in that order."""
        present, of_case = np.unique(self.of_case[rows], return_inverse=True)
        return Groups(of_case, self.ids[present], self.names[present], self.missing[rows])

    def check(self) -> None:
        """Refuse a placeholder that stands in for most of the ids.

        Raises:
            ValueError: If most cases have one id, and it is one of those that mean nobody.
        """
        if (suspect := _suspect(self.of_case)) is None:
            return
        core = str(self.ids[suspect])
        if core.strip(_AROUND) in PLACEHOLDERS or core in PLACEHOLDERS or _FILLED_UP.fullmatch(core):
            count = int((self.of_case == suspect).sum())
            raise ValueError(
                f"{count} of {len(self.of_case)} cases have the group {str(self.names[suspect])!r}, which "
                "looks like a placeholder, not like one patient. Give every case the id of its patient, or "
                "leave it empty where that is not known: each such case is then a group of its own"
            )


def group_cases(values: Iterable[Any] | None, case_ids: Iterable[Any] | None = None) -> Groups:
    """Group cases by id, whatever its spelling; a case without an id is a group of its own.

    Args:
        values: (N,) ids of groups: numbers, text, missing values, in any mixture. None where a table has no
            groups at all: each case is one, and there is nothing to note.
        case_ids: (N,) distinct ids of the cases, so that a case without a group is known again in another
            table; by default its place in the order.

    Returns:
        The groups, ordered by number and then by text, whatever the order of the cases.
    """
    if values is None:
        keys = case_keys([] if case_ids is None else case_ids)
        own_ids = _objects([f"{_NO_ID}{key}" for key in keys])
        return Groups(np.arange(len(keys)), own_ids, own_ids, np.zeros(len(keys), np.bool_))
    unique, of_value = _distinct(values)
    spelled = [_text(value) for value in unique]
    tidied = [_tidy(text) for text in spelled]
    found = [_canonical(text) for text in tidied]
    known = _sorted({one for one in found if one is not None})
    place: dict[str | None, int] = {one: number for number, one in enumerate(known)}
    place[None] = -1
    of_case = np.array([place[one] for one in found], np.int64)[of_value]
    missing = of_case < 0
    names: dict[str | None, str] = {}
    for one, text in zip(found, tidied, strict=True):
        names[one] = min(text, names.get(one, text))
    alone = np.flatnonzero(missing)
    of_case[alone] = len(known) + np.arange(len(alone))
    own = [f"{_NO_ID}{key}" for key in _keys_of(alone, case_ids, len(of_case))]
    spellings = _spellings(found, spelled)
    notes = [
        *_united(spellings),
        *_unknown(missing, [str(value) for value, one in zip(unique, found, strict=True) if one is None]),
    ]
    shown = [*(names[one] for one in known), *own]
    if (suspect := _suspect(of_case)) is not None:
        count = int((of_case == suspect).sum())
        notes.append(
            f"{count} of {len(of_case)} cases are of one group, {shown[suspect]!r}; where that stands for "
            "unknown patients, leave it empty"
        )
    ids = _objects([*known, *own])
    return Groups(of_case, ids, _objects(shown), missing, len(spellings), tuple(notes))


def case_keys(case_ids: Iterable[Any]) -> Objects:
    """Return what tells the cases of a table (N,) in another table: their canonical ids.

    Names of files may differ in nothing but spelling: those are two cases, and their exact text is the key.
    """
    text, of_case = _distinct(map(str, _listed_values(case_ids)))  # as text, for 1 and 1.0 are equal numbers
    found = _canonical_all(text)
    often = Counter(found)
    keys = [exact if one is None or often[one] > 1 else one for exact, one in zip(text, found, strict=True)]
    return _objects(keys)[of_case]


def case_notes(case_ids: Iterable[Any]) -> list[str]:
    """Return what to say about case ids that differ in spelling only: they stay different cases."""
    text = list(dict.fromkeys(map(str, _listed_values(case_ids))))
    spellings = _spellings(_canonical_all(text), text)
    if not spellings:
        return []
    return [
        f"{sum(map(len, spellings))} case ids differ from another one in spelling only "
        f"({_listed(spellings)}): they are different cases"
    ]


def _suspect(of_case: NDArray[np.int64]) -> int | None:
    """The group that holds most of the cases, and many times as many as any other."""
    if len(of_case) < _FEW:
        return None
    sizes = np.bincount(of_case)
    largest = int(sizes.argmax())
    next_one = int(np.delete(sizes, largest).max(initial=0))
    most = sizes[largest] >= max(_FEW, _TIMES * next_one) and 2 * sizes[largest] > len(of_case)
    return largest if most else None


def _keys_of(alone: NDArray[np.intp], case_ids: Iterable[Any] | None, n_cases: int) -> list[str]:
    if not len(alone):
        return []
    if case_ids is None:
        return [str(row) for row in alone]
    keys = case_keys(case_ids)
    if len(keys) != n_cases:
        raise ValueError(f"case_ids must name {n_cases} cases, got {len(keys)}")
    return [str(key) for key in keys[alone]]


def _united(spellings: Sequence[Sequence[str]]) -> list[str]:
    if not spellings:
        return []
    return [
        f"{len(spellings)} groups are spelled in more than one way and count as one each "
        f"({_listed(spellings)})"
    ]


def _spellings(found: Sequence[str | None], spelled: Sequence[str]) -> list[list[str]]:
    """The different texts of each id that has several, sorted."""
    if len(set(found)) == len(found):
        return []
    often = Counter(found)
    texts: dict[str, set[str]] = {}
    for one, text in zip(found, spelled, strict=True):
        if one is not None and often[one] > 1:
            texts.setdefault(one, set()).add(text)
    return sorted(sorted(own) for own in texts.values() if len(own) > 1)


def _listed(spellings: Sequence[Sequence[str]]) -> str:
    first = ["; ".join(" = ".join(map(repr, own)) for own in spellings[:_SHOWN])]
    return "".join(first) + ("; ..." if len(spellings) > _SHOWN else "")


def _unknown(missing: NDArray[np.bool_], written: Sequence[str]) -> list[str]:
    if not missing.any():
        return []
    words = ", ".join(sorted({repr(word) for word in written})[:_SHOWN])
    return [
        f"{int(missing.sum())} of {len(missing)} cases have no group id (written as {words}): "
        "each is a group of its own"
    ]


def _objects(values: Sequence[Any]) -> Objects:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _distinct(values: Iterable[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct values, and the place of each value among them: the rule is worked out once for each."""
    if isinstance(values, np.ma.MaskedArray):
        hidden, values = np.ma.getmaskarray(values), np.array(values.data, object)
        values[hidden] = None
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        unique, of_value = np.unique(values, return_inverse=True)
        return list(unique), of_value.reshape(-1).astype(np.int64)
    listed = _listed_values(values)
    try:
        places = {value: place for place, value in enumerate(dict.fromkeys(listed))}
    except TypeError:  # lists and the like
        listed = [_text(value) for value in listed]
        places = {value: place for place, value in enumerate(dict.fromkeys(listed))}
    return list(places), np.fromiter(map(places.__getitem__, listed), np.int64, len(listed))


def _listed_values(values: Iterable[Any]) -> list[Any]:
    as_list = getattr(values, "tolist", None)  # pandas is slow when its values are taken one by one
    return list(values) if as_list is None else list(as_list())


def _sorted(ids: Iterable[str]) -> list[str]:
    """Whole numbers by value, then text by alphabet."""
    numbers: list[str] = []
    words: list[str] = []
    for one in ids:
        is_number = one.removeprefix("-").isdecimal() and one.isascii() and len(one) < 4000
        (numbers if is_number else words).append(one)
    return sorted(numbers, key=int) + sorted(words)


def _text(value: Any) -> str:
    """An id as text; empty where there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, np.integer)):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value is None or type(value).__name__ == "NAType":  # pandas', which cannot be compared
        return ""
    if isinstance(value, (float, np.floating)) and value.is_integer():
        return str(int(value))
    try:
        return "" if value != value else str(value)
    except ValueError:  # an array
        return str(value)


def _tidy(text: str) -> str:
    """An id without what nobody sees; letters keep their case."""
    if text.isascii() and text.isprintable():
        if "  " in text or text[:1] == " " or text[-1:] == " ":
            text = " ".join(text.split())
    else:
        seen = "".join(map(_seen, unicodedata.normalize("NFKC", text)))
        text = " ".join(unicodedata.normalize("NFKC", seen).split())
    if text[-1:] in _NUMBER_ENDS and (number := _NUMBER.fullmatch(text)):
        digits = number[2].lstrip("0") or "0"
        return digits if digits == "0" else number[1] + digits
    return text


def _seen(character: str) -> str:
    kind = unicodedata.category(character)
    if character.isspace():
        return " "
    if kind in ("Cf", "Cc"):
        return ""
    if kind == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    return str(unicodedata.decimal(character)) if kind == "Nd" else character


def _canonical_all(texts: Sequence[str]) -> list[str | None]:
    """The canonical spelling of each text; a table's ids are mostly plain, and then it is lower case."""
    joined = "".join(texts)
    if not (joined.isascii() and joined.isprintable()) or " " in joined:
        return [_canonical(_tidy(text)) for text in texts]
    return [
        _canonical(_tidy(text))
        if text[:1] not in _PLAIN_STARTS or text.rstrip(_AROUND) in MISSING_WORDS
        else text
        for text in "\n".join(texts).lower().split("\n")[: len(texts)]
    ]


def _canonical(tidied: str) -> str | None:
    if tidied.isascii():
        folded = tidied.lower()
    else:
        # Folding may take an accent apart, and putting it together again may give a letter to be folded.
        while (folded := unicodedata.normalize("NFKC", tidied.casefold())) != tidied:
            tidied = folded
    return None if folded.strip(_AROUND) in MISSING_WORDS else folded
