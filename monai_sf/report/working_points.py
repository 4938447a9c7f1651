"""Working points: thresholds on confidence that a reader of the report can choose, and their outcomes.

A system in use has one threshold, fixed on cases like those it was built for. The last working point is the
threshold that was chosen on calibration cases and promises a risk. The thresholds of the others are taken
from the confidences of the reference test set (iid), one for every per cent of its cases that the system
decides alone. All are applied unchanged to the other test sets, where another share is decided alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_sf.metrics import clusters

#: At the first working points the system decides 1, 2, ... 100 per cent of the reference cases.
STEPS = 100
#: The working point of the promised threshold, the last one.
PROMISED = STEPS + 1

#: Step of a case that is trusted at no working point.
NEVER = 255

Float = NDArray[np.float64]


def thresholds(confidence: Float) -> Float:
    """Return the highest thresholds that keep at least 1, 2, ... 100 per cent of the reference cases.

    Args:
        confidence: (n,) confidences of the reference test set, n >= 1.

    Returns:
        (100,) float64, not increasing. Ties stay together, so more cases may be kept.
    """
    falling = np.sort(confidence)[::-1]
    wanted = np.ceil(np.arange(1, STEPS + 1) * len(falling) / STEPS).astype(np.int64)
    levels: Float = falling[np.maximum(wanted, 1) - 1]
    return levels


def working_points(confidence: Float, promised: float | None) -> Float:
    """Return the thresholds of all working points, that of :data:`PROMISED` last.

    Args:
        confidence: (n,) confidences of the reference test set, n >= 1.
        promised: the promised threshold; None if there is none, and then no case reaches it.

    Returns:
        (101,) float64, not increasing but for the last, which may lie anywhere.
    """
    return np.append(thresholds(confidence), np.inf if promised is None else promised)


def counts(confidence: Float, error: Float, levels: Float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the cases of a test set that are trusted at every threshold, and how many of them are wrong.

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


def mean_errors(confidence: Float, error: Float, levels: Float) -> Float:
    """Return the mean error of the cases that are trusted at every threshold, NaN without any.

    Args:
        confidence: (n,) confidences.
        error: (n,) in [0, 1].
        levels: (k,) thresholds.
    """
    order = np.argsort(confidence, kind="stable")
    trusted = len(order) - np.searchsorted(confidence[order], levels, side="left")
    sums = np.concatenate([[0.0], np.cumsum(error[order][::-1])])[trusted]
    means: Float = np.where(trusted > 0, sums / np.maximum(trusted, 1), np.nan)
    return means


def first_step(confidence: Float, levels: Float) -> NDArray[np.uint8]:
    """Return the first of the working points 1 to 100 at which each case is trusted.

    Returns:
        Like the confidences, uint8 in 1..100, or :data:`NEVER`. The page compares these exact bytes instead
        of rounded confidences. On any scale it means "among the most confident k % of the reference cases".
    """
    step = np.searchsorted(-levels[:STEPS], -confidence, side="left") + 1
    return np.where(step > STEPS, NEVER, step).astype(np.uint8)


def reaches_promise(confidence: Float, levels: Float) -> NDArray[np.uint8]:
    """Return 1 for each case that is trusted at :data:`PROMISED`, else 0: exact bytes, as in `first_step`."""
    reached: NDArray[np.uint8] = (confidence >= levels[PROMISED - 1]).astype(np.uint8)
    return reached


def effective_sizes(confidence: Float, error: Float, levels: Float, groups: NDArray[np.int64]) -> Float:
    """Return the effective number of independent trusted cases, for an interval of their error rate.

    Args:
        confidence: (n,) confidences.
        error: (n,) 1 where the prediction is wrong, else 0.
        levels: (k,) thresholds in any order.
        groups: (n,) number of the patient, or of another cause of similar cases.

    Returns:
        (k,) float64, see :func:`monai_sf.metrics.clusters.effective_sizes`.
    """
    _, group = np.unique(groups, return_inverse=True)
    shape = (int(group.max()) + 1, len(levels) + 1)
    order = np.argsort(-levels, kind="stable")
    # the first level, from the highest on, at which a case is trusted
    step = np.searchsorted(-levels[order], -confidence, side="left")
    trusted, wrong = np.zeros(shape), np.zeros(shape)
    np.add.at(trusted, (group, step), 1.0)
    np.add.at(wrong, (group, step), error)
    sizes: Float = np.empty(len(levels))
    sizes[order] = clusters.effective_sizes(wrong.cumsum(axis=1)[:, :-1], trusted.cumsum(axis=1)[:, :-1])
    return sizes


def missed_and_caught(
    steps: NDArray[np.uint8], promised: NDArray[np.uint8], wrong: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Count the failures that score a trusts and score b defers, at every working point.

    Args:
        steps: (n, K) the first working point, 1 to 100, at which each of K scores trusts a case; more if
            none does, see :func:`first_step`.
        promised: (n, K) 1 where the score's promised threshold trusts a case, see :func:`reaches_promise`.
        wrong: (n, K) whether the score's prediction is wrong.

    Returns:
        (K, K, 101) int64, indexed by a, b and working point - 1; zero where a is b.
    """
    scores = steps.shape[1]
    counts = np.zeros((scores, scores, PROMISED), np.int64)
    reached = promised.astype(bool)
    for a in range(scores):
        for b in range(scores):
            begin, end = steps[:, a], steps[:, b]
            both = wrong[:, a] & wrong[:, b]
            # trusted by a from `begin` on, and by b only from `end` on
            mine = both & (begin < end) & (begin <= STEPS)
            change = np.zeros(STEPS + 1, np.int64)
            np.add.at(change, begin[mine].astype(np.int64) - 1, 1)
            np.add.at(change, np.minimum(end[mine].astype(np.int64) - 1, STEPS), -1)
            counts[a, b, :STEPS] = change.cumsum()[:STEPS]
            counts[a, b, STEPS] = (both & reached[:, a] & ~reached[:, b]).sum()
    return counts
