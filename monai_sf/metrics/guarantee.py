"""A threshold with a guarantee for future cases."""

from __future__ import annotations

from typing import NamedTuple

from scipy.stats import beta

from monai_sf.metrics.arrays import ArrayLike, check_binary, check_cases
from monai_sf.metrics.curve import levels_of_ranking, rank_cases, thresholds_of


class SelectiveThreshold(NamedTuple):
    """A threshold whose selective risk is bounded with high probability.

    Attributes:
        threshold: Accept a case when its confidence is at least this.
        coverage: Share of the given cases that are accepted, in (0, 1].
        empirical_risk: Error rate of the accepted ones among the given cases, in [0, 1].
        risk_bound: Upper bound on the true error rate of accepted cases, with probability 1 - delta; at most
            the target risk.
    """

    threshold: float
    coverage: float
    empirical_risk: float
    risk_bound: float


def selective_threshold(
    confidence: ArrayLike, error: ArrayLike, *, target_risk: float, delta: float
) -> SelectiveThreshold | None:
    """Return the lowest threshold found whose true risk meets the target with probability 1 - delta.

    Selection with guaranteed risk: Geifman & El-Yaniv, "Selective Classification for Deep Neural Networks",
    NeurIPS 2017, Algorithm 1. A binary search over the thresholds tests at most ceil(log2(N + 1)) of them.
    They share delta evenly, and each uses the exact binomial upper bound (Clopper & Pearson 1934) on the
    error rate of the accepted cases.

    The guarantee holds for cases drawn independently from the *same distribution* as the given ones. It does
    not hold after a shift to another clinic, scanner or disease, and several cases of one patient are not
    independent. Use validation cases that were not used to train the network or to choose the confidence.

    Args:
        confidence: (N,) finite real numbers, higher = more sure.
        error: (N,) of 0 and 1, 1 where the prediction is wrong.
        target_risk: Highest error rate to tolerate among accepted cases, in (0, 1).
        delta: Probability with which the guarantee may fail, in (0, 1).

    Returns:
        The threshold and its risk bound, or None if no tested threshold has a bound at or below the target.
        More cases, a higher target or a better confidence can change that.

    Raises:
        ValueError: If target_risk or delta is out of range, an error is neither 0 nor 1, and as in
            `risk_coverage_curve`.
    """
    for name, value in (("target_risk", target_risk), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {value}")
    values, errors = check_cases(confidence, error)
    check_binary(errors)
    ranking = rank_cases(values)
    levels, thresholds = levels_of_ranking(ranking, errors), thresholds_of(ranking, values)
    n_cases, n_levels = len(values), len(thresholds)
    # From the number of cases, not of thresholds: the latter depends on the sample that is being judged.
    delta_per_test = delta / n_cases.bit_length()

    best: SelectiveThreshold | None = None
    accepted, rejected = 0, n_levels + 1
    while rejected - accepted > 1:
        tested = (accepted + rejected) // 2
        kept, wrong = int(levels.kept[tested - 1]), int(levels.wrong[tested - 1])
        bound = _binomial_upper_bound(wrong, kept, delta_per_test)
        if bound <= target_risk:
            accepted = tested
            threshold = float(thresholds[tested - 1])
            best = SelectiveThreshold(threshold, kept / n_cases, wrong / kept, bound)
        else:
            rejected = tested
    return best


def _binomial_upper_bound(wrong: int, kept: int, delta: float) -> float:
    """Return the largest error rate under which at most `wrong` of `kept` has probability >= delta."""
    return 1.0 if wrong == kept else float(beta.ppf(1 - delta, wrong + 1, kept - wrong))
