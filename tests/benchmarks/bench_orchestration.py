"""What the benchmark itself costs: time a task beside the task's own, and the check of a complete matrix.

``python tests/benchmarks/bench_orchestration.py --seeds 10 --repeats 3``: the toy bundle of the tests, whose
tasks take milliseconds, on one local worker. A task's overhead is the time from the end of the task before it
to its own end, less the time that it was in its own code: choosing it, fingerprints, fork, lock, manifests,
log, status. Also what a task would cost that starts Python and imports torch and MONAI anew. The best of the
repeats counts, since a busy machine only adds.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.toy_bundle import write_bundle  # noqa: E402
from monai_sf.benchmark import run_benchmark  # noqa: E402

IMPORTS = "import monai.bundle, monai_sf.benchmark.execute, monai_sf.engines"


class Times(io.StringIO):
    """Notes when which task is said to be done."""

    def __init__(self):
        super().__init__()
        self.start, self.done = time.perf_counter(), []

    def write(self, text):
        if ": done" in text:
            self.done.append((text.split("] ")[1].split(":")[0], time.perf_counter()))
        return len(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    first, overhead, check, imports = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bundle = write_bundle(root / "bundle")
        os.environ["TOY_NOTES"] = str(root / "notes")

        def matrix(out):
            times = Times()
            with contextlib.redirect_stderr(times), contextlib.redirect_stdout(io.StringIO()):
                run_benchmark(
                    [bundle],
                    out,
                    studies=["iid"],
                    methods=["confidnet"],
                    seeds=range(options.seeds),
                    dataset_dirs={"lung_nodule_ct": bundle / "data"},
                    workers=1,
                )
            return times

        def own(out, name):
            return json.loads((out / "tasks" / f"{name}.json").read_text())["result"]["seconds"]

        for repeat in range(options.repeats):
            out = root / str(repeat)
            times = matrix(out)
            name, end = times.done[0]
            first.append(end - times.start - own(out, name))
            steps = [
                end - before - own(out, name)
                for (_, before), (name, end) in zip(times.done, times.done[1:], strict=False)
            ]
            overhead.append(statistics.median(steps))
            times = matrix(out)
            check.append(time.perf_counter() - times.done[-1][1])
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, check=True)
            imports.append(time.perf_counter() - start)
    print(f"until the first task begins, once per Python process: {first[0]:.2f} s")
    print(f"a task beside its own time: {1e3 * min(overhead):.0f} ms (median of {len(steps)})")
    print(f"looking at a complete matrix of {2 * options.seeds + 3} tasks: {1e3 * min(check):.0f} ms")
    print(f"a process with the imports, which a task does not pay: {min(imports):.2f} s")


if __name__ == "__main__":
    main()
