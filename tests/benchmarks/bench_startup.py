"""What one waits for before anything happens: processor time of each command's help and of some imports.

``python tests/benchmarks/bench_startup.py --repeats 5``: every line is a new process with one thread, whose
user and system time is measured, since other work on the same cores lengthens wall time. What a package adds
to torch and MONAI is measured inside of it, since that of the two varies by more. The lines take turns, and
the fastest of each counts. Goals: 1 s for a help; 0.3 s for what metrics and transforms add.
"""

import argparse
import os
import resource
import subprocess
import sys

from monai_sf.benchmark.local_engine import _PRELOADED

#: Prints the processor time of a last import.
ADDED = "import time, torch, monai; t = time.process_time(); import {}; print(time.process_time() - t)"
LINES = {
    "Python alone": ["-c", "pass"],
    **{
        f"{command} --help": ["-m", *command.split(), "--help"]
        for command in (
            "monai_sf.report", "monai_sf.tables", "monai_sf.benchmark", "monai_sf.benchmark run",
            "monai_sf.benchmark status", "monai_sf.bundle", "monai_sf.bundle new", "monai_sf.bundle show",
            "monai_sf.bundle inference", "monai_sf.bundle export",
        )
    },
    "import torch": ["-c", "import torch"],
    "import monai_sf.metrics": ["-c", "import monai_sf.metrics"],
    "import torch, monai": ["-c", "import torch, monai"],
    "beside these, monai_sf.metrics": ["-c", ADDED.format("monai_sf.metrics")],
    "beside these, monai_sf.transforms": ["-c", ADDED.format("monai_sf.transforms")],
    "what all workers of a benchmark share": ["-c", f"import {', '.join(_PRELOADED)}"],
}  # fmt: skip


def seconds(arguments: list[str]) -> float:
    """Return the user and system time of a new Python process, or what it has measured."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    if "process_time" in arguments[-1]:
        return float(ended.stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    best = dict.fromkeys(LINES, float("inf"))
    for _ in range(repeats):
        for name, arguments in LINES.items():
            best[name] = min(best[name], seconds(arguments))
    print("| | processor time |\n|---|---|")
    for name, time in best.items():
        print(f"| {name} | {time:.2f} s |")


if __name__ == "__main__":
    main()
