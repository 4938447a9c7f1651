"""The promise of a run: thresholds chosen on calibration cases, and the risk that they guarantee there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from monai_sf.results import ResultsError


@dataclass(frozen=True)
class Promise:
    """What is promised, as run.json has it under ``thresholds``, see :func:`monai_sf.tables.thresholds`.

    Attributes:
        target_risk: highest error rate of the trusted cases that is promised, in (0, 1).
        delta: probability with which a promise of any score may fail, in (0, 1).
        cases: number of calibration cases.
        groups: number of their groups, such as patients.
        csfs: CSF name to its entry, which has ``threshold`` (None if none can be promised) and ``needed``.
    """

    target_risk: float
    delta: float
    cases: int
    groups: int
    csfs: Mapping[str, Mapping[str, Any]]

    def threshold(self, csf: str) -> float | None:
        """Return the promised threshold of a score, None without."""
        return self.csfs.get(csf, {}).get("threshold")

    def of_run(self) -> dict[str, float]:
        """Return what is promised for JSON."""
        return {
            "targetRisk": self.target_risk,
            "delta": self.delta,
            "cases": self.cases,
            "groups": self.groups,
        }

    def of_csf(self, csf: str) -> dict[str, float | None] | None:
        """Return the promise of a score for JSON; None for a score without calibration cases."""
        if csf not in self.csfs:
            return None
        return {"threshold": self.threshold(csf), "needed": self.csfs[csf].get("needed")}


def promise_of(run: Mapping[str, Any]) -> Promise | None:
    """Return the promise in run.json, None for a run without thresholds.

    Raises:
        ResultsError: the thresholds are not as :func:`monai_sf.tables.thresholds` writes them.
    """
    stored = run.get("thresholds")
    if stored is None:
        return None
    names = [field.name for field in fields(Promise)]
    if not isinstance(stored, Mapping) or sorted(stored) != sorted(names):
        raise ResultsError(f"thresholds in run.json must have {', '.join(names)}: evaluate the run again")
    return Promise(**stored)
