"""Who is affected: the groups of cases that fail silently more often than the rest, on the page.

The groups are those of :func:`monai_sf.tables.by_group`, but only of columns that the page may show, and
Holm's correction is for all test sets of a run together, as in the tables.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.metrics.groups import MISSING, group_name
from monai_sf.report.packing import Packer
from monai_sf.report.privacy import Privacy
from monai_sf.report.runs import Run
from monai_sf.report.working_points import PROMISED
from monai_sf.scores import is_chosen
from monai_sf.tables.cases import CasesOfRun
from monai_sf.tables.divisions import subgroups_of
from monai_sf.tables.subgroups import COVERAGE, is_judged, marked_together, statistics_by_column

#: Working point where no threshold is promised.
STEP = round(100 * COVERAGE)
#: Cases times columns times scores that are judged in a run: the bootstrap of a million takes half a minute.
MOST_JUDGED = 1_000_000
#: Code of a sampled case that is in no group, as on disturbed images.
NO_GROUP = 2**16 - 1

#: Column to the group of each case of a test set, see :class:`monai_sf.tables.Subgroups`.
Divisions: TypeAlias = Mapping[str, "pd.Series[Any]"]
#: Column to the numbers of its groups, by name, and the number of the group of each sampled case.
Columns: TypeAlias = dict[str, tuple[dict[str, int], NDArray[np.int64]]]


def affected(
    run: Run, packer: Packer, hide: Privacy, chosen: Collection[str] | None, seed: int
) -> dict[str, Any] | None:
    """Return who is affected by silent failures, for every clean test set and the scores offered at first.

    With very many cases, only for the first of these scores, see :data:`MOST_JUDGED`.

    Cases above ``Results.failure_above`` count as wrong, as everywhere on the page.

    Args:
        run: evaluated, of cleaned results.
        packer: for arrays of the sampled cases.
        hide: the columns that are shown.
        chosen: names of the scores that are offered at first; None for the usual ones.
        seed: of the intervals of AUGRC.

    Returns:
        None where no column divides the cases.
    """
    shown = hide.only_shown(run.results)
    clusters = CasesOfRun(shown, {}).groups
    divided: dict[int, Divisions] = {}
    left_out: dict[str, str] = {}
    for i, test_set in enumerate(run.sets):
        if test_set.corruption is None and is_judged(test_set):
            groups, without = subgroups_of(shown, test_set.name)
            left_out |= without
            if groups:
                divided[i] = groups
    columns = _columns(run, divided)
    if not columns:
        return None
    judged = sum(len(run.sets[i]) * len(parts) for i, parts in divided.items())
    usual = [name for name in run.csfs if is_chosen(name, chosen)]
    csfs = {}
    for name in usual[: max(MOST_JUDGED // judged, 1)]:
        promised = run.promise.threshold(name) if run.promise else None
        level = run.thresholds[name][STEP - 1] if promised is None else promised
        found = run.sampled(name)
        statistics = [
            statistics_by_column(
                shown_set.detection.confidence,
                shown_set.detection.failed.astype(np.float64),
                groups,
                threshold=level,
                clusters=clusters.at(run.sets[i].rows),
                seed=seed,
            )
            for i, groups in divided.items()
            for shown_set in [run.shown[run.sets[i].name, name]]
        ]
        tables = marked_together(statistics)
        csfs[name] = {
            "promised": promised is not None,
            "step": STEP if promised is None else PROMISED,
            "silent": packer.add(found.failed & (found.confidence >= level), "uint8"),
            "sets": [
                _set(run, i, name, level, columns, table) for i, table in zip(divided, tables, strict=True)
            ],
        }
    return {
        "columns": [
            {"name": name, "groups": list(known), "codes": packer.add(codes, "uint16")}
            for name, (known, codes) in columns.items()
        ],
        "csfs": csfs,
        "leftOut": [[name, why] for name, why in left_out.items() if name not in columns],
    }


def _columns(run: Run, divided: Mapping[int, Divisions]) -> Columns:
    """Return the columns that divide the cases of any test set."""
    names = dict.fromkeys(name for groups in divided.values() for name in groups)
    columns: Columns = {}
    for name in names:
        numbers: dict[str, int] = {}
        codes = np.full(len(run.sample.position), NO_GROUP, np.int64)
        for i, groups in divided.items():
            if name in groups:
                values = groups[name]
                there = [*map(group_name, values.cat.categories), *([MISSING] if values.isna().any() else [])]
                number = np.array([numbers.setdefault(group, len(numbers)) for group in there])
                of_case = values.cat.codes.to_numpy()  # -1 where it is missing
                mine = run.sample.test_set == i
                codes[mine] = number[of_case[run.sample.position[mine]]]
        columns[name] = numbers, codes
    return columns


def _set(
    run: Run, number: int, csf: str, level: float, columns: Columns, table: pd.DataFrame
) -> dict[str, Any]:
    """Return the rows of one test set."""
    test_set = run.sets[number]
    found = run.shown[test_set.name, csf].detection
    silent = int((found.failed & (found.confidence >= level)).sum())
    return {
        "set": number,
        "rows": [_row(row, columns, silent, len(test_set)) for row in table.to_dict("records")],
    }


def _row(row: Mapping[Hashable, Any], columns: Columns, silent: int, cases: int) -> dict[str, Any]:
    others = cases - int(row["cases"])
    return {
        "column": list(columns).index(row["column"]),
        "group": columns[row["column"]][0][row["group"]],
        **{key: int(row[key]) for key in ("cases", "clusters", "errors")},
        "silent": int(row["silent_failures"]),
        "rate": _range(row, "silent_failure_rate"),
        "coverage": _range(row, "coverage"),
        "augrc": _range(row, "augrc"),
        "rest": (silent - int(row["silent_failures"])) / others if others else None,
        "worse": bool(row["worse"]),
        "tooSmall": bool(row["too_small"]),
        "gap": _gap(row) if row["gap_widens"] else None,
    }


def _range(row: Mapping[Hashable, Any], name: str) -> list[float | None]:
    values = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    return [value if math.isfinite(value) else None for value in values]


def _gap(row: Mapping[Hashable, Any]) -> list[float]:
    """Return the error rates of a group and of the rest, before and after deferring cases."""
    before, after = float(row["error_rate"]), float(row["selective_risk"])
    return [before, before - float(row["gap_before"]), after, after - float(row["gap_after"])]
