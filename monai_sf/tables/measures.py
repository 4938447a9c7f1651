"""The metrics that the table can show, by name, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from monai_sf.metrics.areas import augrc_of, aurc_of, eaurc_of, error_rate_of
from monai_sf.metrics.arrays import Array
from monai_sf.metrics.curve import Levels
from monai_sf.metrics.failure import failure_auroc_of
from monai_sf.metrics.operating import coverage_at_risk_of

#: Share of errors among trusted predictions that ``coverage_at_risk`` tolerates unless told.
DEFAULT_RISK = 0.05


@dataclass(frozen=True)
class Measure:
    """A metric of confidence and error, shown in per cent.

    Attributes:
        name: for code, the command line and the column ``metric``.
        title: for readers.
        lower_is_better: direction.
        of_levels: from cumulated counts (..., K) to values (...); NaN where it is not defined.
        meaning: one line for the reader of a table.
    """

    name: str
    title: str
    lower_is_better: bool
    of_levels: Callable[[Levels], Array]
    meaning: str

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        return "lower is better" if self.lower_is_better else "higher is better"


def measures(risk: float = DEFAULT_RISK) -> Mapping[str, Measure]:
    """Every metric by its name.

    Args:
        risk: share of errors among trusted predictions for ``coverage_at_risk``, in [0, 1].

    Raises:
        ValueError: ``risk`` is out of range.
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"risk must lie in [0, 1], got {risk}")
    entries = (
        Measure("aurc", "AURC", True, aurc_of, "error rate averaged over all shares of trusted cases"),
        Measure("eaurc", "e-AURC", True, eaurc_of, "AURC beyond that of a perfect ranking"),
        Measure("augrc", "AUGRC", True, augrc_of, "risk of a silent failure averaged over all thresholds"),
        Measure(
            "auroc_f",
            "AUROC_f",
            False,
            failure_auroc_of,
            "probability that a wrong case has a lower confidence than a correct one",
        ),
        Measure("accuracy", "accuracy", False, _accuracy_of, "share of correct predictions"),
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
    """The metric of that name; see :func:`measures`.

    Raises:
        ValueError: there is none; the message lists the known ones.
    """
    known = measures(risk)
    if name not in known:
        raise ValueError(f"metric must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def _accuracy_of(levels: Levels) -> Array:
    return 1 - error_rate_of(levels)
