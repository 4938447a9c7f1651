"""Names of datasets, and of options on the command line."""

from __future__ import annotations

import re

from monai_sf.results.format import SET_ASIDE

#: What a dataset's name must be, so that it can be a folder's.
DATASET_NAME = r"\w[\w.-]*"
#: Names of the benchmark's own folders beside those of the datasets.
TAKEN = ("all", "grid", "logs", SET_ASIDE, "tables", "tasks")

_QUOTED = r"""(?:"([\w.-]+)"|'([\w.-]+)')"""
_OPTIONS = (
    (re.compile(rf"\b(missing|encoding|sheet)={_QUOTED}"), lambda m: f"--{m[1]} {m[2] or m[3]}"),
    (re.compile(r"\b(sheet|encoding)=\.\.\."), lambda m: f"--{m[1]} {m[1].upper()}"),
    (re.compile(r"\bclasses=\[\.\.\.\]"), lambda m: "--classes CLASS CLASS ..."),
    (re.compile(r"\bcolumns=\{'(\w+)': \.\.\.\}"), lambda m: f"--{m[1]} COLUMN"),
)


def in_options(text: str) -> str:
    """Return a message of the library with its arguments in Python as options of the command line."""
    for pattern, option in _OPTIONS:
        text = pattern.sub(option, text)
    return text
