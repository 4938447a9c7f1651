"""Selection with guaranteed risk: the bound, the search, and the promise itself by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom

from monai_sf.metrics import cases_for_guarantee, selective_threshold
from monai_sf.vocabulary.ids import group_cases

PROMISE = {"target_risk": 0.05, "delta": 0.05}


def draw(rng, n, shift=0.0):
    """Confidence uniform in [0, 1]; error probability (1 - confidence) / 2 + shift."""
    confidence = rng.random(n)
    return confidence, (rng.random(n) < (1 - confidence) / 2 + shift).astype(float)


def true_risk(threshold, shift=0.0):
    return (1 - threshold) / 4 + shift


def test_the_bound_solves_the_binomial_equation():
    confidence, error = draw(np.random.default_rng(0), 1000)
    result = selective_threshold(confidence, error, target_risk=0.1, delta=0.05)
    accepted = confidence >= result.threshold
    assert result.coverage == accepted.mean()
    assert result.empirical_risk == error[accepted].mean()
    assert result.empirical_risk < result.risk_bound <= 0.1
    # 1000 cases allow ceil(log2(1001)) = 10 tests, which share delta.
    probability = binom.cdf(error[accepted].sum(), accepted.sum(), result.risk_bound)
    assert probability == pytest.approx(0.05 / 10, rel=1e-6)


def test_the_search_ends_next_to_a_threshold_that_fails():
    confidence, error = draw(np.random.default_rng(1), 1000)
    result = selective_threshold(confidence, error, target_risk=0.1, delta=0.05)
    next_lower = confidence[confidence < result.threshold].max()
    accepted = confidence >= next_lower
    assert binom.cdf(error[accepted].sum(), accepted.sum(), 0.1) > 0.05 / 10


def test_the_promise_is_kept_on_new_cases_of_the_same_distribution():
    rng = np.random.default_rng(2)
    broken = found = 0
    for _ in range(300):
        result = selective_threshold(*draw(rng, 800), target_risk=0.15, delta=0.1)
        if result is not None:
            found += 1
            broken += true_risk(result.threshold) > 0.15
    assert found > 250
    assert broken <= 30


def test_the_promise_breaks_under_shift():
    rng = np.random.default_rng(3)
    results = [selective_threshold(*draw(rng, 2000), target_risk=0.15, delta=0.1) for _ in range(20)]
    assert all(true_risk(result.threshold, shift=0.1) > 0.15 for result in results)


def slow_bound(wrong, kept, delta):
    """The largest risk under which so few errors are not too improbable, by bisection of the binomial sum."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        tail = math.fsum(
            math.comb(kept, k) * middle**k * (1 - middle) ** (kept - k) for k in range(wrong + 1)
        )
        low, high = (low, middle) if tail < delta else (middle, high)
    return high


def slow_threshold(confidence, error, target_risk, delta):
    """Algorithm 1 of the paper, counting the cases anew for each threshold."""
    thresholds = sorted(set(confidence), reverse=True)
    tests = math.ceil(math.log2(len(confidence) + 1))
    found = None
    below, above = 0, len(thresholds) + 1
    while above - below > 1:
        at = (below + above) // 2
        accepted = [e for c, e in zip(confidence, error, strict=True) if c >= thresholds[at - 1]]
        bound = slow_bound(sum(accepted), len(accepted), delta / tests)
        if bound <= target_risk:
            below = at
            found = (thresholds[at - 1], len(accepted) / len(error), sum(accepted) / len(accepted), bound)
        else:
            above = at
    return found


some_cases = st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=60)
# Not round, so that no bound equals the target but for rounding.
share = st.floats(0.02, 0.98).map(lambda value: value + 1e-6 / 3)


@settings(deadline=None)
@given(some_cases, share, share)
def test_it_is_the_algorithm_of_the_paper(cases, target_risk, delta):
    confidence, error = (list(part) for part in zip(*cases, strict=True))
    found = selective_threshold(np.array(confidence), np.array(error), target_risk=target_risk, delta=delta)
    expected = slow_threshold(confidence, error, target_risk, delta)
    if expected is None:
        assert found is None
    else:
        assert found[:3] == expected[:3]
        assert found.risk_bound == pytest.approx(expected[3], abs=1e-9)
        assert found.n_independent == len(cases)


