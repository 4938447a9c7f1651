import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.report.working_points import (
    NEVER,
    PROMISED,
    counts,
    effective_sizes,
    first_step,
    reaches_promise,
    thresholds,
    working_points,
)

scored = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=40)


def unzip(cases):
    return np.array([c for c, _ in cases], float), np.array([e for _, e in cases], float)


@settings(max_examples=60, deadline=None)
@given(scored)
def test_each_threshold_is_the_highest_that_keeps_enough_reference_cases(cases):
    confidence, _ = unzip(cases)
    for per_cent, level in enumerate(thresholds(confidence), 1):
        assert (confidence >= level).mean() >= per_cent / 100 - 1e-12
        assert level in confidence
        assert all((confidence >= c).mean() < per_cent / 100 for c in confidence if c > level)


@settings(max_examples=60, deadline=None)
@given(scored, scored)
def test_counts_are_those_of_a_plain_loop(reference, cases):
    levels = thresholds(unzip(reference)[0])
    confidence, error = unzip(cases)
    trusted, silent = counts(confidence, error, levels)
    for t, n, wrong in zip(levels, trusted, silent, strict=True):
        assert n == sum(c >= t for c in confidence)
        assert wrong == sum(e for c, e in zip(confidence, error, strict=True) if c >= t)


@settings(max_examples=60, deadline=None)
@given(scored, scored)
def test_first_step_tells_exactly_who_is_trusted_at_every_step(reference, cases):
    levels = thresholds(unzip(reference)[0])
    confidence, _ = unzip(cases)
    steps = first_step(confidence, levels)
    for k, t in enumerate(levels, 1):
        np.testing.assert_array_equal(steps <= k, confidence >= t)
    assert set(steps[confidence < levels[-1]]) <= {NEVER}


@settings(max_examples=60, deadline=None)
@given(scored, scored, st.none() | st.floats(-5, 5) | st.integers(-4, 4).map(float))
def test_the_promised_threshold_is_one_more_working_point(reference, cases, promised):
    levels = working_points(unzip(reference)[0], promised)
    confidence, error = unzip(cases)
    trusted = confidence >= promised if promised is not None else np.zeros(len(cases), bool)
    np.testing.assert_array_equal(reaches_promise(confidence, levels), trusted)
    np.testing.assert_array_equal(first_step(confidence, levels), first_step(confidence, levels[:-1]))
    kept, silent = counts(confidence, error, levels)
    assert (kept[PROMISED - 1], silent[PROMISED - 1]) == (trusted.sum(), error[trusted].sum())
    # wherever it lies among the others, it changes no effective size
    groups = np.arange(len(cases)) // 2
    sizes = effective_sizes(confidence, error, levels, groups)
    np.testing.assert_allclose(sizes[:-1], effective_sizes(confidence, error, levels[:-1], groups), rtol=1e-9)
    np.testing.assert_allclose(sizes[-1:], effective_sizes(confidence, error, levels[-1:], groups), rtol=1e-9)


def test_a_case_at_the_promised_threshold_reaches_it():
    levels = working_points(np.array([0.1, 0.9]), 0.5)
    assert reaches_promise(np.array([0.5, np.nextafter(0.5, 0), 0.6]), levels).tolist() == [1, 0, 1]


def test_effective_size_of_independent_cases_is_about_their_number():
    rng = np.random.default_rng(0)
    confidence, error = rng.normal(size=4000), (rng.random(4000) < 0.2) * 1.0
    sizes = effective_sizes(confidence, error, np.array([confidence.min()]), np.arange(4000))
    assert 0.97 * 4000 <= sizes[0] <= 4000


def test_copies_of_a_case_count_about_once():
    rng = np.random.default_rng(0)
    error = (rng.random(300) < 0.3) * 1.0
    confidence = rng.normal(size=300)
    level = np.array([np.median(confidence)])
    once = effective_sizes(confidence, error, level, np.arange(300))
    groups = np.repeat(np.arange(300), 5)
    five = effective_sizes(confidence.repeat(5), error.repeat(5), level, groups)
    np.testing.assert_allclose(five, once, rtol=0.02)
    assert five < once


def test_effective_size_without_any_error_is_the_number_of_groups():
    confidence = np.ones(12)
    sizes = effective_sizes(confidence, np.zeros(12), np.array([2.0, 1.0]), np.repeat([7, 8, 9], 4))
    assert sizes.tolist() == [0, 3]
