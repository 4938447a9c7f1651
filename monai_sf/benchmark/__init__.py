"""The benchmark: many runs of many bundles in one call.

``run_benchmark`` is imported on first use: who only looks at the status, or starts a task on a machine of a
cluster, does not wait for torch.
"""

from typing import TYPE_CHECKING

from monai_sf.benchmark.names import BenchmarkError
from monai_sf.vocabulary.late import late

if TYPE_CHECKING:
    from monai_sf.benchmark.run import run_benchmark
else:
    __getattr__ = late(__name__, "run")

__all__ = ["BenchmarkError", "run_benchmark"]
