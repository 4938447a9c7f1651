"""Whether guaranteed thresholds keep their promise: true risks of thresholds found in simulated samples.

Run ``python tests/benchmarks/bench_guarantee.py [runs]``; by default 1,000 runs of each setting. The true
risk of a threshold is an integral of the known distribution, never an estimate from cases.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from scipy.special import ndtr

from monai_sf.metrics import SelectiveThreshold, cases_for_guarantee, selective_threshold

DELTA = 0.05
#: Number of groups to the target: so few give no threshold for 5 %, and so no promise that could be broken.
TARGETS = {50: 0.2, 100: 0.2, 500: 0.05, 1000: 0.05, 5000: 0.05}
N_SCORES = 9


class Score(NamedTuple):
    """A confidence, uniform in [0, 1], by the probability of an error at each value.

    Attributes:
        error: Probability of an error at a confidence (N,).
        risk: True error rate at or above a threshold.
    """

    error: Callable[[np.ndarray], np.ndarray]
    risk: Callable[[float], float]


def steps(ends: tuple[float, ...], errors: tuple[float, ...]) -> Score:
    """Return a score with a constant error between confidences, from the highest down."""
    edges = np.array(ends)
    widths = -np.diff(np.concatenate(([1.0], edges)))

    def risk(threshold: float) -> float:
        covered = np.clip(1 - threshold - (1 - edges - widths), 0, widths)
        return float(covered @ errors / (1 - threshold))

    return Score(lambda u: np.array(errors)[np.searchsorted(-edges, -u)], risk)


def scores_for(target: float) -> dict[str, Score]:
    """Return scores of which some thresholds keep to the target, and others do not."""
    most = min(4 * target, 1 / 3)  # so that no probability of an error is above 1
    zigzag = np.array((1.02, 0.38, 1.66, 0.6))
    return {
        "good": Score(lambda u: 3 * most * (1 - u) ** 2, lambda t: most * (1 - t) ** 2),
        "blind": Score(lambda u: np.full(u.shape, 1.002 * target), lambda t: 1.002 * target),
        "overconfident": steps((0.95, 0.0), (4 * target, 0.4 * target)),
        "zigzag": steps((0.75, 0.5, 0.25, 0.0), tuple(zigzag * target)),
    }


def draw_groups(
    rng: np.random.Generator, score: Score, n_groups: int, size: int, correlation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw confidence, error and group of cases whose confidences and errors go together within a group.

    Normal copula: each single case has exactly the distribution of the score, whatever the correlation.
    """

    def uniform() -> np.ndarray:
        common = rng.standard_normal((n_groups, 1))
        own = rng.standard_normal((n_groups, size))
        return ndtr(np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own).ravel()

    confidence = uniform()
    return confidence, uniform() < score.error(confidence), np.repeat(np.arange(n_groups), size)


def summary(found: list[SelectiveThreshold | None], score: Score, target: float) -> str:
    broken = sum(one is not None and score.risk(one.threshold) > target for one in found)
    none = sum(one is None for one in found)
    coverage = np.mean([0.0 if one is None else one.coverage for one in found])
    return f"{broken / len(found):.1%} / {none / len(found):.0%} / {coverage:.0%}"


def bench_promise(runs: int) -> None:
    print(f"\nδ {DELTA:.0%}, {runs} runs each. In each cell: promise broken / no threshold found /")
    print("mean coverage (0 where none is found). Groups: 5 cases, correlation 0.9.\n")
    print("| score | groups | target | one case each | 5 each, one drawn | 5 each, as if independent |")
    print("|---|---|---|---|---|---|")
    for number, name in enumerate(scores_for(0.05)):
        for n_groups, target in TARGETS.items():
            score, promise = scores_for(target)[name], {"target_risk": target, "delta": DELTA}
            rng = np.random.default_rng((number, n_groups))
            alone, one_each, naive = [], [], []
            for run in range(runs):
                confidence, error, _ = draw_groups(rng, score, n_groups, 1, 0.0)
                alone.append(selective_threshold(confidence, error, **promise))
                confidence, error, groups = draw_groups(rng, score, n_groups, 5, 0.9)
                one_each.append(selective_threshold(confidence, error, groups=groups, seed=run, **promise))
                naive.append(selective_threshold(confidence, error, **promise))
            cells = " | ".join(summary(found, score, target) for found in (alone, one_each, naive))
            print(f"| {name} | {n_groups:,} | {target:.0%} | {cells} |", flush=True)


def bench_best_of_several(runs: int) -> None:
    """The score of the largest coverage is chosen after the thresholds were seen."""
    print(f"\n{N_SCORES} scores; the one of largest coverage is chosen afterwards: promises broken\n")
    print("| scores | cases | target | each with δ | δ / 2 for the first, δ / 16 for the others |")
    print("|---|---|---|---|---|")
    shares = [DELTA / 2] + [DELTA / 2 / (N_SCORES - 1)] * (N_SCORES - 1)
    for number, name in enumerate(("good", "blind")):
        for n_cases, target in TARGETS.items():
            score = scores_for(target)[name]
            rng = np.random.default_rng((100 + number, n_cases))
            broken = np.zeros(2)
            for _ in range(runs):
                # Independent samples: scores that agree leave less to luck.
                samples = [draw_groups(rng, score, n_cases, 1, 0.0)[:2] for _ in range(N_SCORES)]
                for way, deltas in enumerate(([DELTA] * N_SCORES, shares)):
                    found = [
                        selective_threshold(*sample, target_risk=target, delta=delta)
                        for sample, delta in zip(samples, deltas, strict=True)
                    ]
                    best = max(
                        (one for one in found if one is not None), key=lambda one: one.coverage, default=None
                    )
                    broken[way] += best is not None and score.risk(best.threshold) > target
            cells = " | ".join(f"{share:.1%}" for share in broken / runs)
            print(f"| {name} | {n_cases:,} | {target:.0%} | {cells} |", flush=True)


def bench_number_of_cases() -> None:
    print(f"\nIndependent cases it takes until a threshold is found, δ {DELTA:.0%}\n")
    print("| target | no error in the surest half | errors at a tenth of the target | at half | at 0.8 |")
    print("|---|---|---|---|---|")
    for target in (0.01, 0.05, 0.1):
        needed = []
        for share in (0.0, 0.1, 0.5, 0.8):
            # One level, at half of the cases, with exactly this risk: 10,000 cases are accepted.
            wrong = round(share * target * 10_000)
            confidence = np.repeat([1.0, 0.0], 10_000)
            error = np.concatenate((np.arange(10_000) < wrong, np.ones(10_000)))
            needed.append(cases_for_guarantee(confidence, error, target_risk=target, delta=DELTA))
        print(f"| {target:.0%} | " + " | ".join(f"{one:,}" for one in needed) + " |")


if __name__ == "__main__":
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    bench_number_of_cases()
    bench_promise(n_runs)
    bench_best_of_several(n_runs)
