"""The metrics of the tables, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from monai_sf.metrics.areas import augrc_of, aurc_of, eaurc_of, error_rate_of
from monai_sf.metrics.arrays import Array
from monai_sf.metrics.curve import Levels
from monai_sf.metrics.failure import failure_auroc_of
from monai_sf.metrics.operating import coverage_at_risk_of
from monai_sf.tables.defaults import DEFAULT_RISK


@dataclass(frozen=True)
class Measure:
    """A metric of confidence and error, shown in per cent.

    Attributes:
        name: for code, the command line and the column ``metric``.
        title: for readers.
        lower_is_better: direction.
        of_levels: from cumulative counts (..., K) to values (...); NaN where undefined.
        meaning: one line for the reader of a table.
        needs_binary: whether it is defined for right and wrong answers only, not for errors in between.
    """

    name: str
    title: str
    lower_is_better: bool
    of_levels: Callable[[Levels], Array]
    meaning: str
    needs_binary: bool = False


def measures(risk: float = DEFAULT_RISK) -> Mapping[str, Measure]:
    """Return all metrics by name.

    Args:
        risk: share of errors among trusted predictions for ``coverage_at_risk``, in [0, 1].

    Raises:
        ValueError: ``risk`` is out of range.
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"risk must lie in [0, 1], got {risk}")
    entries = (
        Measure("aurc", "AURC", True, aurc_of, "error rate averaged over all shares of trusted cases"),
        Measure(
            "eaurc", "e-AURC", True, eaurc_of, "AURC beyond that of a perfect ranking", needs_binary=True
        ),
        Measure("augrc", "AUGRC", True, augrc_of, "risk of a silent failure averaged over all thresholds"),
        Measure(
            "auroc_f",
            "AUROC_f",
            False,
            failure_auroc_of,
            "probability that a wrong case has a lower confidence than a correct one",
            needs_binary=True,
        ),
        Measure(
            "accuracy",
            "accuracy",
            False,
            lambda v: 1 - error_rate_of(v),
            "share of correct predictions",
            needs_binary=True,
        ),
        Measure(
            "coverage_at_risk",
            f"coverage at {100 * risk:g} % risk",
            False,
            partial(coverage_at_risk_of, risk=risk),
            f"largest share of cases that can be trusted with at most {100 * risk:g} % errors among them",
        ),
    )
    return {entry.name: entry for entry in entries}


def measure(name: str, risk: float = DEFAULT_RISK) -> Measure:
    """Return a metric by its name; see :func:`measures`.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    known = measures(risk)
    if name not in known:
        raise ValueError(f"metric must be one of {', '.join(known)}, got {name!r}")
    return known[name]
