"""The rule for ids: which spellings denote the same patient, and which denote a missing id.

Tables write one patient as ``P1``, ``p1`` or ``P1`` and a blank, as ``007``, ``7`` or ``7.0``, with accents
in one character or two. A comparison letter by letter puts one patient into training and test. And ``NaN`` or
``unknown`` is not a patient, although its cases look like those of one.

The rule. Two ids are equal if their canonical spellings are. The canonical spelling of an id is:

- Unicode NFKC (full-width letters become ordinary ones), digits of all scripts as 0 to 9, dashes as ``-``;
- without invisible characters (zero-width blanks, byte order marks, direction marks, NUL); blanks of all
  kinds are trimmed and collapsed to one;
- case folded;
- for a whole number, without leading zeros and ``.0``: 7, 7.0, ``"007"`` and ``"7.0"`` are one id. This holds
  only if the whole id is a number: ``P07`` and ``P7`` differ, as do ``1.10`` and ``1.1``.

Missing are None, NaN, NaT, pandas' NA, ids of nothing but blanks and punctuation (``-``, ``?``, ``--``),
and the words of :data:`MISSING_WORDS`, also in brackets or after ``#``.

Examples:
    Two patients in two spellings each, a third one, and two missing ids:

    >>> from monai_sf.vocabulary.ids import canonical_id
    >>> for spelling in ("P1", "p1 ", "007", "7.0", "P07", "N/A", "?"):
    ...     print(f"{spelling!r:6} {canonical_id(spelling)!r}")
    'P1'   'p1'
    'p1 '  'p1'
    '007'  '7'
    '7.0'  '7'
    'P07'  'p07'
    'N/A'  None
    '?'    None

    Words for a missing id, and those that hide an id:

    >>> from monai_sf.vocabulary.ids import MISSING_WORDS, PLACEHOLDERS
    >>> "unknown" in MISSING_WORDS, "anonymous" in PLACEHOLDERS
    (True, True)
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

from monai_sf.vocabulary.distinct import all_differ

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

#: Words for an unknown id, in canonical spelling.
MISSING_WORDS = frozenset(
    (
        *("", "nan", "nat", "na", "n/a", "n.a", "none", "null", "nil", "unknown", "unk", "undefined"),
        *("missing", "empty", "not available", "not applicable", "not known", "not specified", "no id"),
    )
)
#: Words that replace removed ids; not a patient if most of the cases have one of them.
PLACEHOLDERS = frozenset(
    (
        *("0", "-1", "anonymous", "anonymized", "anonymised", "anonym", "anon", "deidentified"),
        *("de-identified", "redacted", "removed", "hidden", "masked", "confidential", "placeholder", "dummy"),
        *("default", "patient", "subject", "person", "id", "test", "tbd", "todo", "other", "various"),
    )
)
_FILLED_UP = re.compile(r"x{2,}|9{3,}")
#: A group is suspected not to be a patient if it has at least so many cases, more than half of all, and so
#: many times as many as the next group.
_FEW, _TIMES = 10, 5
_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.0*)?")
#: Texts whose canonical spelling is their lower case, if it is no word for a missing id: those without blanks
#: that are no number, and numbers without leading zeros.
_PLAIN_WORD = "[!-~]*[A-Za-z][!-~]*"
_PLAIN_NUMBER = "[0-9]{1,18}"
_PLAIN = f"{_PLAIN_WORD}|[1-9][0-9]*"
_NUMBER_ENDS = frozenset("0123456789.")
_AROUND = string.punctuation + " "
#: Characters that begin neither a number nor punctuation around a word.
_PLAIN_STARTS = frozenset(string.ascii_lowercase)
_SHOWN = 5
_AT_ONCE = 2**14
#: Beginning of the name of a case without an id. No tidied id begins so, since none has two blanks in a row.
_NO_ID = "no id:  "


def canonical_id(value: object) -> str | None:
    """Return the canonical spelling of an id, equal for all spellings of one id; None if it is missing.

    Examples:
        >>> from monai_sf.vocabulary.ids import canonical_id
        >>> [canonical_id(value) for value in (7, 7.0, "007", "P7", "P07", "?", None)]
        ['7', '7', '7', 'p7', 'p07', None, None]
    """
    return _canonical(_tidy(_text(value)))


def is_absent(value: object) -> bool:
    """Return whether there is no id at all: None, NaN, NaT, NA, or nothing visible.

    Words such as "unknown" are text, which may be the name of a case.

    Examples:
        >>> from monai_sf.vocabulary.ids import is_absent
        >>> [is_absent(value) for value in (None, float("nan"), " ", "unknown", 0)]
        [True, True, True, False, False]
    """
    if isinstance(value, str) and value[:1].isalnum():
        return False
    return not _tidy(_text(value))


def canonical_ids(values: Iterable[Any]) -> Objects:
    """Return the canonical spelling of each id, (N,); None for a missing one.

    Examples:
        >>> from monai_sf.vocabulary.ids import canonical_ids
        >>> canonical_ids(["P1", "p1 ", "007", None]).tolist()
        ['p1', 'p1', '7', None]
    """
    unique, of_value = _distinct(values)
    return _objects(_canonical_all([_text(value) for value in unique]))[of_value]


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of N cases.

    Attributes:
        of_case: (N,) int64, number of each case's group in 0..G-1.
        ids: (G,) text that identifies the groups in this and any other table: canonical ids; for a case
            without an id, a text that differs from every id.
        names: (G,) text for people: the group's spelling, of several the first in alphabetical order.
        missing: (N,) bool, whether a case has no id and is a group of its own.
        united: number of groups with more than one spelling.
        notes: remarks for the owner of the table, with examples: united spellings, missing ids, a group that
            has most of the cases.

    Examples:
        >>> from monai_sf.vocabulary.ids import group_cases
        >>> groups = group_cases(["P1", "p1 ", "007", "7", "P2", None])
        >>> groups.of_case.tolist(), len(groups)
        ([1, 1, 0, 0, 2, 3], 4)
        >>> groups.names.tolist()
        ['7', 'P1', 'P2', 'no id:  5']
        >>> for line in groups.summary:
        ...     print(line)
        2 groups (patients) are spelled in more than one way and count as one each
        1 of 6 cases have no group (patient): each is one of its own
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
        """The notes without ids, for pages that others read."""
        parts = []
        if self.united:
            parts.append(_united(self.united, "group (patient)", "groups (patients)"))
        if count := int(self.missing.sum()):
            parts.append(
                f"{count} of {len(self.missing)} cases have no group (patient): each is one of its own"
            )
        return tuple(parts)

    def at(self, rows: NDArray[Any]) -> Groups:
        """Return the groups of some of the cases, in that order.

        Examples:
            The groups of two of the cases are numbered anew:

            >>> from monai_sf.vocabulary.ids import group_cases
            >>> part = group_cases(["a", "b", "c", "c"]).at([3, 1])
            >>> part.of_case.tolist(), part.ids.tolist()
            ([1, 0], ['b', 'c'])
        """
        present, of_case = np.unique(self.of_case[rows], return_inverse=True)
        return Groups(of_case, self.ids[present], self.names[present], self.missing[rows])

    def check(self) -> None:
        """Raise if a placeholder replaces most of the ids.

        Raises:
            ValueError: If most cases have the same id, and it is one of :data:`PLACEHOLDERS` or filled up
                with one character.

        Examples:
            >>> from monai_sf.vocabulary.ids import group_cases
            >>> group_cases(["anonymous"] * 19 + ["P1"]).check()
            Traceback (most recent call last):
            ValueError: 19 of 20 cases have the group 'anonymous', which looks like a placeholder, ...
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
        values: (N,) ids of groups: numbers, text and missing values in any mixture. None for a table without
            groups: each case is its own, without a note.
        case_ids: (N,) distinct ids of the cases, so that a case without a group can be identified in another
            table; by default its position.

    Returns:
        The groups, ordered by number and then by text, whatever the order of the cases.

    Examples:
        Of six cases, four are of two patients in two spellings each, and two have no patient's id:

        >>> from monai_sf.vocabulary.ids import group_cases
        >>> groups = group_cases(["P1", "p1 ", "007", "7", "unknown", None])
        >>> groups.of_case.tolist()
        [1, 1, 0, 0, 2, 3]
        >>> for note in groups.notes:
        ...     print(note)
        2 groups are spelled in more than one way and count as one each ('007' = '7'; 'P1' = 'p1 ')
        2 of 6 cases have no group id (written as 'None', 'unknown'): each is a group of its own
    """
    if values is None:
        keys = case_keys([] if case_ids is None else case_ids)
        own_ids = _objects([f"{_NO_ID}{key}" for key in keys])
        return Groups(np.arange(len(keys)), own_ids, own_ids, np.zeros(len(keys), np.bool_))
    if (plain := _plain_groups(values)) is not None:
        return plain
    unique, of_value = _distinct(values)
    spelled = [_text(value) for value in unique]
    found = _canonical_all(spelled)
    known = _sorted({one for one in found if one is not None})
    place: dict[str | None, int] = {one: number for number, one in enumerate(known)}
    place[None] = -1
    of_case = np.fromiter(map(place.__getitem__, found), np.int64, len(found))[of_value]
    missing = of_case < 0
    names: dict[str | None, str] = {}
    for one, text in zip(found, map(_tidy, spelled), strict=True):
        names[one] = min(text, names.get(one, text))
    alone = np.flatnonzero(missing)
    of_case[alone] = len(known) + np.arange(len(alone))
    own = [f"{_NO_ID}{key}" for key in _keys_of(alone, case_ids, len(of_case))]
    notes = []
    if spellings := _spellings(found, spelled):
        notes.append(f"{_united(len(spellings), 'group', 'groups')} ({_listed(spellings)})")
    if len(alone):
        written = {repr(str(value)) for value, one in zip(unique, found, strict=True) if one is None}
        notes.append(
            f"{len(alone)} of {len(missing)} cases have no group id (written as "
            f"{', '.join(sorted(written)[:_SHOWN])}): each is a group of its own"
        )
    shown = [*(names[one] for one in known), *own]
    notes += _suspicion(of_case, shown)
    ids = _objects([*known, *own])
    return Groups(of_case, ids, _objects(shown), missing, len(spellings), tuple(notes))


def _plain_groups(values: Any) -> Groups | None:
    """Return the groups of a column of text without missing cells, if all ids are plain and no two alike.

    Of large tables nearly all are, and then no id need be parsed.
    """
    if not _is_column_of_text(values):
        return None
    of_text, texts = values.factorize()
    if not len(texts) or (of_text < 0).any():
        return None
    if texts.str.fullmatch(_PLAIN_NUMBER).all():
        texts = folded = texts.str.replace("^0+([0-9])", r"\1", regex=True)
        order = np.argsort(folded.astype("int64"))
    elif texts.str.fullmatch(_PLAIN_WORD).all():
        folded = texts.str.lower()
        if folded.str.strip(_AROUND).isin(list(MISSING_WORDS)).any():
            return None
        order = folded.argsort()
    else:
        return None
    if not folded.is_unique:
        return None
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    of_case, names = place[of_text], texts[order].to_numpy(object)
    alike = (folded == texts).all()
    ids = names if alike else folded[order].to_numpy(object)
    missing = np.zeros(len(of_case), np.bool_)
    return Groups(of_case, ids, names, missing, notes=tuple(_suspicion(of_case, names)))


def _suspicion(of_case: NDArray[np.int64], names: Sequence[str] | Objects) -> list[str]:
    """Return a note on a group that has most of the cases, if there is one."""
    if (suspect := _suspect(of_case)) is None:
        return []
    return [
        f"{int((of_case == suspect).sum())} of {len(of_case)} cases are of one group, {names[suspect]!r}; if "
        "that stands for unknown patients, leave it empty"
    ]


def case_keys(case_ids: Iterable[Any]) -> Objects:
    """Return keys (N,) that identify the cases of a table in another table: their canonical ids.

    Names of files may differ only in spelling: these are different cases, and their exact text is the key.

    Examples:
        The first two ids differ in spelling only, so they stay as they are:

        >>> from monai_sf.vocabulary.ids import case_keys
        >>> case_keys(["A.png", "a.png", "B.png", "007"]).tolist()
        ['A.png', 'a.png', 'b.png', '7']
    """
    text, of_case = _distinct(map(str, _listed_values(case_ids)))  # as text, for 1 and 1.0 are equal numbers
    found = _canonical_all(text)
    often = Counter(found)
    keys = [exact if one is None or often[one] > 1 else one for exact, one in zip(text, found, strict=True)]
    return _objects(keys)[of_case]


def case_notes(case_ids: Iterable[Any]) -> list[str]:
    """Return a note on case ids that differ only in spelling, which remain different cases; or none.

    Examples:
        >>> from monai_sf.vocabulary.ids import case_notes
        >>> case_notes(["A.png", "a.png", "b.png"])
        ["2 case ids differ from another one in spelling only ('A.png' = 'a.png'): they are different cases"]
        >>> case_notes(["a.png", "b.png"])
        []
    """
    if _differ_plainly(case_ids):
        return []
    text = list(dict.fromkeys(map(str, _listed_values(case_ids))))
    spellings = _spellings(_canonical_all(text), text)
    if not spellings:
        return []
    return [
        f"{sum(map(len, spellings))} case ids differ from another one in spelling only "
        f"({_listed(spellings)}): they are different cases"
    ]


def _suspect(of_case: NDArray[np.int64]) -> int | None:
    """Return the group that has most of the cases, and many times as many as any other; None without one."""
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


def _united(count: int, one: str, several: str) -> str:
    if count == 1:
        return f"1 {one} is spelled in more than one way and counts as one"
    return f"{count} {several} are spelled in more than one way and count as one each"


def _spellings(found: Sequence[str | None], spelled: Sequence[str]) -> list[list[str]]:
    """Return the different texts of each id that has several, sorted."""
    if len(set(found)) == len(found):
        return []
    often = Counter(found)
    texts: dict[str, set[str]] = {}
    for one, text in zip(found, spelled, strict=True):
        if one is not None and often[one] > 1:
            texts.setdefault(one, set()).add(text)
    return sorted(sorted(own) for own in texts.values() if len(own) > 1)


def _listed(spellings: Sequence[Sequence[str]]) -> str:
    first = "; ".join(" = ".join(map(repr, own)) for own in spellings[:_SHOWN])
    return first + ("; ..." if len(spellings) > _SHOWN else "")


def _objects(values: Sequence[Any]) -> Objects:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _distinct(values: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the distinct values and each value's position among them, so that each is parsed once."""
    if isinstance(values, np.ma.MaskedArray):
        hidden, values = np.ma.getmaskarray(values), np.array(values.data, object)
        values[hidden] = None
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        unique, of_value = np.unique(values, return_inverse=True)
        return list(unique), of_value.reshape(-1).astype(np.int64)
    if _is_column_of_text(values):
        of_text, texts = values.factorize()
        gap = of_text < 0
        of_text[gap] = len(texts)
        return [*texts.tolist(), *list(values[gap])[:1]], of_text.astype(np.int64)
    listed = _listed_values(values)
    try:
        places = {value: place for place, value in enumerate(dict.fromkeys(listed))}
    except TypeError:  # lists and the like
        listed = [_text(value) for value in listed]
        places = {value: place for place, value in enumerate(dict.fromkeys(listed))}
    return list(places), np.fromiter(map(places.__getitem__, listed), np.int64, len(listed))