def test_a_confidence_that_says_nothing_finds_a_threshold_by_luck_in_at_most_delta_of_the_samples():
    # Every threshold has the true risk 0.3, so each one that is found breaks the promise of 0.299. Tests at
    # half, a quarter, ... of the cases are nearly independent: each at delta they would break it far oftener.
    rng = np.random.default_rng(9)
    promise = {"target_risk": 0.299, "delta": 0.1}
    found = [selective_threshold(rng.random(1000), rng.random(1000) < 0.3, **promise) for _ in range(300)]
    assert sum(one is not None for one in found) <= 30


def test_the_best_of_several_scores_may_be_chosen_afterwards_if_they_share_delta():
    # Blind scores as above: the chosen one breaks the promise as soon as any of them has found a threshold.
    rng = np.random.default_rng(10)
    n_scores, delta = 9, 0.1
    shares = [delta / 2] + [delta / 2 / (n_scores - 1)] * (n_scores - 1)
    shared = each = 0
    for _ in range(100):
        samples = [(rng.random(100), rng.random(100) < 0.3) for _ in range(n_scores)]
        for deltas, is_shared in ((shares, True), ([delta] * n_scores, False)):
            found = [
                selective_threshold(*sample, target_risk=0.299, delta=own) is not None
                for sample, own in zip(samples, deltas, strict=True)
            ]
            shared += is_shared and any(found)
            each += not is_shared and any(found)
    assert shared <= 10
    assert each > 10


def clustered(rng, n_groups, size):
    """Cases of patients who are easy (every answer right) or hard (every answer wrong), one in eight hard.

    The confidence says nothing, so that every threshold has the same risk.
    """
    hard = rng.random(n_groups) < 1 / 8
    return rng.random(n_groups * size), np.repeat(hard, size), np.repeat(np.arange(n_groups), size)


def test_one_case_of_each_group_keeps_the_promise_where_all_cases_break_it():
    rng = np.random.default_rng(4)
    broken, naive = 0, 0
    for run in range(300):
        confidence, error, groups = clustered(rng, 40, 25)
        promise = {"target_risk": 0.12, "delta": 0.1}
        broken += selective_threshold(confidence, error, groups=groups, seed=run, **promise) is not None
        naive += selective_threshold(confidence, error, **promise) is not None
    # The true risk is 0.125 at every threshold, so each threshold that is found breaks the promise.
    assert broken <= 30
    assert naive > 75


def test_each_case_of_a_group_is_drawn_alike_whatever_its_confidence():
    # Of two cases the less sure one is wrong, so a draw that looked at confidence or error would show.
    confidence, groups = np.arange(2000.0), np.arange(2000) % 1000
    error = (confidence < 1000).astype(int)
    drawn = [
        selective_threshold(confidence, error, target_risk=0.6, delta=0.1, groups=groups, seed=seed)
        for seed in range(20)
    ]
    assert all(one.n_independent == 1000 for one in drawn)
    assert all(one.coverage == 1 for one in drawn)
    rates = [one.empirical_risk for one in drawn]
    assert np.mean(rates) == pytest.approx(0.5, abs=0.015)
    assert len(set(rates)) > 10
    again = selective_threshold(confidence, error, target_risk=0.6, delta=0.1, groups=groups, seed=7)
    assert again == drawn[7]


def test_errors_do_not_change_the_draw():
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 400, 1200)
    confidence = rng.random(1200)
    # Which rows were drawn shows in the coverage of a fixed threshold: all are right, then those below.
    right = selective_threshold(confidence, np.zeros(1200), groups=groups, seed=3, **PROMISE)
    some = selective_threshold(confidence, confidence < 0.5, groups=groups, seed=3, **PROMISE)
    assert some.coverage < 0.6
    assert some.n_independent == right.n_independent == len(set(groups))
    shifted = selective_threshold(confidence + 7, confidence < 0.5, groups=groups, seed=3, **PROMISE)
    assert shifted[1:] == some[1:]


def test_ids_are_compared_by_their_meaning():
    confidence, error = draw(np.random.default_rng(6), 900)
    numbers = np.arange(900) // 3
    spelled = [f"P{number}" if row % 2 else f"p{number} " for row, number in enumerate(numbers)]
    promise = {"target_risk": 0.2, "delta": 0.1, "seed": 1}
    results = [
        selective_threshold(confidence, error, groups=groups, **promise)
        for groups in (spelled, group_cases(spelled), torch.from_numpy(numbers))
    ]
    assert results[0] == results[1]
    assert [one.n_independent for one in results] == [300, 300, 300]
    alone = [None if row % 3 else number for row, number in enumerate(numbers)]
    assert selective_threshold(confidence, error, groups=alone, **promise).n_independent == 900


