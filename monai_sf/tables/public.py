"""The public names of :mod:`monai_sf.tables`, which imports them when one is first asked for."""

from monai_sf.tables.aggregate import Table, benchmark_table, failure_metrics, table_of
from monai_sf.tables.cells import Collection, RunKey, collect
from monai_sf.tables.comparisons import significance
from monai_sf.tables.divisions import Subgroups, subgroups_of
from monai_sf.tables.judge import (
    Detection,
    available_csfs,
    failure_detection,
    preferred_methods,
)
from monai_sf.tables.paper import compare_with_paper, paper_table
from monai_sf.tables.probabilities import Probabilities, Reliability, reliability
from monai_sf.tables.promises import thresholds
from monai_sf.tables.subgroups import by_group
from monai_sf.tables.write import write_tables

__all__ = [
    "Collection",
    "Detection",
    "Probabilities",
    "Reliability",
    "RunKey",
    "Subgroups",
    "Table",
    "available_csfs",
    "benchmark_table",
    "by_group",
    "collect",
    "compare_with_paper",
    "failure_detection",
    "failure_metrics",
    "paper_table",
    "preferred_methods",
    "reliability",
    "significance",
    "subgroups_of",
    "table_of",
    "thresholds",
    "write_tables",
]
