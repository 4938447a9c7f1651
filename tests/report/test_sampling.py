import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.report.sampling import Outcome, sample_cases, water_fill


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 120))
def test_water_fill_spends_the_budget_and_is_fair(counts, budget):
    quotas = water_fill(counts, budget)
    assert sum(quotas) == min(budget, sum(counts))
    assert all(0 <= q <= c for q, c in zip(quotas, counts, strict=True))
    short = [q for q, c in zip(quotas, counts, strict=True) if q < c]
    if short:  # nobody who had to give up something has two less than anybody else
        assert max(quotas) <= min(short) + 1


def outcome(n, failures, seed=0, scores=2, corrupted=False):
    rng = np.random.default_rng(seed)
    failed = np.zeros((n, scores), bool)
    failed[rng.permutation(n)[:failures]] = True
    return Outcome(rng.integers(0, 2, n), failed, rng.normal(size=(n, scores)), corrupted)


def chosen(sample, i):
    return sample.position[sample.test_set == i]


def test_everything_is_kept_when_it_fits():
    sample = sample_cases([outcome(20, 5), outcome(10, 0)], 30, seed=0)
    np.testing.assert_array_equal(chosen(sample, 0), np.arange(20))
    np.testing.assert_array_equal(chosen(sample, 1), np.arange(10))


def test_all_failures_are_kept_when_they_fit():
    outcomes = [outcome(500, 40, 1), outcome(300, 10, 2)]
    sample = sample_cases(outcomes, 100, seed=0)
    assert len(sample.position) == 100
    for i, o in enumerate(outcomes):
        assert set(np.flatnonzero(o.failed.any(axis=1))) <= set(chosen(sample, i))


def test_correct_cases_are_spread_over_test_sets_and_classes():
    labels = np.array([0] * 380 + [1] * 20)
    o = Outcome(labels, np.zeros((400, 1), bool), np.zeros((400, 1)))
    sample = sample_cases([o, o], 80, seed=3)
    for i in (0, 1):
        assert np.bincount(labels[chosen(sample, i)]).tolist() == [20, 20]


def test_too_many_failures_keep_the_most_confident_of_every_score():
    o = outcome(400, 300, 5, scores=3)
    sample = sample_cases([o], 60, seed=0)
    kept = set(chosen(sample, 0))
    assert len(kept) == 60
    for k in range(3):
        positions = np.flatnonzero(o.failed[:, k])
        top = positions[np.argsort(-o.confidence[positions, k])][:13]
        assert set(top) <= kept


def test_no_test_set_takes_the_failures_budget_of_another():
    sample = sample_cases([outcome(1000, 900, 1), outcome(1000, 50, 2)], 150, seed=0)
    assert set(np.flatnonzero(outcome(1000, 50, 2).failed.any(axis=1))) <= set(chosen(sample, 1))


def failures_of(sample, i, o):
    return int(o.failed.any(axis=1)[chosen(sample, i)].sum())


def test_disturbed_copies_do_not_push_the_clean_failures_out():
    clean = outcome(515, 117, 1)
    disturbed = [outcome(515, 150 + 10 * i, i, corrupted=True) for i in range(15)]
    sample = sample_cases([clean, *disturbed], 800, seed=0)
    assert len(sample.position) == 800
    assert failures_of(sample, 0, clean) == 117
    failures = [failures_of(sample, i, o) for i, o in enumerate(disturbed, 1)]
    assert 117 + sum(failures) <= 400
    assert min(failures) >= 1
    assert max(failures) - min(failures) <= 1
    counts = [len(chosen(sample, i)) for i in range(1, 16)]
    assert sum(counts) >= 800 // 3
    assert max(counts) - min(counts) <= 3


def test_clean_failures_may_fill_the_budget():
    clean, disturbed = outcome(400, 300, 1), outcome(400, 300, 2, corrupted=True)
    sample = sample_cases([disturbed, clean], 310, seed=0)
    assert failures_of(sample, 1, clean) == 300
    assert len(sample.position) == 310


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), min_size=1, max_size=6),
    st.integers(1, 200),
)
def test_the_budget_is_spent_without_repetition_and_failures_are_about_half(sets, budget):
    outcomes = [outcome(right + wrong, wrong, i, corrupted=c) for i, (right, wrong, c) in enumerate(sets)]
    sample = sample_cases(outcomes, budget, seed=0)
    assert len(sample.position) == min(budget, sum(right + wrong for right, wrong, _ in sets))
    assert len({*zip(sample.test_set.tolist(), sample.position.tolist(), strict=True)}) == len(
        sample.position
    )
    clean = sum(wrong for _, wrong, corrupted in sets if not corrupted)
    kept = [failures_of(sample, i, o) for i, o in enumerate(outcomes)]
    assert sum(k for k, o in zip(kept, outcomes, strict=True) if not o.corrupted) == min(clean, budget)
    if sum(right for right, _, _ in sets) >= budget:
        assert sum(kept) <= max(budget // 2, clean) + sum(corrupted for _, _, corrupted in sets)


def test_same_seed_same_sample_and_another_seed_another():
    outcomes = [outcome(300, 10)]
    first, again, other = (sample_cases(outcomes, 50, seed=s).position for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_failure_at_all():
    assert len(sample_cases([outcome(30, 0)], 10, seed=0).position) == 10


def test_max_points_must_be_positive():
    with pytest.raises(ValueError, match="max_points must be at least 1, got 0"):
        sample_cases([outcome(3, 1)], 0, seed=0)
