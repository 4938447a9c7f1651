"""Who is affected: silent failures by class and by every suitable column of the case table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.metrics import risk_at_coverage
from monai_sf.metrics.groups import marked, statistics_of
from monai_sf.results import Results, ResultsError, TestSet
from monai_sf.tables.divisions import subgroups_of
from monai_sf.tables.judge import failure_detection
from monai_sf.tables.promises import stored_thresholds
from monai_sf.vocabulary.ids import group_cases
from monai_sf.vocabulary.shifts import NEW_CLASS

#: Without a promised threshold, it is the one that keeps this share of the iid cases.
COVERAGE = 0.8


def by_group(
    results: Results, test_set: str, csf: str, *, threshold: float | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return who is affected by silent failures: by class and by every suitable column of the case table.

    For results without classes, a failure is an error above ``Results.failure_above``, as in the report.

    Args:
        results: the results of a run.
        test_set: name of one of its test sets.
        csf: name of a CSF.
        threshold: lowest confidence that is trusted; by default the promised one (see
            :func:`monai_sf.tables.thresholds`), and without a promise the one that keeps 80 % of the iid
            cases.
        seed: of the intervals of AUGRC.

    Returns:
        The rows of :func:`monai_sf.metrics.by_group` after a first column ``column``, of all divisions that
        :func:`monai_sf.tables.subgroups_of` returns; Holm's correction is for all rows. ``attrs`` has
        ``threshold``, ``promised`` (whether that is promised) and ``left_out`` (column to why).

    Raises:
        ResultsError: see :func:`monai_sf.tables.failure_detection`; the cases are of classes that the
            classifier does not have, so that every answer is an error; there is no default threshold, since
            no iid cases are there or the run's thresholds are of another version; a placeholder such as
            "anonymous" is the group of most cases.
        ValueError: the threshold is NaN.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import by_group
        >>> logits = [[4.0, 0], [3, 0], [0, 2], [0, 1], [3, 0], [2.5, 0], [0, 3], [2, 0]]
        >>> columns = {"sex": ["f", "f", "f", "f", "m", "m", "m", "m"]}
        >>> run = Results.from_arrays(logits, [0, 0, 1, 0, 1, 1, 1, 0], columns=columns)
        >>> found = by_group(run, "iid", "MSR")
        >>> found[["column", "group", "cases", "errors", "silent_failures"]].values.tolist()
        [['class', 'class 0', 4, 1, 0], ['class', 'class 1', 4, 2, 2],
         ['sex', 'f', 4, 1, 0], ['sex', 'm', 4, 2, 2]]
    """
    return marked_together([unmarked_by_group(results, test_set, csf, threshold, seed)])[0]


def unmarked_by_group(
    results: Results, test_set: str, csf: str, threshold: float | None, seed: int
) -> pd.DataFrame:
    """Return the rows of :func:`by_group` before they are marked."""
    found = failure_detection(results, test_set, csf)
    if not is_judged(results.test_sets[test_set]):
        raise ResultsError(f"every case of {test_set} is of a new class, so every answer is an error")
    promised = False
    if threshold is None:
        threshold, promised = _default_threshold(results, csf)
    columns, left_out = subgroups_of(results, test_set)
    patients = _patients(results, test_set)
    wrong = found.failed.astype(np.float64)
    rows = statistics_by_column(
        found.confidence, wrong, columns, threshold=threshold, clusters=patients, seed=seed
    )
    rows.attrs = {"threshold": threshold, "promised": promised, "left_out": dict(left_out)}
    return rows


def is_judged(test_set: TestSet) -> bool:
    """Return whether groups of a test set are compared: not where every answer is an error."""
    return test_set.kind != NEW_CLASS


def statistics_by_column(
    confidence: NDArray[Any],
    error: NDArray[np.float64],
    columns: Mapping[str, pd.Series[Any]],
    *,
    threshold: float,
    clusters: Any,
    seed: int,
) -> pd.DataFrame:
    """Return :func:`~monai_sf.metrics.groups.statistics_of` of every division after its ``column``."""
    parts = []
    for name, values in columns.items():
        part = statistics_of(confidence, error, values, threshold=threshold, clusters=clusters, seed=seed)
        part.insert(0, "column", name)
        parts.append(part)
    if parts:
        return pd.concat(parts, ignore_index=True)
    one = statistics_of(np.zeros(1), np.zeros(1), [""], threshold=0.0)
    one.insert(0, "column", "")
    return one.iloc[:0]


def marked_together(parts: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Mark rows of :func:`statistics_by_column` as one family, such as those of all test sets of a run.

    Whoever looks for marks in several test sets would find some by chance if each were a family of its own.
    """
    if not parts:
        return []
    whole = marked(pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True))
    found, first = [], 0
    for part in parts:
        own = whole.iloc[first : first + len(part)].reset_index(drop=True)
        own.attrs = part.attrs
        first += len(part)
        found.append(own)
    return found


def _default_threshold(results: Results, csf: str) -> tuple[float, bool]:
    """Return the threshold of a run, and whether it is promised."""
    stored = stored_thresholds(results.run)
    promised = stored["csfs"].get(csf, {}).get("threshold") if stored else None
    if promised is not None:
        return float(promised), True
    iid = next((s.name for s in results.test_sets.values() if s.kind == "iid" and len(s)), None)
    if iid is None:
        raise ResultsError("there are no iid cases to take a threshold from: give one")
    found = failure_detection(results, iid, csf)
    return risk_at_coverage(found.confidence, found.error, coverage=COVERAGE).threshold, False


def _patients(results: Results, test_set: str) -> Any:
    if "group" not in results.cases:
        return None
    groups = group_cases(results.cases["group"], results.cases["case_id"])
    try:
        groups.check()
    except ValueError as error:
        raise ResultsError(str(error)) from error
    return groups.at(results.test_sets[test_set].rows)
