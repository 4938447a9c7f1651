"""Privacy of a report: it never shows paths and users, and on request no identities of cases.

Every run passes :func:`cleaned` before it is evaluated, and all text of the page passes
:func:`~monai_sf.tables.redaction.redacted_text` when it is written.
"""

from __future__ import annotations

import copy
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.report.published import harmless_columns
from monai_sf.results import Results
from monai_sf.results.format import SCORES
from monai_sf.tables.redaction import Names, is_identifying, redacted, redacted_text
from monai_sf.vocabulary.shifts import UNKNOWN

#: Names of test sets that do not identify a place or person.
_USUAL_SETS = ("iid", "target", "val", "calibration")
#: Keys of run.json in an anonymous report; a configuration may hold lists of cases and remarks of users.
_ANONYMOUS_KEYS = (
    *("dataset", "study", "method", "seed", "members", "data_kind"),
    *("scores", "thresholds", "failure_above", "format", "format_version"),
)
#: Default maximum number of columns on a case's card.
MAX_COLUMNS = 12

logger = logging.getLogger(__name__)

_Some = TypeVar("_Some")


@dataclass(frozen=True)
class Privacy:
    """Rules for text about single cases.

    Attributes:
        anonymous: whether case ids are numbers, and only columns known to be harmless are shown.
        columns: names of the columns to show; None for those that are shown by default.
        numbers: case id to the text that replaces it, the same in all runs.
    """

    anonymous: bool
    columns: tuple[str, ...] | None
    numbers: Mapping[str, str]

    @classmethod
    def of(cls, runs: Sequence[Results], anonymous: bool, columns: Iterable[str] | None) -> Privacy:
        """Assign numbers to the cases of all runs.

        Raises:
            ValueError: a column is in no run's case table, or is never shown.
        """
        ids = dict.fromkeys(str(i) for run in runs for i in run.cases["case_id"])
        chosen = None if columns is None else tuple(dict.fromkeys(columns))
        _check(runs, chosen or ())
        if anonymous:
            return cls(True, chosen, {i: f"case {n}" for n, i in enumerate(ids, 1)})
        shown = {i: shown_id(i) for i in ids}
        # files of the same name in different folders stay different cases
        often = Counter(shown.values())
        return cls(
            False,
            chosen,
            {i: s if often[s] == 1 else f"{s} (case {n})" for n, (i, s) in enumerate(shown.items(), 1)},
        )

    def shown(self, results: Results) -> dict[str, str]:
        """Return the shown columns of a run's case table with their names in words."""
        own = [str(name) for name in results.cases.columns if not is_identifying(str(name))]
        if self.columns is not None:
            own = [name for name in own if name in self.columns]
        else:
            harmless = harmless_columns(results) if self.anonymous else own
            own = [name for name in own if name in harmless][:MAX_COLUMNS]
        names = Names(lambda name: name.replace("_", " "))
        return {name: names(name) for name in own}

    def table(self, results: Results, rows: NDArray[np.int64]) -> dict[str, pd.Series[str]]:
        """Return the shown columns of some rows as redacted text, by their names in words."""
        cases = results.cases.iloc[rows]
        return {title: cases[name].map(_cell) for name, title in self.shown(results).items()}

    def only_shown(self, results: Results) -> Results:
        """Return a cleaned run whose case table has the shown columns alone, by their names in words.

        Ids, groups and labels stay, since cases are matched and resampled by them. Values are as they were.
        """
        base = [name for name in ("case_id", "label", "label_name", "group") if name in results.cases]
        shown = {name: title for name, title in self.shown(results).items() if name not in base}
        return _changed(results, cases=results.cases[[*base, *shown]].rename(columns=shown))

    def note(self, runs: Sequence[Results]) -> list[str]:
        """Return the page's note on omitted columns, whose names are logged."""
        if not self.anonymous:
            return []
        there = {str(name) for run in runs for name in run.cases.columns if not is_identifying(str(name))}
        left_out = sorted(there - {name for run in runs for name in self.shown(run)})
        if left_out:
            logger.info("not in the anonymous report: the columns %s", ", ".join(left_out))
        return [
            "This report is anonymous: case ids are numbers, and the configuration of the runs and "
            f"{len(left_out)} columns of the case table are left out. Text burnt into a picture stays in it."
        ]


