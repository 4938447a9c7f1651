"""Kinds of shift between training and test, and the names of the test sets of corrupted images.

Examples:
    >>> from monai_sf.vocabulary.shifts import KINDS, SHIFT_OF, SHIFTS, TARGET_KINDS
    >>> KINDS
    ('iid', 'corruption', 'acquisition', 'manifestation', 'new_class')
    >>> TARGET_KINDS
    ('acquisition', 'manifestation', 'new_class')
    >>> SHIFT_OF["acquisition"].title, SHIFT_OF["acquisition"].column
    ('Another place or device', 'acq')
    >>> [shift.column for shift in SHIFTS]
    ['iid', 'cor', 'acq', 'man', 'new']
    >>> from monai_sf.vocabulary.shifts import NEW_CLASS, UNKNOWN
    >>> NEW_CLASS, UNKNOWN  # the latter is the label of its cases
    ('new_class', -1)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "KINDS",
    "NEW_CLASS",
    "SHIFTS",
    "SHIFT_OF",
    "TARGET_KINDS",
    "UNKNOWN",
    "Shift",
    "corruption_name",
    "corruption_of",
    "is_corruption_name",
]


#: The kind of cases of none of the classes, on which every answer is wrong, and their label.
NEW_CLASS, UNKNOWN = "new_class", -1


@dataclass(frozen=True)
class Shift:
    """One kind of test set.

    Attributes:
        kind: its name in results and studies.
        column: its name in tables.
        title: a clinician's name for its cases.
        meaning: description of these cases, for the same reader.
        average: description of a table's column of this kind, for the same reader.
        has_target: whether a study has a target domain of this kind: cases that are only tested on.

    Examples:
        >>> from monai_sf.vocabulary.shifts import SHIFTS
        >>> for shift in SHIFTS:
        ...     print(f"{shift.column}: {shift.meaning}")
        iid: new cases of the same kind as in training
        cor: the ordinary cases with brightness, noise or blur added
        acq: images from a source that was kept out of training
        man: variants that were kept out of training
        new: cases of none of the classes, so that every answer is wrong
    """

    kind: str
    column: str
    title: str
    meaning: str
    average: str
    has_target: bool = False


#: Every kind of test set, in the order of the paper's table, which has no new classes.
SHIFTS = (
    Shift(
        "iid",
        "iid",
        "Ordinary cases",
        "new cases of the same kind as in training",
        "ordinary cases",
    ),
    Shift(
        "corruption",
        "cor",
        "Disturbed images",
        "the ordinary cases with brightness, noise or blur added",
        "mean of all disturbed images",
    ),
    Shift(
        "acquisition",
        "acq",
        "Another place or device",
        "images from a source that was kept out of training",
        "mean of other places or devices",
        has_target=True,
    ),
    Shift(
        "manifestation",
        "man",
        "An unseen kind of disease",
        "variants that were kept out of training",
        "mean of unseen kinds of disease",
        has_target=True,
    ),
    Shift(
        NEW_CLASS,
        "new",
        "A disease it was never shown",
        "cases of none of the classes, so that every answer is wrong",
        "diseases never shown (AURC: with ordinary cases)",
        has_target=True,
    ),
)

#: Kinds of a test set; ``corruption`` sets are the iid cases, corrupted.
KINDS = tuple(shift.kind for shift in SHIFTS)
#: The shift of each kind.
SHIFT_OF = {shift.kind: shift for shift in SHIFTS}
#: Kinds with a target domain, which a study can have.
TARGET_KINDS = tuple(shift.kind for shift in SHIFTS if shift.has_target)

_PREFIX = "corruption-"
_CORRUPTED = re.compile(_PREFIX + r"(.+)-([1-5])")


def corruption_name(kind: str, severity: int) -> str:
    """Return the name of the test set of one corruption, ``corruption-<kind>-<severity>``.

    Examples:
        >>> from monai_sf.vocabulary.shifts import corruption_name
        >>> corruption_name("gaussian_noise", 3)
        'corruption-gaussian_noise-3'
    """
    return f"{_PREFIX}{kind}-{severity}"


def corruption_of(test_set: str) -> tuple[str, int] | None:
    """Return kind and severity (1 to 5) of a name from :func:`corruption_name`, None for any other.

    Examples:
        >>> from monai_sf.vocabulary.shifts import corruption_of
        >>> names = ("corruption-elastic-1", "corruption-elastic-9", "iid")
        >>> [corruption_of(name) for name in names]
        [('elastic', 1), None, None]
    """
    found = _CORRUPTED.fullmatch(test_set)
    return (found[1], int(found[2])) if found else None


def is_corruption_name(test_set: str) -> bool:
    """Return whether a name begins like those of corrupted test sets, well formed or not.

    Examples:
        >>> from monai_sf.vocabulary.shifts import is_corruption_name
        >>> names = ("corruption-elastic-1", "corruption-elastic-9", "iid")
        >>> [is_corruption_name(name) for name in names]
        [True, True, False]
    """
    return test_set.startswith(_PREFIX)
