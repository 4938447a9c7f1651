"""What the benchmark itself costs: time a task beside the task's own, and the check of a complete matrix.

``python tests/benchmarks/bench_orchestration.py --seeds 8 --repeats 3``: the toy bundle of the tests, whose
tasks take milliseconds, on one local worker; and beside it what a task would cost that started Python and
imported torch and MONAI anew. The shortest of the repeats counts.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmark.toy_bundle import write_bundle  # noqa: E402

from monai_sf.benchmark import run_benchmark  # noqa: E402

IMPORTS = "import monai.bundle, monai_sf.benchmark.execute, monai_sf.engines"


def timed(call):
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    small, large, checks, imports = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bundle = write_bundle(root / "bundle")
        os.environ["TOY_NOTES"] = str(root / "notes")

        def matrix(out, seeds):
            run_benchmark(
                [bundle],
                out,
                studies=["iid"],
                methods=["confidnet"],
                seeds=range(seeds),
                dataset_dirs={"lung_nodule_ct": bundle / "data"},
                workers=1,
            )

        def own(out):
            marks = [json.loads(p.read_text()) for p in (out / "tasks").rglob("*/*.json")]
            return sum(mark["result"]["seconds"] for mark in marks)

        for repeat in range(options.repeats):
            few, many = root / f"few{repeat}", root / f"many{repeat}"
            small.append(timed(lambda out=few: matrix(out, 1)) - own(few))
            large.append(timed(lambda out=many: matrix(out, 1 + options.seeds)) - own(many))
            checks.append(timed(lambda out=many: matrix(out, 1 + options.seeds)))
            command = [sys.executable, "-c", IMPORTS]
            imports.append(timed(lambda c=command: subprocess.run(c, cwd=ROOT, check=True)))
    tasks = 2 * options.seeds
    print(f"start of a benchmark, the worker's imports among it: {min(small):.2f} s")
    print(f"a task beside its own time: {(min(large) - min(small)) / tasks * 1e3:.0f} ms (mean of {tasks})")
    print(f"check of a complete matrix of {2 * (1 + options.seeds) + 3} tasks: {min(checks):.2f} s")
    print(f"a process with the imports, which a task does not pay: {min(imports):.2f} s")


if __name__ == "__main__":
    main()
