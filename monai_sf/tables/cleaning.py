"""Redacted names and notes of a collection; the numbers stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from monai_sf.tables.cells import Collection, RunKey, ScoreKey
from monai_sf.tables.redaction import Names, redacted_text

_Key = TypeVar("_Key", RunKey, ScoreKey)
_NAMED = ("dataset", "study", "test_set", "corruption", "method")


def cleaned(collection: Collection, expected: Mapping[RunKey, str]) -> tuple[Collection, dict[RunKey, str]]:
    """Return a collection and expected runs without paths, hosts and users in their names.

    Tables, notes and figures are written from these only. Different names stay different.
    """
    names: defaultdict[str, Names] = defaultdict(Names)

    def renamed(key: _Key) -> _Key:
        changes: dict[str, Any] = {k: names[k](getattr(key, k)) for k in _NAMED if k in key._fields}
        return key._replace(**changes)

    def note(text: str) -> str:
        of = next((key.dataset for key in collection.runs if text.startswith(f"{key.dataset}: ")), None)
        if of is None:
            return redacted_text(text)
        return f"{names['dataset'](of)}: {redacted_text(text.removeprefix(of + ': '))}"

    cells, subgroups = collection.cells.copy(), collection.subgroups.copy()
    for kind in _NAMED:
        cells[kind] = cells[kind].map(names[kind])
    for kind in (*_NAMED, "column", "group"):
        if kind in subgroups:
            subgroups[kind] = subgroups[kind].map(names[kind])
    clean = replace(
        collection,
        cells=cells,
        subgroups=subgroups,
        curves={renamed(at): curve for at, curve in collection.curves.items()},
        resampled={renamed(at): values for at, values in collection.resampled.items()},
        runs={renamed(key): folder for key, folder in collection.runs.items()},
        notes=tuple(map(note, collection.notes)),
        versions={names["versions"](text): count for text, count in collection.versions.items()},
    )
    return clean, {renamed(key): kind for key, kind in expected.items()}
