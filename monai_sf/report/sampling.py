"""Sampling of the individually shown cases: failures on undisturbed images come first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


class Outcome(NamedTuple):
    """Outcomes of the n cases of one test set, for the sampling.

    Attributes:
        labels: (n,) int64 true classes.
        failed: (n, K) bool, whether the case is a failure for each of K CSFs.
        confidence: (n, K) float64, higher = more sure.
        corrupted: whether the cases are corrupted copies of those of another test set.
        new: whether the cases are of none of the classes, and so all failures.
    """

    labels: Index
    failed: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    corrupted: bool = False
    new: bool = False


class Sample(NamedTuple):
    """The sampled cases: (m,) index of the test set and (m,) position in it, sorted by both."""

    test_set: Index
    position: Index


def water_fill(counts: Sequence[int], budget: int) -> list[int]:
    """Share a budget evenly among strata; the unused part of small ones goes to larger ones.

    Args:
        counts: size of every stratum.
        budget: total number to take.

    Returns:
        Number to take of each stratum, at most its size; ``min(budget, sum(counts))`` in total.
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

    A corrupted copy tells less than another patient, and there are many copies. So failures on uncorrupted
    test sets come first, as many as fit. Correct uncorrupted cases follow, then corrupted cases, for which a
    third of the budget is reserved. Corrupted failures take at most half of this part, and no more than
    brings all failures to about half of the sample, if there are enough correct cases. Failures are shared
    evenly among test sets (each kind and severity of corruption is one), the most confident ones of every CSF
    first, since these are the silent ones; correct cases evenly among test sets and classes, drawn with
    ``seed``. Cases of none of the classes, which are all failures, take at most a third of the budget, unless
    the others do not need the rest.

    Args:
        outcomes: one entry per test set.
        max_points: at least 1.
        seed: of the random draw.

    Raises:
        ValueError: ``max_points`` is not positive.
    """
    if max_points < 1:
        raise ValueError(f"max_points must be at least 1, got {max_points}")
    rng = np.random.default_rng(seed)
    chosen: list[Index] = [np.zeros(0, np.int64) for _ in outcomes]
    wrong, right = {}, {}
    for corrupted in (False, True):
        mine = [i for i, o in enumerate(outcomes) if o.corrupted == corrupted]
        wrong[corrupted] = [(i, _failures_by_confidence(outcomes[i])) for i in mine]
        right[corrupted] = [stratum for i in mine for stratum in _correct_by_class(i, outcomes[i], rng)]

    known = sum(len(o.labels) for o in outcomes if not o.new)
    new = [len(o.labels) if o.new else 0 for o in outcomes]
    most = water_fill(new, max(max_points // 3, max_points - known))
    wrong[False] = [(i, found[: most[i]] if outcomes[i].new else found) for i, found in wrong[False]]

    def take(strata: Sequence[tuple[int, Index]], budget: int) -> int:
        quotas = water_fill([len(members) for _, members in strata], budget)
        for (i, members), quota in zip(strata, quotas, strict=True):
            chosen[i] = np.concatenate([chosen[i], members[:quota]])
        return sum(quotas)

    clean_failures = take(wrong[False], max_points)
    left = max_points - clean_failures
    n_wrong, n_right = (sum(len(members) for _, members in parts[True]) for parts in (wrong, right))
    wanted = min(n_wrong, max(max_points // 2 - clean_failures, len(wrong[True])))
    left -= take(right[False], max(left - min(n_right + wanted, max_points // 3), 0))
    left -= take(wrong[True], max(min(left // 2, wanted), left - n_right))
    take(right[True], left)
    return Sample(
        np.repeat(np.arange(len(outcomes)), [len(c) for c in chosen]),
        np.concatenate([np.sort(c) for c in chosen]) if chosen else np.zeros(0, np.int64),
    )


def _correct_by_class(index: int, outcome: Outcome, rng: np.random.Generator) -> list[tuple[int, Index]]:
    """Return strata of cases that are no failure for any CSF, shuffled, with the index of their test set."""
    correct = np.flatnonzero(~outcome.failed.any(axis=1))
    labels = outcome.labels[correct]
    return [(index, rng.permutation(correct[labels == label])) for label in np.unique(labels)]


def _failures_by_confidence(outcome: Outcome) -> Index:
    """Return the positions of all failures, the most confident ones of any CSF first."""
    best = np.full(len(outcome.labels), np.iinfo(np.int64).max, np.int64)
    for failed, confidence in zip(outcome.failed.T, outcome.confidence.T, strict=True):
        positions = np.flatnonzero(failed)
        falling = positions[np.argsort(-confidence[positions], kind="stable")]
        best[falling] = np.minimum(best[falling], np.arange(len(falling)))
    failures = np.flatnonzero(outcome.failed.any(axis=1))
    return failures[np.argsort(best[failures], kind="stable")]
