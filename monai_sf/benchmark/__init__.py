"""The benchmark: many runs of many bundles in one call.

Names are imported when they are asked for: who only looks at the status, or starts a task on a machine of a
cluster, does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_sf.benchmark.engine import open_engine
    from monai_sf.benchmark.grid import GRID
    from monai_sf.benchmark.local_engine import default_workers
    from monai_sf.benchmark.names import BenchmarkError
    from monai_sf.benchmark.run import run_benchmark

__all__ = [
    "GRID",
    "BenchmarkError",
    "default_workers",
    "open_engine",
    "run_benchmark",
]

_MODULES = {
    "GRID": "monai_sf.benchmark.grid",
    "BenchmarkError": "monai_sf.benchmark.names",
    "default_workers": "monai_sf.benchmark.local_engine",
    "open_engine": "monai_sf.benchmark.engine",
    "run_benchmark": "monai_sf.benchmark.run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
