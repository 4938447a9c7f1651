"""The benchmark: many runs of many bundles in one call, and the tables of their results.

Names are imported when they are asked for: who only looks at the status, or starts a task on a machine of a
cluster, does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_sf.benchmark.engines import default_workers, open_engine
    from monai_sf.benchmark.grid import GRID
    from monai_sf.benchmark.names import BenchmarkError
    from monai_sf.benchmark.run import run_benchmark
    from monai_sf.benchmark.write import write_table, write_tables
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
    "write_tables",
]

_MODULES = {
    "GRID": "monai_sf.benchmark.grid",
    "PAPER_CSFS": "monai_sf.scores",
    "BenchmarkError": "monai_sf.benchmark.names",
    "benchmark_table": "monai_sf.evaluation",
    "default_workers": "monai_sf.benchmark.engines",
    "open_engine": "monai_sf.benchmark.engines",
    "run_benchmark": "monai_sf.benchmark.run",
    "write_table": "monai_sf.benchmark.write",
    "write_tables": "monai_sf.benchmark.write",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
