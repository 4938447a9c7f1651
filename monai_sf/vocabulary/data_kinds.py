"""Kinds of data that runs are evaluated on, and the warnings for readers of their numbers."""

from __future__ import annotations

from collections.abc import Mapping

#: ``data_kind`` of case tables and runs to heading and text of its warning, None without. In mixed data the
#: last kind counts.
DATA_KINDS: Mapping[str, tuple[str, str] | None] = {
    "real": None,
    "rendered": (
        "Rendered images, not CT",
        "The shapes and ratings are the radiologists', the grey values are synthetic. "
        "These numbers say nothing about real patients.",
    ),
    "phantom": (
        "Phantom images, not patients",
        "Every image and label is synthetic. These numbers say nothing about real patients.",
    ),
}


def warning_of(kind: str) -> tuple[str, str] | None:
    """Return heading and text of the warning for a kind of data, None for real data.

    An unknown kind gets the warning for phantoms, since it may not be real.
    """
    return DATA_KINDS.get(kind, DATA_KINDS["phantom"])
