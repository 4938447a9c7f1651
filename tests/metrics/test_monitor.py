"""The monitor after deployment: a fair bet, its alarm, bound and state, and its promise by simulation."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.metrics import RiskMonitor

SURE = 0.9
risks = st.floats(0.001, 0.999)


def after(errors, target_risk=0.05, delta=0.05, **options):
    monitor = RiskMonitor(target_risk, delta, **options)
    monitor.update(np.full(len(errors), SURE), np.asarray(errors, float))
    return monitor


def slow_evidence(errors, target_risk):
    """The wealth as defined: the mean over the bets of the product over the cases, in turn."""
    powers = [power / 2 for power in range(-32, 200)]
    excess = {power: min(target_risk, 1 - target_risk) * 2**power for power in powers}
    excess = {power: over for power, over in excess.items() if over / (1 - target_risk) < 0.95}
    shares = {power: 2 ** (-abs(power) / 2) for power in excess}
    total = 0.0
    for power, over in excess.items():
        bet = over / (target_risk * (1 - target_risk))
        wealth = shares[power] / math.fsum(shares.values())
        for error in errors:
            wealth *= 1 + bet * (error - target_risk)
        total += wealth
    return total


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=40), risks)
def test_the_evidence_is_the_wealth_of_the_bets(errors, target_risk):
    assert after(errors, target_risk).evidence == pytest.approx(slow_evidence(errors, target_risk), rel=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=40), risks)
def test_of_errors_in_between_it_is_not_above_that(errors, target_risk):
    assert after(errors, target_risk).evidence <= slow_evidence(errors, target_risk) * (1 + 1e-9)


@pytest.mark.parametrize("target_risk", [1e-6, 0.01, 0.05, 0.5, 0.95, 1 - 1e-6])
def test_the_bet_is_fair_at_the_target(target_risk):
    expected = math.fsum(
        math.comb(12, wrong)
        * target_risk**wrong
        * (1 - target_risk) ** (12 - wrong)
        * after([1] * wrong + [0] * (12 - wrong), target_risk).evidence
        for wrong in range(13)
    )
    assert expected == pytest.approx(1, rel=1e-9)


def test_a_lower_risk_loses_and_a_higher_one_wins():
    for risk, grows in ((0.04, False), (0.06, True)):
        expected = sum(
            math.prod(risk if error else 1 - risk for error in errors) * after(errors).evidence
            for errors in itertools.product((0, 1), repeat=6)
        )
        assert (expected > 1) == grows


parts = st.lists(
    st.tuples(st.floats(0, 1), st.one_of(st.just(1.0), st.just(0.0), st.just(math.nan), st.floats(0, 1))),
    max_size=60,
)


@settings(deadline=None)
@given(parts, st.sampled_from([0.02, 0.3]), st.integers(1, 7))
def test_an_array_is_the_same_as_its_entries_one_by_one(cases, target_risk, size):
    one_by_one, in_parts, at_once = (RiskMonitor(target_risk, 0.2, threshold=0.25) for _ in range(3))
    for confidence, error in cases:
        one_by_one.update(confidence, None if math.isnan(error) else error)
    for start in range(0, len(cases), size):
        in_parts.update(*(np.array(part) for part in zip(*cases[start : start + size], strict=True)))
    at_once.update(*np.array(cases).reshape(-1, 2).T)
    for other in (in_parts, at_once):
        assert other.state_dict() == one_by_one.state_dict()
        assert other.evidence == one_by_one.evidence
        assert other.lower_bound == one_by_one.lower_bound


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=60))
def test_the_alarm_comes_with_the_first_case_at_which_the_evidence_is_enough_and_stays(errors):
    first = next((n for n in range(len(errors) + 1) if after(errors[:n], 0.2, 0.2).evidence >= 5), None)
    monitor = after(errors, 0.2, 0.2)
    assert monitor.alarm_after == first
    assert monitor.alarm == (first is not None)
    monitor.update(np.full(10_000, SURE), np.zeros(10_000))
    assert monitor.evidence < 1
    assert monitor.alarm_after == first


def test_the_alarm_is_found_in_any_block_of_a_long_array():
    errors = np.tile([1, *[0] * 9], 5000)
    errors[:30_000] = np.tile([1, *[0] * 22], 1305)[:30_000]
    monitor = RiskMonitor(0.05, 0.05)
    for error in errors:
        monitor.update(SURE, error)
        if monitor.alarm:
            break
    assert monitor.alarm_after > 30_000
    assert after(errors).alarm_after == monitor.alarm_after == monitor.labelled


@settings(deadline=None)
@given(st.integers(0, 400), st.floats(0, 1), risks, st.sampled_from([0.01, 0.2]))
def test_the_lower_bound_is_the_highest_risk_that_is_excluded(n_cases, share, target_risk, delta):
    wrong = round(share * n_cases)
    monitor = after([1] * wrong + [0] * (n_cases - wrong), target_risk, delta)
    bound = monitor.lower_bound
    assert 0 <= bound <= (wrong / n_cases if n_cases else 0)
    if abs(bound - target_risk) > 1e-9:
        assert (bound > target_risk) == (monitor.evidence >= 1 / delta)
    assert after([1] * wrong + [0] * (n_cases - wrong), target_risk, delta / 2).lower_bound <= bound


def test_the_lower_bound_comes_close_to_the_risk():
    errors = np.tile([1, *[0] * 9], 10_000)
    for target_risk in (0.01, 0.05, 0.1, 0.3, 0.9):
        assert 0.09 < after(errors, target_risk).lower_bound < 0.1


def test_only_accepted_cases_with_a_label_count_for_the_risk():
    monitor = RiskMonitor(0.05, 0.05, threshold=0.5)
    assert math.isnan(monitor.risk)
    assert math.isnan(monitor.coverage)
    assert monitor.lower_bound == 0
    assert monitor.evidence == pytest.approx(1)
    monitor.update(np.array([0.5, 0.49, 0.7, 0.8]), np.array([1, 1, np.nan, 0]))
    monitor.update(0.6)
    monitor.update(np.array([0.1, 0.9]))
    monitor.update([0.9, 0.2], [None, 1])
    monitor.update(np.array([]), np.array([]))
    assert (monitor.cases, monitor.accepted, monitor.labelled) == (9, 6, 2)
    assert monitor.risk == 0.5
    assert monitor.coverage == 6 / 9
    assert monitor.evidence == after([1, 0]).evidence


@pytest.mark.parametrize(
    ("confidence", "error"),
    [
        (torch.tensor([0.25, 0.75]), torch.tensor([1, 0])),
        (np.array([0.25, 0.75], np.float32), np.array([True, False])),
        (pd.Series([0.25, 0.75]), pd.Series([1.0, 0.0])),
        ([0.25, 0.75], (1, 0)),
    ],
    ids=["torch", "numpy", "pandas", "lists"],
)
def test_any_kind_of_array(confidence, error):
    monitor = RiskMonitor(0.05, 0.05, threshold=0.5)
    monitor.update(confidence, error)
    assert (monitor.cases, monitor.labelled, monitor.risk) == (2, 1, 0)


def test_a_hundred_million_cases_do_not_blur_it():
    kept, doubled = RiskMonitor(0.05, 0.05), RiskMonitor(0.05, 0.05)
    state = {**kept.state_dict(), "cases": 10**8, "accepted": 10**8, "labelled": 10**8}
    kept.load_state_dict({**state, "errors": 5_000_000.0})
    assert 0 < kept.evidence < 1
    assert 0.0499 < kept.lower_bound < 0.05
    before = kept.evidence
    kept.update(SURE, 1)
    assert kept.evidence > before
    doubled.load_state_dict({**state, "errors": 10_000_000.0})
    assert doubled.evidence == math.inf
    assert 0.0998 < doubled.lower_bound < 0.1
    assert json.loads(json.dumps(doubled.state_dict(), allow_nan=False)) == doubled.state_dict()


@settings(deadline=None)
@given(parts, parts, st.sampled_from([-math.inf, 0.3]))
def test_it_goes_on_where_it_was(before, later, threshold):
    whole, first, second = (RiskMonitor(0.1, 0.2, threshold=threshold) for _ in range(3))
    for monitor, cases in ((whole, before), (first, before)):
        monitor.update(*np.array(cases).reshape(-1, 2).T)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    for monitor in (whole, second):
        monitor.update(*np.array(later).reshape(-1, 2).T)
    assert second.state_dict() == whole.state_dict()
    assert second.evidence == whole.evidence
    assert second.alarm == whole.alarm


STATE = after([1, 0, 0], threshold=0.5).state_dict()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({**STATE, "target_risk": 0.1}, "the state is of another monitor: it has {'target_risk': 0.1}"),
        ({**STATE, "delta": 0.1}, "of another monitor: it has {'delta': 0.1}"),
        ({**STATE, "threshold": None}, "of another monitor: it has {'threshold': None}"),
        ({**STATE, "threshold": math.nan}, "of another monitor: it has {'threshold': nan}"),
        ({**STATE, "more": 1}, "a state must have the entries target_risk, .* alarm_after, got"),
        ({}, "a state must have the entries"),
        ([1], "a state must have the entries"),
        ({**STATE, "cases": 3.0}, "cases of a state must be a whole number"),
        ({**STATE, "labelled": True}, "labelled of a state must be a whole number"),
        ({**STATE, "accepted": 10**400}, "accepted of a state must be a whole number"),
        ({**STATE, "alarm_after": -1}, "alarm_after of a state must be a whole number"),
        ({**STATE, "alarm_after": 4}, "errors <= labelled <= accepted <= cases, got"),
        ({**STATE, "labelled": 4}, "errors <= labelled <= accepted <= cases, got"),
        ({**STATE, "errors": 3.5}, "errors <= labelled <= accepted <= cases, got"),
        ({**STATE, "errors": math.nan}, "errors <= labelled <= accepted <= cases, got"),
        ({**STATE, "errors": "1"}, "errors <= labelled <= accepted <= cases, got"),
    ],
)
def test_a_state_of_another_monitor_or_an_impossible_one_is_refused(state, message):
    monitor = RiskMonitor(0.05, 0.05, threshold=0.5)
    with pytest.raises(ValueError, match=message):
        monitor.load_state_dict(state)
    assert monitor.state_dict() == RiskMonitor(0.05, 0.05, threshold=0.5).state_dict()


@pytest.mark.parametrize("value", [0, 1, -0.1, math.nan])
@pytest.mark.parametrize("name", ["target_risk", "delta"])
def test_a_promise_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must lie in \(0, 1\), got"):
        RiskMonitor(**{"target_risk": 0.1, "delta": 0.1, name: value})


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must be a number, or -inf"):
        RiskMonitor(0.1, 0.1, threshold=threshold)


@pytest.mark.parametrize(
    ("confidence", "error", "message"),
    [
        (np.array([0.9, np.nan]), np.zeros(2), "confidence must be finite, got 1 of 2"),
        (math.inf, 0, "confidence must be finite, got 1 of 1"),
        (np.ones(3), np.array([0, 2, -0.1]), r"error must lie in \[0, 1\] or be NaN, got 2 of 3"),
        (np.ones(3), np.zeros(2), r"the same shape \(N,\), got shapes \(3,\) and \(2,\)"),
        (np.ones(1), 0, r"the same shape \(N,\), got shapes \(1,\) and \(\)"),
        (np.ones((2, 2)), np.zeros((2, 2)), "the same shape"),
        (0.9, "wrong", "error must hold real numbers"),
        ("0.9", 0, "confidence must hold real numbers"),
    ],
)
def test_bad_cases_change_nothing(confidence, error, message):
    monitor = after([1, 0, 0])
    before = monitor.state_dict()
    with pytest.raises(ValueError, match=message):
        monitor.update(confidence, error)
    assert monitor.state_dict() == before


def test_columns_in_another_order_are_refused():
    confidence = pd.Series([0.9, 0.8], index=["a", "b"])
    with pytest.raises(ValueError, match="confidence and error have the same index in another order"):
        RiskMonitor(0.1, 0.1).update(confidence, pd.Series([0.0, 1.0], index=["b", "a"]))


@pytest.mark.parametrize("target_risk", [0.05, 0.5])
def test_false_alarms_are_at_most_delta_and_a_doubled_risk_is_found(target_risk):
    rng = np.random.default_rng(0)
    n_false = sum(after(rng.random(5000) < target_risk, target_risk, 0.1).alarm for _ in range(300))
    # Not far below what is allowed either, or a doubled risk would be found late.
    assert 3 <= n_false <= 30
    doubled = [after(rng.random(600) < 1.8 * target_risk, target_risk, 0.1).alarm for _ in range(200)]
    assert np.mean(doubled) > 0.9
