"""False alarms of the monitor, and after how many cases it finds a risk that has risen.

Run ``python tests/benchmarks/bench_monitor.py [runs]``; by default 1,000 runs of each setting.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from scipy.special import ndtr

from monai_sf.metrics import RiskMonitor

DELTA = 0.05
TARGETS = (0.01, 0.05, 0.1)
N_STEPS = 100_000


def after(errors: np.ndarray, target_risk: float) -> RiskMonitor:
    monitor = RiskMonitor(target_risk, DELTA)
    monitor.update(np.ones(len(errors)), errors)
    return monitor


def draw_patients(rng: np.random.Generator, n_patients: int, size: int, risk: float) -> np.ndarray:
    """Draw errors (n_patients, size) of this risk that go together within a patient, by a normal copula."""
    common, own = rng.standard_normal((n_patients, 1)), rng.standard_normal((n_patients, size))
    return ndtr(np.sqrt(0.9) * common + np.sqrt(0.1) * own) < risk


def bench_false_alarms(runs: int) -> None:
    print(f"\nδ {DELTA:.0%}, {runs} runs of {N_STEPS:,} steps at exactly the target: share with an alarm\n")
    print("| target | independent cases | one case per patient | all 5 images of each patient |")
    print("|---|---|---|---|")
    for number, target in enumerate(TARGETS):
        rng = np.random.default_rng((0, number))
        alarms = np.zeros(3)
        for _ in range(runs):
            images = draw_patients(rng, N_STEPS // 5, 5, target)
            settings = (rng.random(N_STEPS) < target, images[:, 0], images.ravel())
            alarms += [after(errors, target).alarm for errors in settings]
        print(f"| {target:.0%} | " + " | ".join(f"{share:.1%}" for share in alarms / runs) + " |", flush=True)


def bench_delay(runs: int) -> None:
    print(f"\nCases until the alarm, median and 95th percentile of {runs} runs\n")
    print("| risk | target | from the start | after 1,000 cases at 0.4 × target | after 10,000 |")
    print("|---|---|---|---|---|")
    for factor in (1.5, 2.0, 3.0):
        for number, target in enumerate(TARGETS):
            rng = np.random.default_rng((1, int(10 * factor), number))
            n_later = round(400 / target)
            cells = []
            for n_good in (0, 1000, 10_000):
                delays = []
                for _ in range(runs):
                    good, later = rng.random(n_good) < 0.4 * target, rng.random(n_later) < factor * target
                    found = after(np.concatenate((good, later)), target).alarm_after
                    delays.append(np.inf if found is None else found - n_good)
                cells.append("{:,.0f}, {:,.0f}".format(*np.quantile(delays, (0.5, 0.95), method="higher")))
            print(f"| {factor:g} × target | {target:.0%} | " + " | ".join(cells) + " |", flush=True)


def bench_speed() -> None:
    rng = np.random.default_rng(2)
    errors, confidence = rng.random(100_000) < 0.05, rng.random(100_000)
    times = []
    for _ in range(10):
        monitor = RiskMonitor(0.05, DELTA)
        before = time.perf_counter()
        monitor.update(confidence, errors)
        times.append(time.perf_counter() - before)
    print(f"\nAn update with 100,000 cases: {min(times):.3f} s")
    before = time.perf_counter()
    for row in range(10_000):
        monitor.update(confidence[row], errors[row])
    print(f"10,000 updates with one: {time.perf_counter() - before:.3f} s")


if __name__ == "__main__":
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    bench_speed()
    bench_false_alarms(n_runs)
    bench_delay(n_runs)
