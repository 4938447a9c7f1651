"""Several runs together: start them, and table their results."""

from monai_sf.benchmark.runs import default_workers, run_studies, train_and_evaluate
from monai_sf.benchmark.write import write_table, write_tables
from monai_sf.evaluation import benchmark_table
from monai_sf.scores import PAPER_CSFS

__all__ = [
    "PAPER_CSFS",
    "benchmark_table",
    "default_workers",
    "run_studies",
    "train_and_evaluate",
    "write_table",
    "write_tables",
]
