"""What the options of the tables can be and are by default, for a help that does not wait for torch."""

from __future__ import annotations

#: Names of :func:`monai_sf.tables.measures.measures`.
METRICS = ("aurc", "eaurc", "augrc", "auroc_f", "accuracy", "coverage_at_risk")
#: Share of errors among trusted predictions that ``coverage_at_risk`` tolerates.
DEFAULT_RISK = 0.05
#: Bootstrap resamples of the groups for the significance.
RESAMPLES = 2000
