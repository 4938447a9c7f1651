"""Studies from the command line: ``column=value`` or ``name:column=value``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd


def read_targets(targets: Sequence[str], cases: pd.DataFrame) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return studies as the config key ``studies`` has them, and what is wrong with the other targets.

    Args:
        targets: ``column=value``, or ``name:column=value``. Of one name, several columns mean all of them,
            and several values of a column any of them. Without a name every target is a study of its own.
        cases: the case table, whose columns decide what is a number and where a name ends.

    Returns:
        The studies of the targets that can be read, and one text for each fault: a target that is not of this
        form, one without a name that gets the name of another study, or that has no letter or digit to get a
        name from.
    """
    studies: dict[str, dict[str, Any]] = {}
    origin: dict[str, tuple[str, tuple[str, str]]] = {}
    wrong: list[str] = []
    for target in targets:
        given, column, value = _split(target, cases)
        if not column or not value:
            wrong.append(
                f"--target {target!r} is neither column=value nor name:column=value, such as hospital=B or "
                "external:hospital=B; above, below, missing and lists can be written into configs/data.yaml"
            )
            continue
        if not given and not re.search(r"\w", value):
            wrong.append(
                f"--target {target!r}: the value has no letter or digit to name the study by: give it a "
                f"name, such as external:{column}={value}"
            )
            continue
        name = given or plain_name(f"{column}_{value}")
        # A name that was given is there to be repeated; one that was made up means this column and value.
        meant = ("", "") if given else (column, value)
        first, first_meant = origin.setdefault(name, (target, meant))
        if first_meant != meant:
            wrong.append(
                f"--target {first!r} and --target {target!r} would both be the study {name!r}: give them "
                f"names, such as one:{column}={value}, which differ if they are two studies"
            )
            continue
        study = studies.setdefault(name, {"kind": "acquisition", "target": {}})
        values = study["target"].setdefault(column, [])
        if (cell := _as_in(cases, column, value)) not in values:
            values.append(cell)
    for study in studies.values():
        for column, values in study["target"].items():
            study["target"][column] = values[0] if len(values) == 1 else values
    return studies, wrong


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


def plain_name(text: str) -> str:
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
