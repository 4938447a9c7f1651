"""Cases that several runs share, and their groups (patients).

Runs are compared on the same cases, and their groups are resampled alike. Both are identified by canonical
ids (see :mod:`monai_sf.vocabulary.ids`). A run without groups takes them from another run of the same dataset
that was tested on the same cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.results import Results, ResultsError, TestSet, load_results
from monai_sf.vocabulary.ids import Objects, case_keys, group_cases
from monai_sf.vocabulary.shifts import NEW_CLASS

#: Fingerprint of a test set to the groups of its cases, by their keys.
Known = Mapping[str, Mapping[str, str]]


class CasesOfSet(NamedTuple):
    """The cases that curve and metrics of one test set are computed on.

    Attributes:
        rows: (n,) of the case table.
        ids: (G,) canonical ids of the groups, sorted.
        of_case: (n,) number of each case's group.
        fingerprint: equal for the same cases and labels.
        group_fingerprint: equal if they belong to the same groups, too.
    """

    rows: NDArray[np.int64]
    ids: Objects
    of_case: NDArray[np.int64]
    fingerprint: str
    group_fingerprint: str


class CasesOfRun:
    """The cases of a run.

    Args:
        results: the run's results.
        known: groups of the test sets of other runs, for a run without any.

    Attributes:
        groups: of all cases of the run.
        notes: remarks on the groups, without any id.

    Raises:
        ResultsError: a placeholder such as "anonymous" is the group of most cases.
    """

    def __init__(self, results: Results, known: Known) -> None:
        self._results, self._known = results, known
        ids, groups = results.cases["case_id"], results.cases.get("group")
        self._keys = case_keys(ids)
        self.groups = found = group_cases(groups, ids)
        try:
            found.check()
        except ValueError as error:
            raise ResultsError(str(error)) from error
        self._groups = found.ids[found.of_case]
        self._has_groups = groups is not None
        self._last: CasesOfSet | None = None
        sets = results.test_sets.values()
        single = [s.name for s in sets if len(s) > 1 and len(pd.unique(self._groups[s.rows])) == 1]
        self.notes = list(found.summary)
        if single:
            self.notes.append(
                f"no interval where all cases are of a single group (patient): {', '.join(single)}"
            )

    def beside(self, test_set: TestSet) -> TestSet | None:
        """Return the ordinary (iid) test set that one of new classes is judged with; None for any other.

        Of several it is the first with a case.
        """
        if test_set.kind != NEW_CLASS:
            return None
        return next((s for s in self._results.test_sets.values() if s.kind == "iid" and len(s)), None)

    def of(self, test_set: TestSet) -> CasesOfSet:
        """Return the cases that one of the run's test sets is judged on: its own, then those beside it."""
        beside = self.beside(test_set)
        rows = test_set.rows if beside is None else np.concatenate([test_set.rows, beside.rows])
        # the corruptions of an image are the same case
        if self._last is None or not np.array_equal(self._last.rows, rows):
            self._last = self._of(rows)
        return self._last

    def _of(self, rows: NDArray[np.int64]) -> CasesOfSet:
        keys = self._keys[rows]
        labels = np.zeros(len(keys), np.int64)
        if self._results.is_classification:
            labels = self._results.cases["label"].to_numpy(np.int64)[rows]
        print_of_cases = _hash_of(keys, labels)
        groups = self._groups[rows]
        if not self._has_groups and (others := self._known.get(print_of_cases)) is not None:
            groups = np.array([others[key] for key in keys], object)
        of_case, ids = pd.factorize(groups, sort=True)
        return CasesOfSet(rows, ids, of_case.astype(np.int64), print_of_cases, _hash_of(keys, groups))


def groups_of_others(runs: Iterable[tuple[str, Path]]) -> dict[str, Known]:
    """Return groups for the runs without any, by dataset; empty if all runs have groups, or none has.

    Args:
        runs: dataset and folder of each; unreadable ones are skipped.
    """
    having: dict[str, dict[bool, list[Path]]] = {}
    for dataset, folder in runs:
        having.setdefault(dataset, {True: [], False: []})["group" in _columns(folder)].append(folder)
    found: dict[str, Known] = {}
    for dataset, own in having.items():
        if not (own[True] and own[False]):
            continue
        groups: dict[str, dict[str, str]] = {}
        for folder in own[True]:
            try:
                results = load_results(folder)
                cases = CasesOfRun(results, {})
            except (ResultsError, OSError):  # it is left out, and named, when its turn comes
                continue
            for test_set in results.test_sets.values():
                known = cases.of(test_set)
                if known.fingerprint not in groups:
                    keys = case_keys(results.cases["case_id"])[known.rows]
                    groups[known.fingerprint] = dict(zip(keys, known.ids[known.of_case], strict=True))
        found[dataset] = groups
    return found


def _columns(folder: Path) -> list[str]:
    try:
        return list(pd.read_csv(folder / "cases.csv", nrows=0).columns)
    except (OSError, ValueError):
        return []  # opening the results will say what is wrong


def _hash_of(keys: Objects, values: NDArray[np.generic]) -> str:
    text = "\n".join(sorted(f"{key}\t{value}" for key, value in zip(keys, values, strict=True)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
