"""The benchmark: many runs of many bundles in one call.

``run_benchmark`` is imported on first use: who only looks at the status, or starts a task on a machine of a
cluster, does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai_sf.benchmark.names import BenchmarkError

if TYPE_CHECKING:
    from monai_sf.benchmark.run import run_benchmark

__all__ = ["BenchmarkError", "run_benchmark"]


def __getattr__(name: str) -> Any:
    if name == "run_benchmark":
        from monai_sf.benchmark.run import run_benchmark

        return run_benchmark
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