def test_ties_are_accepted_together():
    confidence = np.repeat([0.9, 0.1], [500, 500])
    error = np.zeros(1000)
    error[500:] = 1
    result = selective_threshold(
        torch.from_numpy(confidence), torch.from_numpy(error), target_risk=0.1, delta=0.1
    )
    assert result[:3] == (0.9, 0.5, 0.0)


def test_full_coverage_is_found():
    result = selective_threshold(np.arange(100.0), np.zeros(100), target_risk=0.2, delta=0.1)
    assert result == (0, 1, 0, result.risk_bound, 100)


@pytest.mark.parametrize(
    ("confidence", "error"),
    [(np.array([1.0]), np.array([0])), (np.arange(200.0), np.ones(200)), (np.arange(5.0), np.zeros(5))],
    ids=["single case", "all wrong", "too few"],
)
def test_none_exists(confidence, error):
    assert selective_threshold(confidence, error, target_risk=0.05, delta=0.05) is None


def test_one_group_promises_nothing():
    one = np.full(500, "P1")
    assert selective_threshold(np.arange(500.0), np.zeros(500), groups=one, **PROMISE) is None


def is_enough(confidence, error, n_cases, target_risk, delta):
    """Whether one of the thresholds that are tested first would pass with n cases of the same curve."""
    thresholds = sorted(set(confidence), reverse=True)
    share = delta / math.ceil(math.log2(n_cases + 1))
    at = (len(thresholds) + 1) // 2
    while at:
        accepted = [e for c, e in zip(confidence, error, strict=True) if c >= thresholds[at - 1]]
        kept = round(len(accepted) * n_cases / len(error))
        wrong = sum(accepted) * kept / len(accepted)
        # The binomial sum for fractions of an error: the incomplete beta function as an integral.
        if wrong < kept and beta_sum(wrong, kept, target_risk) <= share:
            return True
        at //= 2
    return False


def beta_sum(wrong, kept, risk):
    """P(at most `wrong` of `kept`) at this risk, also for fractions: the mass of a Beta above the risk."""

    def density(x):
        return x**wrong * (1 - x) ** (kept - wrong - 1)

    parts = [quad(density, *ends, limit=200)[0] for ends in ((0, risk), (risk, 1))]
    return parts[1] / sum(parts)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=12), st.floats(0.2, 0.9))
def test_no_smaller_number_is_enough(cases, target_risk):
    confidence, error = zip(*cases, strict=True)
    arrays = np.array(confidence), np.array(error)
    needed = cases_for_guarantee(*arrays, target_risk=target_risk, delta=0.2)
    found = selective_threshold(*arrays, target_risk=target_risk, delta=0.2)
    numbers = range(1 if found else len(cases) + 1, 60 if needed is None else min(needed, 60))
    assert not any(is_enough(confidence, error, n, target_risk, 0.2) for n in numbers)
    if needed is not None and needed < 200:
        assert is_enough(confidence, error, needed, target_risk + 1e-9, 0.2)


@settings(deadline=None)
@given(some_cases, share, share)
def test_more_than_there_are_are_needed_where_none_is_found(cases, target_risk, delta):
    confidence, error = (np.array(part) for part in zip(*cases, strict=True))
    found = selective_threshold(confidence, error, target_risk=target_risk, delta=delta)
    needed = cases_for_guarantee(confidence, error, target_risk=target_risk, delta=delta)
    if found is not None:
        assert needed <= len(cases)
    elif needed is not None:
        assert needed > len(cases)


