"""A threshold with a guarantee for future cases.

docs/concepts/guarantee.md derives it and says what it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from monai_sf.metrics.arrays import ArrayLike, NumpyArray, check_binary, check_cases, check_finite
from monai_sf.metrics.bootstrap import groups_of, on_cpu
from monai_sf.metrics.curve import levels_of_ranking, rank_cases, thresholds_of
from monai_sf.vocabulary.ids import Groups
from monai_sf.vocabulary.promise import check_promise

# More calibration cases than anybody will ever have, and as many as the bound is accurate for.
_MOST_CASES = 10**12


class SelectiveThreshold(NamedTuple):
    """A threshold whose selective risk is bounded with high probability.

    The numbers are those of the cases that the bound rests on: with groups, the one drawn from each.

    Attributes:
        threshold: Accept a case when its confidence is at least this.
        coverage: Share of those cases that are accepted, in (0, 1].
        empirical_risk: Error rate of the accepted ones among those cases, in [0, 1].
        risk_bound: Upper bound on the true error rate of accepted cases, with probability 1 - delta; at most
            the target risk.
        n_independent: Number of those cases, accepted or not: of groups, or of cases without groups.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.metrics import selective_threshold
        >>> confidence, error = np.linspace(0, 1, 1000), np.arange(1000) < 100
        >>> found = selective_threshold(confidence, error, target_risk=0.05, delta=0.05)
        >>> found.empirical_risk < found.risk_bound <= 0.05
        True
        >>> found.n_independent
        1000
    """

    threshold: float
    coverage: float
    empirical_risk: float
    risk_bound: float
    n_independent: int


def selective_threshold(
    confidence: ArrayLike,
    error: ArrayLike,
    *,
    target_risk: float,
    delta: float,
    groups: ArrayLike | Sequence[Any] | Groups | None = None,
    seed: int = 0,
) -> SelectiveThreshold | None:
    """Return the lowest threshold found whose true risk meets the target with probability 1 - delta.

    Selection with guaranteed risk: Geifman & El-Yaniv, "Selective Classification for Deep Neural Networks",
    NeurIPS 2017, Algorithm 1. A binary search over the thresholds tests at most ceil(log2(N + 1)) of them.
    They share delta evenly, and each uses the exact binomial upper bound (Clopper & Pearson 1934) on the
    error rate of the accepted cases.

    The guarantee holds for cases drawn independently from the *same distribution* as the given ones, not
    after a shift to another clinic, scanner or disease. Use calibration cases: not used to train the network,
    to choose a checkpoint or to choose the confidence, the target or delta.

    Several cases of one patient are not independent. With groups the bound rests on one case of each, drawn
    uniformly. Patients are independent, and so are their drawn cases: each is a random case of a random
    patient, whatever the others of that patient are like. That is also what the promise is about, for a new
    patient; one with many cases weighs as much as one with a single case.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) of 0 and 1, 1 where the prediction is wrong.
        target_risk: Highest error rate to tolerate among accepted cases, in (0, 1).
        delta: Probability with which the guarantee may fail, in (0, 1).
        groups: (N,) ids of what is independent, such as patients, as in `bootstrap_ci`; by default each case.
        seed: Of the draw, which depends on nothing but this and the groups, never on confidence or error.

    Returns:
        The threshold and its risk bound, or None if no tested threshold has a bound at or below the target;
        `cases_for_guarantee` tells how many cases it would take.

    Raises:
        ValueError: If target_risk or delta is out of range, an error is neither 0 nor 1, groups have another
            length or a placeholder for most cases, and as in `risk_coverage_curve`.

    Examples:
        Of 1000 calibration cases 100 are wrong, all at a low confidence. At most 5 % of the accepted cases
        are wrong, with a probability of 95 %; to promise 1 in 1000 the cases are too few.

        >>> import numpy as np
        >>> from monai_sf.metrics import selective_threshold
        >>> confidence, error = np.linspace(0, 1, 1000), np.arange(1000) < 100
        >>> found = selective_threshold(confidence, error, target_risk=0.05, delta=0.05)
        >>> print(f"accept from {found.threshold:.2f} on: {found.coverage:.0%} of cases")
        accept from 0.07 on: 93% of cases
        >>> print(selective_threshold(confidence, error, target_risk=0.001, delta=0.05))
        None
    """
    check_promise(target_risk, delta)
    levels = _independent_levels(confidence, error, groups, seed)
    delta_per_test = _delta_per_test(delta, levels.n_cases)

    best: SelectiveThreshold | None = None
    accepted, rejected = 0, len(levels.thresholds) + 1
    while rejected - accepted > 1:
        tested = (accepted + rejected) // 2
        kept, wrong = int(levels.kept[tested - 1]), int(levels.wrong[tested - 1])
        bound = _binomial_upper_bound(wrong, kept, delta_per_test)
        if bound <= target_risk:
            accepted = tested
            threshold = float(levels.thresholds[tested - 1])
            best = SelectiveThreshold(threshold, kept / levels.n_cases, wrong / kept, bound, levels.n_cases)
        else:
            rejected = tested
    return best


def cases_for_guarantee(
    confidence: ArrayLike,
    error: ArrayLike,
    *,
    target_risk: float,
    delta: float,
    groups: ArrayLike | Sequence[Any] | Groups | None = None,
    seed: int = 0,
) -> int | None:
    """Return about how many independent cases it would take for `selective_threshold` to find a threshold.

    The observed risk-coverage curve is taken as the true one: of n cases, the share c with the risk r is
    accepted, so round(c n) cases with r round(c n) errors enter the bound. That is an estimate, not a bound.
    It is too low, often by far, for few cases: the thresholds whose risk came out low by luck decide. It says
    nothing of what happens at lower coverages than those observed.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) of 0 and 1, 1 where the prediction is wrong.
        target_risk: Highest error rate to tolerate among accepted cases, in (0, 1).
        delta: Probability with which the guarantee may fail, in (0, 1).
        groups: (N,) ids of what is independent, such as patients, as in `bootstrap_ci`; by default each case.
            The answer then is a number of groups.
        seed: Of the draw of one case per group.

    Returns:
        The smallest number with which a threshold would be found: at most that of the given cases where one
        is found, more than that where none is. None if no number would do, since no tested threshold has an
        observed risk below the target (or so little below that it would take more than 10**12 cases).

    Raises:
        ValueError: As in `selective_threshold`.

    Examples:
        A risk of 1 in 1000 takes more than these 1000 calibration cases; if no case were right, no number
        would do:

        >>> import numpy as np
        >>> from monai_sf.metrics import cases_for_guarantee
        >>> confidence, error = np.linspace(0, 1, 1000), np.arange(1000) < 100
        >>> cases_for_guarantee(confidence, error, target_risk=0.05, delta=0.05)
        198
        >>> cases_for_guarantee(confidence, error, target_risk=0.001, delta=0.05)
        11263
        >>> wrong = np.ones(1000)
        >>> print(cases_for_guarantee(confidence, wrong, target_risk=0.05, delta=0.05))
        None
    """
    check_promise(target_risk, delta)
    levels = _independent_levels(confidence, error, groups, seed)
    observed = [
        (int(levels.kept[at - 1]), int(levels.wrong[at - 1])) for at in _halved(len(levels.thresholds))
    ]

    def is_enough(n_cases: int) -> bool:
        share = _delta_per_test(delta, n_cases)
        for kept, wrong in observed:
            scaled = round(kept * n_cases / levels.n_cases)
            if _binomial_upper_bound(wrong * scaled / kept, scaled, share) <= target_risk:
                return True
        return False

    if all(wrong / kept >= target_risk for kept, wrong in observed):
        return None
    start = 1 if is_enough(levels.n_cases) else levels.n_cases + 1
    # From one power of two to the next delta is split alike, and more cases can only lower the bound.
    low, high = start, 2 ** start.bit_length() - 1
    while not is_enough(high):
        low, high = high + 1, 2 * high + 1
        if high > _MOST_CASES:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low


class _IndependentLevels(NamedTuple):
    """The risk-coverage curve of independent cases.

    Attributes:
        kept: (K,) number of cases at or above each distinct confidence, from the highest down.
        wrong: (K,) number of wrong ones among them.
        thresholds: (K,) the distinct confidences.
        n_cases: Number of all the cases.
    """

    kept: NumpyArray
    wrong: NumpyArray
    thresholds: NumpyArray
    n_cases: int


def _independent_levels(
    confidence: ArrayLike, error: ArrayLike, groups: ArrayLike | Sequence[Any] | Groups | None, seed: int
) -> _IndependentLevels:
    """Return the curve of all cases, or of one case per group."""
    values, errors = (on_cpu(part) for part in check_cases(confidence, error))
    check_finite(values)
    check_binary(errors)
    if groups is not None:
        rows = _one_of_each(groups_of(groups, len(values), {"confidence": confidence, "error": error}), seed)
        values, errors = values[rows], errors[rows]
    ranking = rank_cases(values)
    kept, wrong = levels_of_ranking(ranking, errors)
    return _IndependentLevels(kept, wrong, thresholds_of(ranking, values), len(values))


def _one_of_each(groups: Groups, seed: int) -> NumpyArray:
    """Return the rows (G,) of one case per group, each case of a group with the same probability."""
    shuffled = np.random.default_rng(seed).permutation(len(groups.of_case))
    _, first = np.unique(groups.of_case[shuffled], return_index=True)
    rows: NumpyArray = shuffled[first]
    return rows


def _halved(n_levels: int) -> Iterator[int]:
    """Yield the levels, counted from 1, that the binary search tests as long as none passes."""
    tested = (n_levels + 1) // 2
    while tested:
        yield tested
        tested //= 2


def _delta_per_test(delta: float, n_cases: int) -> float:
    """Return the share of delta for each of at most ceil(log2(n + 1)) tests.

    The number of distinct confidences would do as well, but it depends on the sample that is being judged.
    """
    return delta / n_cases.bit_length()


def _binomial_upper_bound(wrong: float, kept: int, delta: float) -> float:
    """Return the largest error rate under which at most `wrong` of `kept` has probability >= delta."""
    return 1.0 if wrong == kept else float(scipy.stats.beta.ppf(1 - delta, wrong + 1, kept - wrong))
