"""What a report must not tell: paths, user names and, on request, case ids."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

# absolute POSIX paths, home folders, drive letters, UNC shares and file URLs
_PATH = re.compile(
    r"""(?:file://\S*)|(?:(?<![A-Za-z])[A-Za-z]:[\\/][^\s"'<>|,;]*)|(?:\\\\[^\s"'<>|,;]+)"""
    r"""|(?:(?<![\w.:/])~?/[^\s"'<>|,;:)\]}]+)|(?:(?<![\w./])(?:\.\.[\\/])+[^\s"'<>|,;:)\]}]+)"""
)
# a text that is a path as a whole may hold spaces
_WHOLE_PATH = re.compile(r"^(?:file:|~?/|[A-Za-z]:[\\/]|\\\\|\.\.?[\\/])[^\n$@]*$")
# config entries that hold a folder or file, relative ones too
_PATH_KEYS = re.compile(r"(?:dir|directory|path|file|folder|root)s?$", re.IGNORECASE)
_SECRET_KEYS = re.compile(r"user|host|login|e-?mail|password|token|secret|home", re.IGNORECASE)
#: Columns of the case table that are never shown: they are paths, or they identify someone.
HIDDEN_COLUMNS = re.compile(
    r"^(case_id|label|label_name|image|images|split|path|file|filename)$|_?uids?$|_path$"
    r"|patient'?s?[ _]?(name|birth)|birth[ _]?date|accession|physician"
    r"|operators?[ _]?name|institution[ _]?address",
    re.IGNORECASE,
)
#: Columns that are hidden as well when case ids are replaced by numbers.
IDENTIFYING_COLUMNS = re.compile(r"^group$|(^|_)(ids?|patient|date|name)($|_)", re.IGNORECASE)


def shown_columns(cases: pd.DataFrame, anonymous: bool) -> dict[str, pd.Series[str]]:
    """The columns of a case table that a page may show, as text without paths, by their names in words.

    Args:
        cases: a case table.
        anonymous: leave out what could identify a person as well: :data:`IDENTIFYING_COLUMNS`, and columns
            with nearly one value a case, which are as good as an id.
    """
    columns = {}
    for name in map(str, cases.columns):
        if HIDDEN_COLUMNS.search(name) or (anonymous and IDENTIFYING_COLUMNS.search(name)):
            continue
        values = cases[name].map(_cell).astype(str)
        if anonymous and len(cases) > 20 and values.nunique() > len(cases) / 2:
            continue
        columns[name.replace("_", " ")] = values
    return columns


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3g}"
    return str(without_paths(str(value)))


def without_paths(value: Any) -> Any:
    """A copy of JSON-able content in which every absolute path is ``[path]`` and every user name is gone."""
    if isinstance(value, Mapping):
        return {
            str(without_paths(str(key))): "[removed]"
            if _SECRET_KEYS.search(str(key))
            else "[path]"
            if _PATH_KEYS.search(str(key)) and isinstance(item, str) and re.match(r"[^$@%]*[\\/]", item)
            else without_paths(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    if isinstance(value, str):
        return "[path]" if _WHOLE_PATH.match(value) else _PATH.sub("[path]", value)
    return value
