"""What a deep ensemble costs: five runs of 100,000 cases and 8 classes, from stored outputs.

``python tests/benchmarks/bench_ensemble.py`` writes made-up results, loads them and forms their ensemble,
beside the mean of ``scipy.special.softmax``. Measured is processor time, the median of several rounds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from monai_sf.results import Results, TestSet, load_results


def made_up(n: int, classes: int, seed: int) -> Results:
    """A run of n cases in groups of five, with logits only."""
    labels = np.random.default_rng(9).integers(0, classes, n)
    cases = pd.DataFrame(
        {
            "case_id": [f"case {i}" for i in range(n)],
            "label": labels,
            "label_name": [f"class {c}" for c in labels],
            "group": [f"patient {i // 5}" for i in range(n)],
            "source": "here",
        }
    )
    logits = np.random.default_rng(seed).normal(0, 1, (n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 3
    run = {
        "dataset": "made up",
        "study": "iid",
        "method": "confidnet",
        "seed": seed,
        "class_names": [f"class {c}" for c in range(classes)],
        "data_kind": "phantom",
    }
    return Results(run, cases, {"iid": TestSet("iid", "iid", np.arange(n), {"logits": logits})})


def median_of(function: Callable[[], object], rounds: int = 5) -> float:
    """The median processor time in seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times)


def cost(n: int, classes: int, count: int) -> None:
    """Print a line of figures for one size."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            made_up(n, classes, seed).save(Path(folder) / str(seed))
        runs = [load_results(Path(folder) / str(seed)) for seed in range(count)]
        logits = [run.test_sets["iid"].arrays["logits"] for run in runs]

        def plain() -> NDArray[np.float64]:
            mean: NDArray[np.float64] = np.mean([softmax(np.float64(z), axis=1) for z in logits], axis=0)
            return mean

        whole, scipy = median_of(lambda: Results.ensemble(runs)), median_of(plain)
        found = Results.ensemble(runs).test_sets["iid"].arrays["ensemble_log_softmax"]
        np.testing.assert_allclose(np.exp(found), plain(), rtol=1e-5, atol=1e-12)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{count} runs x {n:,} cases x {classes} classes: Results.ensemble {whole:.2f} s, checks "
        f"included; scipy's softmax and mean alone {scipy:.2f} s; peak {peak:.2f} GiB"
    )


def main() -> None:
    """Print the cost of the size that docs/reference/performance.md states, or of another one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    cost(given.cases, given.classes, given.runs)


if __name__ == "__main__":
    main()