def _check(runs: Sequence[Results], columns: Sequence[str]) -> None:
    there = dict.fromkeys(str(name) for run in runs for name in run.cases.columns)
    # label_name allows the names of classes, which are shown elsewhere
    allowed = [name for name in there if not is_identifying(name) or name == "label_name"]
    wrong = [name for name in columns if name not in allowed]
    if wrong:
        raise ValueError(
            f"columns must be among {', '.join(allowed)}, which the case tables have and a page may show; "
            f"got {', '.join(map(repr, wrong))}"
        )


def cleaned(
    runs: Sequence[Results], anonymous: bool = False, columns: Iterable[str] | None = None
) -> list[Results]:
    """Return runs with redacted names and descriptions; different names stay different.

    In an anonymous report, test sets with names of their own are numbered unless ``source`` is among the
    columns (a domain is often a place or doctor), and so are, unless ``label_name`` is, classes with cases of
    a single group: such a class may be a person.
    """
    names: defaultdict[str, Names] = defaultdict(Names)
    numbered: dict[str, str] = {}
    columns = set(columns or ())
    if anonymous and "source" not in columns:
        for name in (s.name for run in runs for s in run.test_sets.values() if s.corruption is None):
            if name not in _USUAL_SETS and name not in numbered:
                numbered[name] = f"test set {len(numbered) + 1}"
        if numbered:
            told = ", ".join(f"{number} is {name}" for name, number in numbered.items())
            logger.info("in the anonymous report: %s", told)

    def name_of(kind: str, name: Any) -> str:
        return names[kind](numbered.get(str(name), str(name)) if kind in ("set", "study") else str(name))

    def clean(results: Results) -> Results:
        run = dict(results.run)
        classes = [str(name) for name in run["class_names"]]
        if anonymous and "label_name" not in columns:
            classes = _without_persons(results, classes)
        if anonymous:
            run = {key: run[key] for key in _ANONYMOUS_KEYS if key in run}
        run |= {key: name_of(key, results.run[key]) for key in ("dataset", "study", "method")}
        run["class_names"] = [name_of("class", name) for name in classes]
        hides = anonymous and "label_name" not in columns
        cases = _with_unknown(results, lambda name: name_of("class", name), hides)
        if isinstance(described := run.get("test_set_descriptions"), Mapping):
            run["test_set_descriptions"] = {name_of("set", k): v for k, v in described.items()}
        sets = {}
        for s in results.test_sets.values():
            corruption = s.corruption and name_of("corruption", s.corruption)
            sets[name_of("set", s.name)] = _changed(s, name=name_of("set", s.name), corruption=corruption)
        # names of scores have no place for a path, but may contain a word such as "token"
        named = {key: results.run[key] for key in (SCORES, "thresholds") if key in results.run}
        run = {**redacted(run), **named}
        return _changed(results, run=run, cases=cases, test_sets=sets)

    return [clean(results) for results in runs]


def _without_persons(results: Results, classes: Sequence[str]) -> list[str]:
    if harmless_columns(results) or not results.is_classification:
        return list(classes)
    by = results.cases["group" if "group" in results.cases else "case_id"]
    groups = by.groupby(results.cases["label"].to_numpy()).nunique()
    return [name if groups.get(c, 0) > 1 else f"class {c}" for c, name in enumerate(classes)]


def _with_unknown(results: Results, named: Callable[[str], str], hides: bool) -> pd.DataFrame:
    """Return the case table with names of what is none of the classes changed like those of classes."""
    cases = results.cases
    if not {"label", "label_name"} <= set(cases) or not (unknown := cases["label"] == UNKNOWN).any():
        return cases
    names = cases["label_name"][unknown].astype(str)
    if hides and not harmless_columns(results):
        by = cases["group" if "group" in cases else "case_id"][unknown]
        names = names.where(by.groupby(names).transform("nunique") > 1, "unknown")
    shown = cases["label_name"].astype(object).copy()
    shown[unknown] = [named(name) for name in names]
    return cases.assign(label_name=shown)


def _changed(value: _Some, **changes: Any) -> _Some:
    """Return a copy with other entries, without reading and checking its arrays again."""
    other = copy.copy(value)
    for name, change in changes.items():
        object.__setattr__(other, name, change)
    return other


def shown_id(case_id: str) -> str:
    """Return a case id for the page; if it is the path of a file, the file's name.

    Many case tables use paths as ids.
    """
    text = redacted_text(case_id)
    return redacted_text(re.split(r"[\\/]", case_id.rstrip("\\/"))[-1]) if text == "[path]" else text


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "–" if math.isnan(value) else f"{value:.3g}"
    return redacted_text(str(value))
