"""The promise of a run: thresholds chosen on calibration cases, and the risk that they guarantee there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_sf.metrics.clusters import effective_sizes, wilson
from monai_sf.metrics.groups import FEWEST_CLUSTERS
from monai_sf.tables.promises import stored_thresholds

Float = NDArray[np.float64]


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


class Seen(NamedTuple):
    """What was seen at a promised threshold: the risk of a random case of a patient, which is promised.

    Attributes:
        rate: error rate of the trusted cases, of which every patient's weigh as much as the patient's share.
        low: lower end of its 95 % interval; NaN where there is none.
        high: upper end.
        few: whether the trusted cases are of too few patients for a verdict.
    """

    rate: float
    low: float
    high: float
    few: bool

    def of_page(self) -> dict[str, float | bool | None]:
        """Return it for JSON."""
        return {k: None if np.isnan(v) else v for k, v in self._asdict().items()}


def seen_at(
    threshold: float | None, confidence: Float, error: Float, groups: NDArray[np.int64]
) -> Seen | None:
    """Return what was seen at a promised threshold; None without one, and where no case is trusted.

    A threshold that is chosen on one case of each patient promises something about a random case of a random
    patient: of a patient with n cases in the set each counts 1 / n.

    Args:
        threshold: the promised one; a case at or above it is trusted.
        confidence: (n,) confidences of the cases of a test set, or of several ones.
        error: (n,) 1 where the prediction is wrong, else 0.
        groups: (n,) number of the patient, or of another cause of similar cases.
    """
    if threshold is None or not (trusted := confidence >= threshold).any():
        return None
    _, group, images = np.unique(groups, return_inverse=True, return_counts=True)
    counted = np.bincount(group, trusted) / images
    wrong = np.bincount(group, trusted * error) / images
    rate = float(wrong.sum() / counted.sum())
    low, high = wilson(rate, float(effective_sizes(wrong, counted, trusted.sum())))
    return Seen(rate, low, high, int((counted > 0).sum()) < FEWEST_CLUSTERS)


def promise_of(run: Mapping[str, Any]) -> Promise | None:
    """Return the promise in run.json, None for a run without thresholds.

    Raises:
        ResultsError: the thresholds are not as :func:`monai_sf.tables.thresholds` writes them.
    """
    stored = stored_thresholds(run)
    return None if stored is None else Promise(**stored)
