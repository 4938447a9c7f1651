"""Studies from the command line: ``column=value`` or ``name:column=value``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd


def read_targets(targets: Sequence[str], cases: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return studies as the config key ``studies`` has them.

    Args:
        targets: ``column=value``, or ``name:column=value``. Of one name, several columns mean all of them,
            and several values of a column any of them. Without a name every target is a study of its own.
        cases: the case table, whose columns decide what is a number and where a name ends.

    Raises:
        ValueError: a target is not of this form; names all of them.
    """
    studies: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []
    for target in targets:
        name, column, value = _split(target, cases)
        if not column or not value:
            wrong.append(
                f"--target {target!r} is neither column=value nor name:column=value, such as hospital=B or "
                "external:hospital=B; above, below, missing and lists can be written into configs/data.yaml"
            )
            continue
        name = name or _plain(f"{column}_{value}")
        study = studies.setdefault(name, {"kind": "acquisition", "target": {}})
        values = [*study["target"].get(column, []), _as_in(cases, column, value)]
        study["target"][column] = values
    if wrong:
        raise ValueError("\n".join(wrong))
    for study in studies.values():
        for column, values in study["target"].items():
            study["target"][column] = values[0] if len(values) == 1 else values
    return studies


def _split(target: str, cases: pd.DataFrame) -> tuple[str, str, str]:
    """Return the study's name, or nothing, the column and the value; names of columns may hold = and :."""
    parts = target.split("=")
    found = [("", "", "")]
    for k in range(1, len(parts)):
        left, value = ("=".join(own).strip() for own in (parts[:k], parts[k:]))
        name, _, column = left.partition(":")
        found += [("", left, value), (name.strip(), column.strip(), value)]
    known = [one for one in found if one[1] in cases.columns]
    named = [one for one in found[1:3] if one[1]]
    return (known or named[::-1] or found)[0]


def _plain(text: str) -> str:
    """Return a text as the name of a study, which is also that of folders."""
    return re.sub(r"[^\w.-]+", "_", text.casefold()).strip("_.-")[:64].rstrip("_.-") or "study"


def _as_in(cases: pd.DataFrame, column: str, value: str) -> str | int | float:
    """Return a value as a number where the column holds numbers."""
    if column not in cases or not pd.api.types.is_numeric_dtype(cases[column]):
        return value
    try:
        number = float(value)
    except ValueError:
        return value  # no case has it, which is said with all other faults
    return int(number) if number.is_integer() else number
