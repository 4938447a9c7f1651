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
#: Columns of the case table that are never shown: they are paths, users, or what DICOM says of a person, of
#: the place and of the time. Compared without spaces, underscores and apostrophes.
HIDDEN_COLUMNS = re.compile(
    r"^(caseid|label|labelname|images?|split|host|hostname|user|username)$|paths?$|uids?$"
    r"|^(image|img|dicom)?files?(names?)?$"
    r"|patients?(name|birth|address|telephone|mother)|birthdate|dateofbirth|accession|physician|operatorsname"
    r"|(institution|station)(name|address)|deviceserialnumber"
    r"|^(study|series|acquisition|content)(date|time)$",
    re.IGNORECASE,
)
#: DICOM keywords of ids, as one word; a dataset's own ``patient_id`` is shown, as ``group`` is.
_DICOM_IDS = re.compile(r"(patient|study)ids?$", re.IGNORECASE)
#: Columns that are hidden as well when case ids are replaced by numbers. Compared word by word.
IDENTIFYING_COLUMNS = re.compile(
    r"\b(group|ids?|mrn|patients?|dates?|dob|birth|names?|initials|address|e-?mail|phone|telephone|operator|physician|radiologist)\b",
    re.IGNORECASE,
)


def shown_columns(cases: pd.DataFrame, anonymous: bool) -> dict[str, pd.Series[str]]:
    """The columns of a case table that a page may show, as text without paths, by their names in words.

    Args:
        cases: a case table.
        anonymous: leave out what could identify a person as well: :data:`IDENTIFYING_COLUMNS`, and columns
            with nearly one value a case, which are as good as an id.
    """
    columns = {}
    for name in map(str, cases.columns):
        if HIDDEN_COLUMNS.search(re.sub(r"[\s_'’]", "", name)) or _DICOM_IDS.search(name):
            continue
        if anonymous and IDENTIFYING_COLUMNS.search(_words(name)):
            continue
        values = cases[name].map(_cell).astype(str)
        if anonymous and len(cases) > 20 and values.nunique() > len(cases) / 2:
            continue
        columns[name.replace("_", " ")] = values
    return columns


def _words(name: str) -> str:
    """``PatientID`` and ``patient_id`` as ``Patient ID`` and ``patient id``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))


def shown_id(case_id: str) -> str:
    """A case id as a page may show it: of an id that is the path of a file, the file's name.

    Paths as ids are what many have whose cases have no other name.
    """
    text = str(without_paths(case_id))
    return re.split(r"[\\/]", case_id.rstrip("\\/"))[-1] if text == "[path]" else text


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
