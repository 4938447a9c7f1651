"""False and true marks of `metrics.by_group` in simulated cases, and the time of `tables.by_group`.

Run ``python tests/benchmarks/bench_groups.py [--runs 1000] [--seed 0]`` for the marks, with ``--time``
for the time; docs/guides/metrics.md and docs/reference/performance.md have the figures.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from monai_sf import tables
from monai_sf.metrics import Interval, by_group, groups
from monai_sf.results import Results

#: Every case is trusted with this probability.
COVERAGE = 0.8


class Cases(NamedTuple):
    confidence: np.ndarray
    error: np.ndarray
    group: np.ndarray
    cluster: np.ndarray


def clusters_of(rng: np.random.Generator, n: int, size: Callable[[], int]) -> np.ndarray:
    """Number of each case's cluster; the last one is cut."""
    sizes: list[int] = []
    while sum(sizes) < n:
        sizes.append(size())
    return np.repeat(np.arange(len(sizes)), sizes)[:n]


def draw(
    rng: np.random.Generator,
    shares: tuple[float, ...],
    rates: tuple[float, ...],
    sizes: tuple[int, ...] = (1,),
    alike: float = 0.0,
    mixed: bool = False,
    n: int = 1000,
    before: tuple[float, ...] | None = None,
) -> Cases:
    """Cases in groups.

    Args:
        shares: of the groups among the cases.
        rates: silent failures over all cases, per group.
        sizes: cases per cluster, one per group; a negative one is the mean of geometrically distributed ones.
        alike: correlation of the failures of a cluster.
        mixed: whether the cases of one cluster are of different groups.
        before: error rate per group; None for 0.3 among the cases that are not trusted.
    """
    parts = []
    first = 0
    for number, share in enumerate(shares):
        size = sizes[number % len(sizes)]
        draw_size = (lambda s=size: s) if size > 0 else (lambda s=size: int(rng.geometric(-1 / s)))
        cluster = clusters_of(rng, round(share * n), draw_size) + first
        first = cluster[-1] + 1
        parts.append((np.full(len(cluster), number), cluster))
    group, cluster = (np.concatenate(part) for part in zip(*parts, strict=True))
    if mixed:
        group = rng.permutation(group)
    # Among trusted cases, so that the rate over all is the wanted one.
    wanted = np.array(rates)[group] / COVERAGE
    if alike:
        # Beta-binomial: the quantile of one uniform number per cluster.
        from scipy.stats import beta

        common = rng.random(first)[cluster]
        scale = (1 - alike) / alike
        wanted = beta.ppf(common, wanted * scale, (1 - wanted) * scale)
    trusted = rng.random(len(group)) < COVERAGE
    other = np.full(len(shares), 0.3)
    if before is not None:
        other = (np.array(before) - np.array(rates)) / (1 - COVERAGE)
    error = rng.random(len(group)) < np.where(trusted, wanted, other[group])
    return Cases(trusted.astype(float), error.astype(float), group, cluster)


