"""Which cases are shown one by one when there are too many to embed: failures first, the rest stratified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


class Outcome(NamedTuple):
    """What the sampling needs to know about one test set of n cases.

    Attributes:
        labels: (n,) int64 true classes.
        failed: (n, K) bool, whether the case is a failure for each of K CSFs.
        confidence: (n, K) float64, higher = more sure.
    """

    labels: Index
    failed: NDArray[np.bool_]
    confidence: NDArray[np.float64]


class Sample(NamedTuple):
    """Cases that are shown: (m,) index of the test set and (m,) position in it, sorted by both."""

    test_set: Index
    position: Index


def water_fill(counts: Sequence[int], budget: int) -> list[int]:
    """Share a budget evenly; what a small stratum does not need goes to the larger ones.

    Args:
        counts: size of every stratum.
        budget: how many to take in all.

    Returns:
        How many to take of each stratum: never more than it has, ``min(budget, sum(counts))`` in all.
    """
    quotas = [0] * len(counts)
    left = budget
    order = sorted(range(len(counts)), key=lambda i: counts[i])
    for done, i in enumerate(order):
        quotas[i] = min(counts[i], left // (len(order) - done))
        left -= quotas[i]
    return quotas


def sample_cases(outcomes: Sequence[Outcome], max_points: int, seed: int) -> Sample:
    """Choose at most ``max_points`` cases of several test sets.

    All failures are kept when they take at most two thirds of the budget. Otherwise every test set keeps a
    fair share of its own, the most confident ones of every CSF first, since those are the silent ones. The
    rest of the budget goes to correct cases, evenly over test sets and classes, drawn with ``seed``.

    Args:
        outcomes: one entry a test set.
        max_points: at least 1.
        seed: of the random draw.

    Raises:
        ValueError: ``max_points`` is not positive.
    """
    if max_points < 1:
        raise ValueError(f"max_points must be at least 1, got {max_points}")
    failures = [_failures_by_confidence(o) for o in outcomes]
    correct = [np.flatnonzero(~o.failed.any(axis=1)) for o in outcomes]
    failure_budget = max(max_points * 2 // 3, max_points - sum(map(len, correct)))
    chosen = [
        f[:quota]
        for f, quota in zip(failures, water_fill([len(f) for f in failures], failure_budget), strict=True)
    ]
    rng = np.random.default_rng(seed)
    strata = [
        (i, rng.permutation(c[o.labels[c] == label]))
        for i, (c, o) in enumerate(zip(correct, outcomes, strict=True))
        for label in np.unique(o.labels[c])
    ]
    rest = water_fill([len(members) for _, members in strata], max_points - sum(map(len, chosen)))
    for (i, members), quota in zip(strata, rest, strict=True):
        chosen[i] = np.concatenate([chosen[i], members[:quota]])
    return Sample(
        np.repeat(np.arange(len(outcomes)), [len(c) for c in chosen]),
        np.concatenate([np.sort(c) for c in chosen]) if chosen else np.zeros(0, np.int64),
    )


def _failures_by_confidence(outcome: Outcome) -> Index:
    """Positions of all failures, first those near the top of any CSF's list of confident failures."""
    best = np.full(len(outcome.labels), np.iinfo(np.int64).max, np.int64)
    for failed, confidence in zip(outcome.failed.T, outcome.confidence.T, strict=True):
        positions = np.flatnonzero(failed)
        falling = positions[np.argsort(-confidence[positions], kind="stable")]
        best[falling] = np.minimum(best[falling], np.arange(len(falling)))
    failures = np.flatnonzero(outcome.failed.any(axis=1))
    return failures[np.argsort(best[failures], kind="stable")]