@pytest.mark.parametrize("target_risk", [0.01, 0.05, 0.1, 0.5])
def test_the_number_is_the_smallest_with_which_all_right_cases_are_enough(target_risk):
    def is_found(n_cases):
        right = np.arange(float(n_cases)), np.zeros(n_cases)
        return selective_threshold(*right, target_risk=target_risk, delta=0.05) is not None

    for n_given in (2, 50, 51):
        needed = cases_for_guarantee(
            np.arange(float(n_given)), np.zeros(n_given), target_risk=target_risk, delta=0.05
        )
        # The half that is tested first is rounded, here and there.
        assert is_found(needed + 2 + needed // n_given)
        if needed > n_given + 3:
            assert not is_found(needed - 3)


def test_a_single_case_says_how_many_accepted_ones_it_takes():
    needed = cases_for_guarantee(np.zeros(1), np.zeros(1), **PROMISE)
    assert slow_bound(0, needed, 0.05 / 7) <= 0.05 < slow_bound(0, needed - 1, 0.05 / 7)
    assert 64 < needed < 128  # for which there are seven tests


def test_twice_as_many_of_the_same_curve_give_the_threshold_that_was_said():
    rng = np.random.default_rng(8)
    confidence, error = draw(rng, 200)
    needed = cases_for_guarantee(confidence, error, **PROMISE)
    assert needed > 200
    times = -(-needed // 200) + 1
    again = [np.repeat(part, times) for part in (confidence, error)]
    assert selective_threshold(*again, **PROMISE) is not None


@pytest.mark.parametrize(
    ("error", "target_risk"),
    [(np.ones(100), 0.05), (np.ones(1), 0.9), (np.arange(100) % 20 == 0, 0.01)],
    ids=["all wrong", "one, wrong", "the surest is wrong"],
)
def test_no_number_would_do(error, target_risk):
    assert (
        cases_for_guarantee(-np.arange(float(len(error))), error, target_risk=target_risk, delta=0.05) is None
    )


def test_a_number_beyond_all_bounds_is_none():
    error = np.zeros(2**20)
    error[0] = 1
    one_level = np.zeros(2**20)
    barely = float(np.nextafter(2.0**-20, 1))
    assert cases_for_guarantee(one_level, error, target_risk=barely, delta=0.05) is None


def test_the_number_is_that_of_any_level_that_the_search_may_test():
    # Of four levels only the first is below the target; the search tests the second, then the first.
    found = cases_for_guarantee(-np.arange(4.0), np.array([0, 1, 1, 1]), target_risk=0.3, delta=0.05)
    accepted = cases_for_guarantee(np.zeros(1), np.zeros(1), target_risk=0.3, delta=0.05)
    assert 3 * accepted < found < 5 * accepted


def right(n_cases):
    return np.zeros(n_cases), np.zeros(n_cases)


@pytest.mark.parametrize("needed", [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 100, 127])
def test_the_number_whose_bound_is_the_target_is_found(needed):
    target = selective_threshold(*right(needed), target_risk=0.99, delta=0.05).risk_bound
    assert cases_for_guarantee(*right(1), target_risk=target, delta=0.05) == needed


def test_a_bound_at_the_target_is_enough_and_a_further_test_has_its_price():
    # Up to 127 cases share delta among seven tests, those from 128 on among eight.
    target = selective_threshold(*right(127), target_risk=0.5, delta=0.05).risk_bound
    promise = {"target_risk": target, "delta": 0.05}
    assert selective_threshold(*right(127), **promise).risk_bound == target
    assert [cases_for_guarantee(*right(given), **promise) for given in (1, 126, 127)] == [127] * 3
    more = cases_for_guarantee(*right(128), **promise)
    assert more > 128
    assert selective_threshold(*right(more), **promise) is not None
    assert selective_threshold(*right(more - 1), **promise) is None


@pytest.mark.parametrize("function", [selective_threshold, cases_for_guarantee])
def test_the_draw_has_a_seed_of_its_own(function):
    error = np.arange(200) % 2 * (np.arange(200) % 8 > 3)
    arguments = {"groups": np.arange(200) // 2, "target_risk": 0.4, "delta": 0.1}
    answers = [function(-np.arange(200.0), error, seed=seed, **arguments) for seed in range(3)]
    assert len(set(answers)) == 3
    assert function(-np.arange(200.0), error, **arguments) == answers[0]


@pytest.mark.parametrize("function", [selective_threshold, cases_for_guarantee])
class TestRefusals:
    @pytest.mark.parametrize("value", [0, 1, -0.1, np.nan, None, "0.05", [0.1]])
    @pytest.mark.parametrize("name", ["target_risk", "delta"])
    def test_arguments_out_of_range(self, function, name, value):
        with pytest.raises(ValueError, match=rf"must lie between 0 and 1, exclusively: got {name}"):
            function(np.arange(3.0), np.zeros(3), **{**PROMISE, name: value})

    def test_residuals(self, function):
        with pytest.raises(ValueError, match="error must hold only 0 and 1 here, got 1 of 2"):
            function(np.arange(2.0), np.array([0.5, 0]), **PROMISE)

    def test_groups_of_other_cases(self, function):
        with pytest.raises(ValueError, match=r"groups must have shape \(3,\) like confidence, got \(2,\)"):
            function(np.arange(3.0), np.zeros(3), groups=["a", "b"], **PROMISE)

    def test_not_a_number_even_where_it_is_not_drawn(self, function):
        confidence = np.arange(40.0)
        confidence[7] = np.nan
        for seed in range(5):
            with pytest.raises(ValueError, match="confidence must be finite, got 1 of 40"):
                function(confidence, np.zeros(40), groups=np.arange(40) // 20, seed=seed, **PROMISE)