NONE = {
    "2 groups of 50 %, 5 %": {"shares": (0.5, 0.5), "rates": (0.05,) * 2},
    "5 groups of 20 %, 5 %": {"shares": (0.2,) * 5, "rates": (0.05,) * 5},
    "5 groups of 20 %, 3 %": {"shares": (0.2,) * 5, "rates": (0.03,) * 5},
    "90 % and 10 %, 5 %": {"shares": (0.9, 0.1), "rates": (0.05,) * 2},
    "4 images per patient, correlation 0.3": {
        "shares": (0.2,) * 5,
        "rates": (0.05,) * 5,
        "sizes": (4,),
        "alike": 0.3,
    },
    "the same, groups vary within patients": {
        "shares": (0.2,) * 5,
        "rates": (0.05,) * 5,
        "sizes": (4,),
        "alike": 0.3,
        "mixed": True,
    },
    "4 images per patient, correlation 0.9": {
        "shares": (0.2,) * 5,
        "rates": (0.05,) * 5,
        "sizes": (4,),
        "alike": 0.9,
    },
    "90 % and 10 %, 5 images, correlation 0.9": {
        "shares": (0.9, 0.1),
        "rates": (0.05,) * 2,
        "sizes": (5,),
        "alike": 0.9,
    },
    "50 %: 1 image, 50 %: 10 images, correlation 0.5": {
        "shares": (0.5, 0.5),
        "rates": (0.05,) * 2,
        "sizes": (1, 10),
        "alike": 0.5,
    },
    "20 %: 10 images, 80 %: 1 image, correlation 0.5": {
        "shares": (0.2, 0.8),
        "rates": (0.05,) * 2,
        "sizes": (10, 1),
        "alike": 0.5,
    },
    "20 %: 1 image, 80 %: 10 images, correlation 0.5": {
        "shares": (0.2, 0.8),
        "rates": (0.05,) * 2,
        "sizes": (1, 10),
        "alike": 0.5,
    },
    "1 to 30 images (geometric, mean 5), correlation 0.5": {
        "shares": (0.2,) * 5,
        "rates": (0.05,) * 5,
        "sizes": (-5,),
        "alike": 0.5,
    },
    "20 groups of 5 %, 10 images, correlation 0.5, N = 5,000": {
        "shares": (0.05,) * 20,
        "rates": (0.05,) * 20,
        "sizes": (10,),
        "alike": 0.5,
        "n": 5000,
    },
}
PLANTED = {
    "2 groups, 15 % and 5 %": {"shares": (0.2, 0.8), "rates": (0.15, 0.05)},
    "5 groups, 15 % and 5 %": {"shares": (0.2,) * 5, "rates": (0.15, *(0.05,) * 4)},
    "2 groups, 9 % and 3 %": {"shares": (0.2, 0.8), "rates": (0.09, 0.03)},
    "5 groups, 9 % and 3 %": {"shares": (0.2,) * 5, "rates": (0.09, *(0.03,) * 4)},
    "5 groups, 15 % and 5 %, 4 images per patient, correlation 0.1": {
        "shares": (0.2,) * 5,
        "rates": (0.15, *(0.05,) * 4),
        "sizes": (4,),
        "alike": 0.1,
    },
    "5 groups, 15 % and 5 %, 4 images per patient, correlation 0.3": {
        "shares": (0.2,) * 5,
        "rates": (0.15, *(0.05,) * 4),
        "sizes": (4,),
        "alike": 0.3,
    },
    "the same, groups vary within patients": {
        "shares": (0.2,) * 5,
        "rates": (0.15, *(0.05,) * 4),
        "sizes": (4,),
        "alike": 0.3,
        "mixed": True,
    },
}
#: Error rates before and silent-failure rates after, where the gap of the first group stays as it is.
SAME_GAP = {
    "no gap": {"shares": (0.2,) * 5, "rates": (0.05,) * 5, "before": (0.15,) * 5},
    "no gap, 90 % and 10 %": {"shares": (0.9, 0.1), "rates": (0.05,) * 2, "before": (0.15,) * 2},
    "a gap of 10 points before and after": {
        "shares": (0.2, 0.8),
        "rates": (0.12, 0.04),
        "before": (0.25, 0.15),
    },
    "the same, group of 80 %": {"shares": (0.8, 0.2), "rates": (0.12, 0.04), "before": (0.25, 0.15)},
    "a gap of 10 points, few silent failures in the rest": {
        "shares": (0.5, 0.5),
        "rates": (0.088, 0.008),
        "before": (0.21, 0.11),
    },
    "a gap of 10 points, 4 images, correlation 0.5": {
        "shares": (0.2, 0.8),
        "rates": (0.12, 0.04),
        "before": (0.25, 0.15),
        "sizes": (4,),
        "alike": 0.5,
    },
}
WIDER_GAP = {
    "from 10 to 20 points": {"shares": (0.2, 0.8), "rates": (0.2, 0.04), "before": (0.25, 0.15)},
    "from 0 to 10 points": {"shares": (0.2, 0.8), "rates": (0.12, 0.04), "before": (0.15, 0.15)},
}


def share(value: int, runs: int) -> str:
    """Per cent with the standard error."""
    rate = value / runs
    return f"{100 * rate:5.1f} % ± {100 * math.sqrt(rate * (1 - rate) / runs):.1f}"


def simulate(runs: int, seed: int) -> None:
    # the intervals of AUGRC take most of the time, and no mark depends on them
    groups.bootstrap_ci = lambda *_, **__: Interval(math.nan, math.nan)
    for title, settings, column, first in (
        ("None planted: runs with any mark", NONE, "worse", False),
        ("Three times the silent failures in the first group: runs that mark it", PLANTED, "worse", True),
        ("Gap not wider: runs with any mark", SAME_GAP, "gap_widens", False),
        ("Gap wider in the first group: runs that mark it", WIDER_GAP, "gap_widens", True),
    ):
        print(f"\n{title}, {runs:,} runs of 1,000 cases, seed {seed}")
        for name, options in settings.items():
            rng = np.random.default_rng([seed, len(name)])
            marks = 0
            for _ in range(runs):
                cases = draw(rng, **options)
                found = by_group(*cases[:3], threshold=0.5, clusters=cases.cluster)[column]
                marks += bool(found[0] if first else found.any())
            print(f"  {name:<64} {share(marks, runs)}", flush=True)


def bench_time(n: int, seed: int) -> None:
    """Processor time of all groups of a case table with eight columns and two images per patient."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    results = Results.from_arrays(np.eye(2)[labels] + rng.normal(0, 0.6, (n, 2)), labels)
    cases = results.cases.assign(
        group=np.arange(n) // 2,
        sex=rng.choice(["f", "m"], n),
        smoker=rng.random(n) < 0.5,
        age=rng.integers(20, 90, n),
        size=rng.normal(25, 4, n),
        rating=rng.integers(1, 6, n),
        year=rng.integers(2000, 2020, n),
        device=rng.choice(list("abcdefgh"), n),
        site=rng.choice([f"site {i}" for i in range(20)], n),
    )
    results = Results(results.run, cases, results.test_sets)
    start = time.process_time()
    rows = tables.by_group(results, "iid", "MSR")
    print(f"{n:,} cases, {rows['column'].nunique()} columns, {len(rows)} groups", end=": ")
    print(f"{time.process_time() - start:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", action="store_true")
    chosen = parser.parse_args()
    if chosen.time:
        for size in (10_000, 100_000):
            bench_time(size, chosen.seed)
    else:
        simulate(chosen.runs, chosen.seed)