def _is_column_of_text(values: Any) -> bool:
    """Return whether values are a column of pandas' text, which need not be unpacked."""
    return str(getattr(values, "dtype", "")) in ("str", "string")


def _differ_plainly(case_ids: Any) -> bool:
    """Return whether ids are a column of plain texts that differ in any letter case."""
    if not _is_column_of_text(case_ids) or not hasattr(case_ids, "iloc"):
        return False
    case_ids = case_ids.reset_index(drop=True)
    parts = (case_ids[start : start + _AT_ONCE] for start in range(0, len(case_ids), _AT_ONCE))
    lower = (part.str.lower().tolist() if part.str.fullmatch(_PLAIN).all() else None for part in parts)
    return all_differ(lower)


def _listed_values(values: Iterable[Any]) -> list[Any]:
    as_list = getattr(values, "tolist", None)  # pandas is slow when its values are taken one by one
    return list(values) if as_list is None else list(as_list())


def _sorted(ids: Iterable[str]) -> list[str]:
    """Sort whole numbers by value, then text alphabetically."""
    numbers: list[str] = []
    words: list[str] = []
    for one in ids:
        is_number = one.removeprefix("-").isdecimal() and one.isascii() and len(one) < 4000
        (numbers if is_number else words).append(one)
    return sorted(numbers, key=int) + sorted(words)


def _text(value: Any) -> str:
    """Convert an id to text; empty if there is none."""
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
    """Remove what is invisible in an id, and normalise numbers; letters keep their case."""
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
    """Return the canonical spelling of each text; of plain ids, which most tables have, the lower case."""
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
        # Folding may decompose an accent, and composing it again may give a letter that can be folded.
        while (folded := unicodedata.normalize("NFKC", tidied.casefold())) != tidied:
            tidied = folded
    return None if folded.strip(_AROUND) in MISSING_WORDS else folded
