"""The benchmark: many runs of many bundles in one call, and the tables of their results."""

from monai_sf.benchmark.engines import default_workers, open_engine
from monai_sf.benchmark.grid import GRID
from monai_sf.benchmark.run import BenchmarkError, run_benchmark
from monai_sf.benchmark.table import write_table
from monai_sf.evaluation import benchmark_table
from monai_sf.scores import PAPER_CSFS

__all__ = [
    "GRID",
    "PAPER_CSFS",
    "BenchmarkError",
    "benchmark_table",
    "default_workers",
    "open_engine",
    "run_benchmark",
    "write_table",
]
