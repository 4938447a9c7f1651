"""How many failures one score lets pass and another one catches, over all cases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_sf.report.working_points import STEPS


def missed_and_caught(steps: NDArray[np.uint8], wrong: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the failures that score a trusts and score b hands to a person, at every working point.

    Args:
        steps: (n, K) the first working point, 1 to 100, at which each of K scores trusts a case; more where
            none does, see ``working_points.first_step``.
        wrong: (n, K) whether the prediction that belongs to the score is wrong.

    Returns:
        (K, K, 100) int64, indexed by a, b and working point - 1; zero where a is b.
    """
    scores = steps.shape[1]
    counts = np.zeros((scores, scores, STEPS), np.int64)
    for a in range(scores):
        for b in range(scores):
            begin, end = steps[:, a], steps[:, b]
            # trusted by a from `begin` on, and by b only from `end` on
            mine = wrong[:, a] & wrong[:, b] & (begin < end) & (begin <= STEPS)
            change = np.zeros(STEPS + 1, np.int64)
            np.add.at(change, begin[mine].astype(np.int64) - 1, 1)
            np.add.at(change, np.minimum(end[mine].astype(np.int64) - 1, STEPS), -1)
            counts[a, b] = change.cumsum()[:STEPS]
    return counts
