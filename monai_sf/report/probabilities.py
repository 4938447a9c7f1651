"""The panel on the probabilities of a classifier: reliability, which is not failure detection."""

from __future__ import annotations

import math
from typing import Any

from monai_sf.results import Results, TestSet
from monai_sf.tables.probabilities import Reliability, reliability


def probabilities(results: Results, test_set: TestSet) -> dict[str, Any] | None:
    """Return the reliability of a run's probabilities on a test set; None on disturbed images."""
    if test_set.corruption is not None or (found := reliability(results, test_set.name)) is None:
        return None
    return {
        "temperature": found.temperature,
        "before": _numbers(found.before),
        "after": None if found.after is None else _numbers(found.after),
    }


def _numbers(found: Reliability) -> dict[str, Any]:
    bins = zip(found.confidence, found.accuracy, found.counts, strict=True)
    return {
        "cases": found.cases,
        "ece": found.ece,
        "brier": found.brier,
        "nll": found.nll if math.isfinite(found.nll) else None,
        "bins": [[float(c), float(a), int(n)] for c, a, n in bins if n],
    }
