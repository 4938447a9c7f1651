"""Thresholds on confidence that a reader of the report can choose between, and what happens at each.

A system in use has one threshold, fixed on cases like those it was built for. So the thresholds are taken
from the confidences of the reference test set (iid), one for every per cent of its cases that the system
decides alone, and are then applied unchanged to the other test sets: there the share decided alone differs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Working points are those that let the system decide 1, 2, ... 100 per cent of the reference cases.
STEPS = 100

#: Step of a case that no working point trusts.
NEVER = 255

Float = NDArray[np.float64]


def thresholds(confidence: Float) -> Float:
    """The highest thresholds that keep at least 1, 2, ... 100 per cent of the reference cases.

    Args:
        confidence: (n,) confidences of the reference test set, n >= 1.

    Returns:
        (100,) float64, not rising. Ties stay together, so more cases than asked for may be kept.
    """
    falling = np.sort(confidence)[::-1]
    wanted = np.ceil(np.arange(1, STEPS + 1) * len(falling) / STEPS).astype(np.int64)
    levels: Float = falling[np.maximum(wanted, 1) - 1]
    return levels


def counts(confidence: Float, error: Float, levels: Float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many cases of a test set are trusted at every threshold, and how many of these are wrong.

    Args:
        confidence: (n,) confidences.
        error: (n,) 1 where the prediction is wrong, else 0.
        levels: (k,) thresholds; a case is trusted when its confidence is at or above.

    Returns:
        (k,) trusted and (k,) silent failures.
    """
    order = np.argsort(confidence, kind="stable")
    trusted = len(order) - np.searchsorted(confidence[order], levels, side="left")
    wrong_from = np.concatenate([[0.0], np.cumsum(error[order][::-1])])
    return trusted.astype(np.int64), np.rint(wrong_from[trusted]).astype(np.int64)


def first_step(confidence: Float, levels: Float) -> NDArray[np.uint8]:
    """The first working point at which each case is trusted.

    Returns:
        (n,) uint8 in 1..100, or :data:`NEVER`: the page then compares one byte, exactly, instead of rounded
        confidences. It also says "among the surest k % of the reference cases" of any score on any scale.
    """
    step = np.searchsorted(-levels, -confidence, side="left") + 1
    return np.where(step > STEPS, NEVER, step).astype(np.uint8)


def effective_sizes(confidence: Float, error: Float, levels: Float, groups: NDArray[np.int64]) -> Float:
    """How many independent cases the trusted ones are worth, for an interval around their error rate.

    Images of one patient are alike: 100 trusted images of 20 patients tell less than those of 100 patients.
    The variance of the error rate is that of a ratio over groups (Cochran, "Sampling Techniques", 1977,
    section 2.11), and the size is that of independent cases with the same variance (Korn & Graubard, Survey
    Methodology 24, 1998), never more than the trusted cases.

    Args:
        confidence: (n,) confidences.
        error: (n,) 1 where the prediction is wrong, else 0.
        levels: (k,) thresholds.
        groups: (n,) number of the patient, or whatever else makes cases alike.

    Returns:
        (k,) float64, 0 where no case is trusted, and where all cases are of a single group: then there is no
        interval. Where all or none of the trusted are wrong there is no variance to go by, and every group
        counts once.
    """
    _, group = np.unique(groups, return_inverse=True)
    shape = (int(group.max()) + 1, len(levels) + 1)
    if shape[0] < 2:
        return np.zeros(len(levels))
    step = np.searchsorted(-levels, -confidence, side="left")  # the first level at which a case is trusted
    trusted, wrong = np.zeros(shape), np.zeros(shape)
    np.add.at(trusted, (group, step), 1.0)
    np.add.at(wrong, (group, step), error)
    trusted, wrong = trusted.cumsum(axis=1)[:, :-1], wrong.cumsum(axis=1)[:, :-1]
    count = trusted.sum(axis=0)
    rate = wrong.sum(axis=0) / np.maximum(count, 1)
    variance = ((wrong - rate * trusted) ** 2).sum(axis=0) / np.maximum(count, 1) ** 2
    groups_trusted = (trusted > 0).sum(axis=0).astype(np.float64)
    clear = (variance > 0) & (rate > 0) & (rate < 1)
    worth = np.divide(rate * (1 - rate), variance, out=groups_trusted, where=clear)
    sizes: Float = np.minimum(worth, count)
    return sizes
