"""Deep ensembles of a collection of runs: those that differ in the seed only, from their stored outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from monai_sf.results import Results, ResultsError
from monai_sf.results.format import SCORES
from monai_sf.scores import CSFS, applies_to

#: The array that makes a score one of ensembles.
_MEAN = "ensemble_log_softmax"


class NoEnsemble(NamedTuple):
    """What an ensemble of several seeds lacks, or why there is none."""

    dataset: str
    study: str
    method: str
    reason: str

    @property
    def text(self) -> str:
        """The note for the reader of a table, without the dataset."""
        return f"ensemble of {self.study}, {self.method}: {self.reason}"


def ensemble_csfs(method: str) -> tuple[str, ...]:
    """Return the scores of ensembles of a method's networks; none for methods with scores of their own."""
    return tuple(name for name, csf in CSFS.items() if csf.prediction == _MEAN and applies_to(csf, method))


def ensembles_of(runs: Iterable[Results]) -> tuple[list[Results], list[NoEnsemble]]:
    """Return an ensemble of the runs of each dataset, study and method that has several seeds.

    It has the test sets that all its members have.

    Args:
        runs: single runs; ensembles, and runs of errors without classes, are left out.

    Returns:
        The ensembles, in the order of their first members; and what is missing among them.
    """
    groups: dict[tuple[str, str, str], list[Results]] = {}
    for results in runs:
        run = results.run
        if results.is_classification and "members" not in run and ensemble_csfs(str(run["method"])):
            groups.setdefault((str(run["dataset"]), str(run["study"]), str(run["method"])), []).append(
                results
            )
    found, missing = [], []
    for key, members in groups.items():
        if len({results.run["seed"] for results in members}) < 2:
            continue
        shared, others = _with_shared_sets(members)
        if others:
            missing.append(
                NoEnsemble(*key, f"without the test sets {', '.join(others)}, which not all of its runs have")
            )
        if not shared[0].test_sets:
            continue
        try:
            found.append(Results.ensemble(shared))
        except ResultsError as error:
            missing.append(NoEnsemble(*key, str(error)))
    return found, missing


def member_of(results: Results) -> Results:
    """Return a run with nothing but what an ensemble without pictures reads, which keeps few files open."""
    test_sets = {
        name: dataclasses.replace(s, arrays={"logits": s.arrays["logits"]})
        for name, s in results.test_sets.items()
        if "logits" in s.arrays
    }
    run = {key: value for key, value in results.run.items() if key != SCORES}  # their arrays are left out
    return Results(run, results.cases, test_sets)


def _with_shared_sets(members: Sequence[Results]) -> tuple[list[Results], list[str]]:
    names = list(dict.fromkeys(name for results in members for name in results.test_sets))
    others = [name for name in names if any(name not in results.test_sets for results in members)]
    if not others:
        return list(members), []
    return [
        Results(r.run, r.cases, {name: s for name, s in r.test_sets.items() if name not in others})
        for r in members
    ], others
