"""Who is affected in a collection of runs: the rows of ``groups.csv`` and one line per test set."""

from __future__ import annotations

import logging

import pandas as pd

from monai_sf.results import ResultsError, load_results
from monai_sf.tables.cells import Collection
from monai_sf.tables.judge import available_csfs, deciding_score
from monai_sf.tables.subgroups import is_judged, marked_together, unmarked_by_group

logger = logging.getLogger(__name__)

#: Most columns in one line, and most characters of a name there.
_SHOWN, _LONGEST = 2, 16


def groups_of_runs(collection: Collection) -> tuple[pd.DataFrame, list[str]]:
    """Return who is affected by each run's deciding score on clean test sets, and notes on what is missing.

    See :func:`~.subgroups.by_group`. Test sets of new classes are left out.

    Args:
        collection: its runs are read again from their folders.

    Returns:
        The rows after the columns ``dataset``, ``study``, ``method``, ``seed``, ``test_set``, ``csf``,
        ``threshold``, ``promised``. Holm's correction is for all test sets of a run. A run without the score
        that decides by default is judged by its first.
    """
    parts, notes = [], []
    for key, folder in collection.runs.items():
        if folder is None:
            continue
        logger.info("subgroups: %s", key)
        results = load_results(folder)
        there = available_csfs(results)
        if not there:
            continue
        csf = deciding_score(results)
        csf = csf if csf in there else there[0]
        found = {}
        for test_set in results.test_sets.values():
            if test_set.corruption is not None or not len(test_set) or not is_judged(test_set):
                continue
            try:
                found[test_set.name] = unmarked_by_group(results, test_set.name, csf, None, 0)
            except ResultsError as error:
                notes.append(f"{key.dataset}: {key}: no subgroups of {test_set.name}: {error}")
        for name, rows in zip(found, marked_together(list(found.values())), strict=True):
            about = {**key._asdict(), "test_set": name, "csf": csf}
            about |= {kind: rows.attrs[kind] for kind in ("threshold", "promised")}
            for place, (kind, value) in enumerate(about.items()):
                rows.insert(place, kind, value)
            parts.append(rows)
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), notes


def worse_groups(rows: pd.DataFrame) -> list[str]:
    """Return one short line per dataset, study and test set with groups that are worse, from all runs' rows.

    A line names columns and counts, no value of the case table: those are in the rows only.

    Args:
        rows: see :func:`groups_of_runs`.
    """
    lines = []
    for place, own in rows.groupby(["dataset", "study", "test_set"]) if len(rows) else ():
        worse = own[own["worse"].to_numpy(bool)]
        if not len(worse):
            continue
        n_groups = len(worse[["column", "group"]].drop_duplicates())
        n_runs, n_with = (len(part[["method", "seed"]].drop_duplicates()) for part in (own, worse))
        columns = [_cut(name) for name in worse["column"].value_counts().index]
        more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
        lines.append(
            f"{', '.join(map(_cut, place))}: {n_groups} worse {'group' if n_groups == 1 else 'groups'} by "
            f"{', '.join(columns[:_SHOWN])}{more}"
            f"{f' in {n_with} of {n_runs} runs' if n_runs > 1 else ''}; see groups.csv"
        )
    return lines


def _cut(name: object) -> str:
    text = str(name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
