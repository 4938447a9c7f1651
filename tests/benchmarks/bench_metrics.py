"""Speed and memory of the risk-coverage metrics, as ratios to `np.argsort` of the same array in the same run.

Run ``python tests/benchmarks/bench_metrics.py [largest power of ten]``; without it N goes to 10**7.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from monai_sf.metrics import aurc, bootstrap_ci, risk_coverage_metrics


def fastest(calls: dict[str, Callable[[], Any]], seconds: float = 3.0) -> dict[str, float]:
    """Shortest time of each call in seconds, taken in turns so that other load falls on all alike."""
    times = {name: float("inf") for name in calls}
    start = time.perf_counter()
    rounds = 0
    while rounds < 3 or (time.perf_counter() - start < seconds and rounds < 200):
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            times[name] = min(times[name], time.perf_counter() - before)
        rounds += 1
    return times


def make_cases(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidence with 10 % ties and binary errors, both float64."""
    rng = np.random.default_rng(0)
    confidence = rng.random(n)
    confidence[rng.choice(n, n // 10, replace=False)] = confidence[rng.choice(n, n // 10)]
    return confidence, (rng.random(n) < 0.1).astype(np.float64)


def loop_aurc(confidence: np.ndarray, error: np.ndarray) -> float:
    """The same definition in a Python loop over the cases, as evaluation scripts have it."""
    order = np.argsort(confidence)[::-1]
    n, wrong, area, last = len(order), 0.0, 0.0, None
    for i in range(n):
        wrong += error[order[i]]
        if i + 1 < n and confidence[order[i + 1]] == confidence[order[i]]:
            continue
        point = ((i + 1) / n, wrong / (i + 1))
        left = last or (0.0, point[1])
        area += (point[0] - left[0]) * (point[1] + left[1]) / 2
        last = point
    return area


def bench_speed(largest_power: int) -> None:
    print(
        "N            argsort      aurc   all metrics   aurc of a tensor   roc_auc_score   loop  (x argsort)"
    )
    for n in [10**power for power in range(4, largest_power + 1)]:
        confidence, error = make_cases(n)
        tensors = torch.from_numpy(confidence), torch.from_numpy(error)
        calls: dict[str, Callable[[], Any]] = {
            "argsort": lambda c=confidence: np.argsort(c),
            "aurc": lambda c=confidence, e=error: aurc(c, e),
            "all": lambda c=confidence, e=error: risk_coverage_metrics(c, e),
            "tensor": lambda t=tensors: aurc(*t),
            "sklearn": lambda c=confidence, e=error: roc_auc_score(e, -c),
        }
        times = fastest(calls)
        loop = (
            fastest({"loop": lambda c=confidence, e=error: loop_aurc(c, e)}, 1)["loop"]
            if n <= 10**6
            else np.nan
        )
        unit = times["argsort"]
        print(
            f"{n:<10,} {unit * 1e3:9.3f} ms {times['aurc'] / unit:6.2f} {times['all'] / unit:13.2f} "
            f"{times['tensor'] / unit:18.2f} {times['sklearn'] / unit:15.2f} {loop / unit:6.0f}"
        )
        if torch.cuda.is_available():
            on_gpu = [t.cuda() for t in tensors]
            gpu = fastest(
                {
                    "sort": lambda t=on_gpu: (torch.sort(t[0]), torch.cuda.synchronize()),
                    "aurc": lambda t=on_gpu: aurc(*t),
                }
            )
            print(f"  GPU: sort {gpu['sort'] * 1e3:.3f} ms, aurc {gpu['aurc'] / gpu['sort']:.2f} x that sort")


def bench_memory() -> None:
    print("\nPeak memory beyond the input, as a multiple of the input (N = 1,000,000)")
    confidence, error = make_cases(10**6)
    for name, c, e in (
        ("float64 confidence and error", confidence, error),
        ("float32 confidence, bool error", confidence.astype(np.float32), error.astype(bool)),
    ):
        for metric in (aurc, risk_coverage_metrics):
            tracemalloc.start()
            metric(c, e)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(
                f"  {metric.__name__:<22} {name:<31} {peak / (c.nbytes + e.nbytes):5.2f} x both, "
                f"{peak / c.nbytes:5.2f} x the confidence"
            )


def bench_bootstrap() -> None:
    confidence, error = make_cases(10_000)
    patients = np.arange(10_000) // 4

    def sorting_again() -> None:
        rng = np.random.default_rng(0)
        for _ in range(100):
            rows = rng.integers(0, len(error), len(error))
            aurc(confidence[rows], error[rows])

    times = fastest(
        {
            "bootstrap_ci": lambda: bootstrap_ci(aurc, confidence, error, n_resamples=1000),
            "by patient": lambda: bootstrap_ci(aurc, confidence, error, n_resamples=1000, groups=patients),
            "sorting again": sorting_again,
        },
        8,
    )
    again = times["sorting again"] * 10
    print("\nBootstrap of AURC, N = 10,000, 1,000 resamples")
    for name, seconds in (*list(times.items())[:2], ("sorting again each time", again)):
        print(f"  {name:<24} {seconds:6.3f} s  {seconds / again:5.2f} x sorting again")


if __name__ == "__main__":
    bench_speed(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
    bench_memory()
    bench_bootstrap()
