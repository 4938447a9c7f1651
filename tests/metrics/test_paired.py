"""Paired bootstrap over groups against cases that are really repeated, and as a test that keeps its level."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.metrics import (
    augrc,
    aurc,
    coverage_at_risk,
    eaurc,
    failure_auroc,
    holm,
    paired_bootstrap,
)
from monai_sf.metrics.areas import augrc_of, aurc_of, eaurc_of
from monai_sf.metrics.failure import failure_auroc_of
from monai_sf.metrics.operating import coverage_at_risk_of
from monai_sf.metrics.paired import difference_of, group_counts, resampled_values


def at_risk(confidence, error):
    return coverage_at_risk(confidence, error, risk=0.3).coverage


METRICS = [
    (aurc, aurc_of),
    (eaurc, eaurc_of),
    (augrc, augrc_of),
    (failure_auroc, failure_auroc_of),
    (at_risk, functools.partial(coverage_at_risk_of, risk=0.3)),
]


def cases(seed, n=30, groups=8, ties=True):
    rng = np.random.default_rng(seed)
    confidence = rng.normal(size=n)
    return (
        np.round(confidence, 1) if ties else confidence,
        (rng.random(n) < 0.4) * 1.0,
        rng.integers(0, groups, n),
    )


@pytest.mark.parametrize(("metric", "of_levels"), METRICS)
@pytest.mark.parametrize("ties", [True, False])
def test_resamples_are_those_of_repeated_cases(metric, of_levels, ties):
    confidence, error, group = cases(1, ties=ties)
    counts = group_counts(np.arange(8), 40, seed=3)
    fast = resampled_values(of_levels, confidence, error, counts, group)
    for row, value in zip(counts, fast, strict=True):
        repeated = np.repeat(np.arange(len(error)), row[group])
        drawn = error[repeated]
        if len(drawn) == 0 or (metric is failure_auroc and drawn.min() == drawn.max()):
            assert np.isnan(value)
        else:
            assert value == pytest.approx(metric(confidence[repeated], drawn), abs=1e-12)


def test_errors_between_0_and_1_are_resampled_too():
    confidence, error, group = cases(2)
    error = np.random.default_rng(0).random(len(error))
    counts = group_counts(np.arange(8), 10, seed=0)
    fast = resampled_values(aurc_of, confidence, error, counts, group)
    repeated = np.repeat(np.arange(len(error)), counts[4][group])
    assert fast[4] == pytest.approx(aurc(confidence[repeated], error[repeated]))


def test_nobody_drawn_is_not_defined():
    counts = np.array([[0, 0], [1, 2]], np.uint8)
    values = resampled_values(aurc_of, np.array([0.1, 0.2]), np.array([1.0, 0.0]), counts, np.array([0, 1]))
    assert np.isnan(values[0])
    assert np.isfinite(values[1])


def test_counts_are_poisson():
    counts = group_counts([f"patient {i}" for i in range(100)], 2000, seed=0)
    assert counts.shape == (2000, 100)
    shares = np.bincount(counts.ravel(), minlength=4)[:4] / counts.size
    np.testing.assert_allclose(shares, np.exp(-1) / np.array([1, 1, 2, 6]), atol=0.004)
    assert abs(np.corrcoef(counts.T)[np.triu_indices(100, 1)]).mean() < 0.03


def test_a_group_is_drawn_alike_wherever_it_occurs():
    one = group_counts(["a", "b", "c"], 50, seed=1)
    other = group_counts(["c", "d", "a"], 50, seed=1)
    np.testing.assert_array_equal(one[:, 0], other[:, 2])
    np.testing.assert_array_equal(one[:, 2], other[:, 0])
    assert (one != group_counts(["a", "b", "c"], 50, seed=2)).any()


def test_the_same_confidence_differs_by_nothing():
    confidence, error, group = cases(4)
    found = paired_bootstrap(aurc, (confidence, error), (confidence, error), groups=group, n_resamples=50)
    assert found == (0, 0, 0, 1)


def test_swapping_the_two_swaps_the_sign():
    confidence, error, group = cases(5)
    other = cases(6)[0]
    one = paired_bootstrap(aurc, (confidence, error), (other, error), groups=group, n_resamples=200)
    two = paired_bootstrap(aurc, (other, error), (confidence, error), groups=group, n_resamples=200)
    assert two.estimate == -one.estimate
    assert two.low == pytest.approx(-one.high)
    assert two.p_value == one.p_value


def test_a_clear_difference_is_found_and_a_p_value_is_never_0():
    rng = np.random.default_rng(0)
    error = (rng.random(200) < 0.3) * 1.0
    good, bad = -error + rng.normal(0, 0.3, 200), rng.normal(size=200)
    found = paired_bootstrap(aurc, (good, error), (bad, error), n_resamples=199)
    assert found.high < 0
    assert found.estimate == pytest.approx(aurc(good, error) - aurc(bad, error))
    assert found.p_value == pytest.approx(2 / 200)


def test_p_value_and_interval_by_hand():
    found = difference_of(1.0, np.array([-1.0, 1, 2, 3, 4, 5, 6, 7, 8, np.nan]), level=0.5)
    assert found.p_value == pytest.approx(2 * (1 + 1) / (9 + 1))
    assert (found.low, found.high) == (2, 6)


def simulate(with_groups, rounds=160):
    """Share of false positives where both confidences are equally good and patients differ a lot."""
    rng = np.random.default_rng(11)
    positives = 0
    for _ in range(rounds):
        patients, images = 50, 4
        group = np.repeat(np.arange(patients), images)
        hard = rng.random(patients)
        error = (rng.random(patients) < 0.6 * hard)[group] * 1.0
        one, two = ((-hard + rng.normal(0, 0.6, patients))[group] for _ in range(2))
        first, second = ((c + rng.normal(0, 0.02, len(group)), error) for c in (one, two))
        found = paired_bootstrap(
            aurc,
            first,
            second,
            groups=group if with_groups else None,
            n_resamples=150,
            seed=int(rng.integers(1e6)),
        )
        positives += found.p_value < 0.05
    return positives / rounds


def test_false_positives_stay_at_the_level_with_groups_and_not_without():
    share = simulate(with_groups=True)
    assert 0.005 <= share <= 0.11  # 0.05 and three standard errors
    assert simulate(with_groups=False) > 2 * 0.05


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_is_its_definition(p_values):
    adjusted = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    for rank, i in enumerate(order):
        steps = [(len(p_values) - k) * p_values[order[k]] for k in range(rank + 1)]
        assert adjusted[i] == pytest.approx(min(1, max(steps)))


def test_holm_of_the_textbook_and_of_what_was_not_compared():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.02, np.nan, 0.01]), [0.02, np.nan, 0.02])
    assert holm([]).shape == (0,)


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(ValueError, match=r"p_values must lie in \[0, 1\], got 0.5 to 1.5"):
        holm([0.5, 1.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"groups": [0] * 25 + [1, 2, 3, 4, 5]},
            "25 of 30 cases have the group '0', which looks like a place",
        ),
        ({"groups": np.zeros(29)}, r"groups must have shape \(30,\)"),
        ({"n_resamples": 0}, "n_resamples must be at least 1, got 0"),
        ({"level": 1.0}, r"level must lie in \(0, 1\), got 1.0"),
    ],
)
def test_arguments_out_of_range(options, message):
    confidence, error, _ = cases(7)
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(aurc, (confidence, error), (confidence, error), **{"n_resamples": 5, **options})


@pytest.mark.parametrize(
    "groups", [np.zeros(30), ["p"] * 30, ["P", "p ", "p"] * 10, np.array([7, "07", 7.0] * 10, object)]
)
def test_one_patient_has_neither_interval_nor_p_value(groups):
    confidence, error, _ = cases(7)
    other = cases(6)[0]
    found = paired_bootstrap(aurc, (confidence, error), (other, error), groups=groups, n_resamples=5)
    assert found.estimate == aurc(confidence, error) - aurc(other, error)
    assert np.isnan(found[1:]).all()


def test_a_patient_is_drawn_alike_however_its_id_is_spelled():
    confidence, error, group = cases(5)
    other = cases(6)[0]
    spellings = [
        *(group, group.astype(float), [f"{g:03d}" for g in group], [f" {g}.0" for g in group]),
        *(pd.Series(group, dtype="Int64"), torch.from_numpy(group)),
    ]
    found = {
        paired_bootstrap(aurc, (confidence, error), (other, error), groups=g, n_resamples=50)
        for g in spellings
    }
    assert len(found) == 1
    upper, lower = (
        paired_bootstrap(aurc, (confidence, error), (other, error), groups=[w.format(g) for g in group])
        for w in ("P{}", " p{}")
    )
    assert upper == lower


def test_other_numbers_of_cases():
    confidence, error, _ = cases(8)
    with pytest.raises(ValueError, match="the same cases, got 30 and 29 of them"):
        paired_bootstrap(aurc, (confidence, error), (confidence[1:], error[1:]))


def test_a_metric_that_is_never_defined():
    confidence, error, _ = cases(9)
    with pytest.raises(ValueError, match="not defined in any of 3 resamples"):
        difference_of(0.0, np.full(3, np.nan))
    with pytest.raises(ValueError, match="failures and successes"):
        paired_bootstrap(failure_auroc, (confidence, 0 * error), (confidence, 0 * error), n_resamples=3)
