"""The values against slow definitions, scikit-learn, recorded values and identities that must hold."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from monai_sf.metrics import (
    augrc,
    aurc,
    eaugrc,
    eaurc,
    failure_auroc,
    failure_average_precision,
    failure_fpr,
    risk_coverage_curve,
    risk_coverage_metrics,
)


def slow_curve(confidence, error):
    """The definition word by word, O(N^2): points (coverage, selective risk, generalized risk)."""
    n = len(confidence)
    points = []
    for threshold in sorted(set(confidence), reverse=True):
        kept = [e for c, e in zip(confidence, error, strict=True) if c >= threshold]
        points.append((len(kept) / n, sum(kept) / len(kept), sum(kept) / n))
    return [(0.0, points[0][1], 0.0), *points]


def trapezoids(points, height):
    return sum((b[0] - a[0]) * (a[height] + b[height]) / 2 for a, b in pairwise(points))


def slow_metrics(confidence, error):
    points = slow_curve(confidence, error)
    rate = sum(error) / len(error)
    best = rate + ((1 - rate) * math.log(1 - rate) if rate < 1 else 0)
    area, generalized = trapezoids(points, 1), trapezoids(points, 2)
    values = {"aurc": area, "eaurc": area - best, "augrc": generalized, "eaugrc": generalized - rate**2 / 2}
    wrong = [c for c, e in zip(confidence, error, strict=True) if e == 1]
    right = [c for c, e in zip(confidence, error, strict=True) if e == 0]
    if wrong and right and len(wrong) + len(right) == len(error):
        won = sum((w < r) + (w == r) / 2 for w in wrong for r in right)
        values["failure_auroc"] = won / (len(wrong) * len(right))
        flags = [*sorted(set(confidence)), math.inf]
        rates = [
            (sum(w < t for w in wrong) / len(wrong), sum(r < t for r in right) / len(right)) for t in flags
        ]
        values["failure_fpr"] = min(fpr for tpr, fpr in rates if tpr >= 0.95)
    return values


def make_cases(n, seed, *, levels=None, rate=0.2, residual=False):
    rng = np.random.default_rng(seed)
    confidence = rng.normal(size=n) if levels is None else rng.integers(0, levels, n) / levels
    error = rng.random(n) if residual else (rng.random(n) < rate).astype(float)
    return confidence, error


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("levels", [None, 1, 3, 40])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 137])
def test_every_metric_equals_its_slow_definition(n, levels, residual):
    confidence, error = make_cases(n, seed=n, levels=levels, residual=residual, rate=0.3)
    expected = slow_metrics(confidence.tolist(), error.tolist())
    functions = {f.__name__: f for f in (aurc, eaurc, augrc, eaugrc, failure_auroc, failure_fpr)}
    table = risk_coverage_metrics(confidence, error)
    for name, value in expected.items():
        assert functions[name](confidence, error) == pytest.approx(value, abs=1e-12), name
        assert getattr(table, name) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("levels", [None, 2, 7])
def test_curve_equals_the_slow_definition(levels):
    confidence, error = make_cases(60, seed=5, levels=levels, residual=True)
    curve = risk_coverage_curve(confidence, error)
    columns = np.array(slow_curve(confidence.tolist(), error.tolist())).T
    np.testing.assert_allclose(curve.coverages, columns[0], atol=1e-15)
    np.testing.assert_allclose(curve.selective_risks, columns[1], atol=1e-14)
    np.testing.assert_allclose(curve.generalized_risks, columns[2], atol=1e-14)
    assert curve.thresholds.tolist() == [math.inf, *sorted(set(confidence), reverse=True)]


@pytest.mark.parametrize(("n", "levels"), [(500, None), (20_000, None), (20_000, 50), (20_000, 2)])
def test_failure_metrics_equal_scikit_learn(n, levels):
    confidence, error = make_cases(n, seed=1, levels=levels)
    assert failure_auroc(confidence, error) == pytest.approx(roc_auc_score(error, -confidence), abs=1e-12)
    assert failure_average_precision(confidence, error) == pytest.approx(
        average_precision_score(error, -confidence), abs=1e-12
    )
    fpr, tpr, _ = roc_curve(error, -confidence, drop_intermediate=False)
    for target in (0.05, 0.5, 0.95, 1.0):
        assert failure_fpr(confidence, error, tpr=target) == pytest.approx(
            fpr[tpr >= target].min(), abs=1e-15
        )


def test_twenty_thousand_cases_equal_a_plain_loop_over_points():
    confidence, error = make_cases(20_000, seed=2, levels=9_000)
    order = np.argsort(-confidence, kind="stable")
    area, kept, wrong, previous = 0.0, 0, 0.0, None
    for i, row in enumerate(order):
        kept, wrong = kept + 1, wrong + error[row]
        if i + 1 < len(order) and confidence[order[i + 1]] == confidence[row]:
            continue
        point = (kept / len(order), wrong / kept)
        start = previous or (0.0, point[1])
        area += (point[0] - start[0]) * (point[1] + start[1]) / 2
        previous = point
    assert aurc(confidence, error) == pytest.approx(area, abs=1e-12)


# Inputs and values that the tests of the benchmark's released code (IML-DKFZ/fd-shifts,
# fd_shifts/tests/analysis/test_metrics.py) record, as facts; areas there are in thousandths.
ROWS = np.arange(100)
RECORDED_CORRECT = ROWS % 2
RECORDED = {
    "all": np.ones(100),
    "some": ROWS % 2,
    "inverted": (ROWS + 1) % 2,
    "medium": np.arange(10).repeat(10) * 0.1,
    "distinct": np.arange(-50, 50),
}


@pytest.mark.parametrize(
    ("name", "auroc", "precision"),
    [
        ("all", 0.5, 0.5),
        ("some", 1.0, 1.0),
        ("inverted", 0.0, 0.5),
        ("medium", 0.5, 0.5),
        ("distinct", 0.51, 0.5293777484847491),
    ],
)
def test_failure_metrics_equal_the_values_recorded_by_the_released_benchmark(name, auroc, precision):
    error = 1 - RECORDED_CORRECT
    assert failure_auroc(RECORDED[name], error) == pytest.approx(auroc, abs=1e-12)
    assert failure_average_precision(RECORDED[name], error) == pytest.approx(precision, abs=1e-12)


@pytest.mark.parametrize(("name", "value"), [("some", 0), ("inverted", 1), ("medium", 1), ("distinct", 0.94)])
def test_false_positive_rate_equals_the_recorded_one_with_classes_swapped(name, value):
    # That code takes the correct cases as positives and 0.9495 as its rate.
    assert failure_fpr(-RECORDED[name], RECORDED_CORRECT, tpr=0.9495) == pytest.approx(value, abs=1e-12)


def test_areas_equal_the_recorded_ones_where_no_confidence_is_tied():
    # The recorded area ends at coverage 1/N; the most confident case is correct, so nothing is missing here.
    error = 1 - RECORDED_CORRECT
    assert aurc(RECORDED["distinct"], error) == pytest.approx(0.48281112575762546, abs=1e-12)
    assert eaurc(RECORDED["distinct"], error) == pytest.approx(0.32938471603759785, abs=1e-12)
    assert aurc(RECORDED["distinct"], np.ones(100)) == pytest.approx(0.990 + 1 / 100, abs=1e-12)


def test_perfect_ranking_has_no_excess():
    error = np.repeat([0.0, 1.0], [8_000, 2_000])
    confidence = -np.arange(10_000.0)
    assert eaugrc(confidence, error) == 0
    assert eaurc(confidence, error) == pytest.approx(0, abs=1e-4)
    assert eaurc(np.array([1.0, 0.0]), np.array([0, 1])) == pytest.approx(0.125 - 0.5 - 0.5 * math.log(0.5))


finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)
few_values = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 3.0])


@st.composite
def cases(draw, *, binary=True):
    n = draw(st.integers(1, 40))
    confidence = draw(st.lists(st.one_of(finite, few_values), min_size=n, max_size=n))
    errors = st.sampled_from([0.0, 1.0]) if binary else st.floats(0, 1, width=32)
    return np.array(confidence), np.array(draw(st.lists(errors, min_size=n, max_size=n)))


def values_of(confidence, error):
    return np.array(dataclasses.astuple(risk_coverage_metrics(confidence, error)))


@settings(max_examples=150, deadline=None)
@given(cases(binary=False))
def test_areas_equal_the_slow_definition_on_any_input(case):
    confidence, error = case
    expected = slow_metrics(confidence.tolist(), error.tolist())
    assert aurc(confidence, error) == pytest.approx(expected["aurc"], abs=1e-12)
    assert augrc(confidence, error) == pytest.approx(expected["augrc"], abs=1e-12)
    assert 0 <= aurc(confidence, error) <= 1 + 1e-12
    assert 0 <= eaugrc(confidence, error) <= augrc(confidence, error) <= 0.5 + 1e-12


@settings(max_examples=150, deadline=None)
@given(cases())
def test_augrc_follows_from_auroc_and_error_rate(case):
    confidence, error = case
    rate = error.mean()
    expected = rate**2 / 2
    if 0 < rate < 1:
        expected += (1 - failure_auroc(confidence, error)) * rate * (1 - rate)
    assert augrc(confidence, error) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(case, random):
    confidence, error = case
    rows = list(range(len(error)))
    random.shuffle(rows)
    # Bit for bit, since counts of errors are exact.
    np.testing.assert_array_equal(values_of(confidence, error), values_of(confidence[rows], error[rows]))


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from(["ranks", "cube", "double"]))
def test_strictly_increasing_map_of_the_confidence_changes_nothing(case, name):
    confidence, error = case
    if name == "ranks":
        mapped = np.unique(confidence, return_inverse=True)[1].astype(float)
    else:
        # Both are exact on these float32 values, or at least keep them apart.
        mapped = np.cbrt(confidence.astype(np.longdouble)) if name == "cube" else confidence * 2 - 0.0
        mapped = mapped.astype(float)
    np.testing.assert_array_equal(values_of(confidence, error), values_of(mapped, error))


@settings(max_examples=50, deadline=None)
@given(cases())
def test_counting_every_case_twice_changes_nothing(case):
    confidence, error = case
    twice = np.repeat(confidence, 2), np.repeat(error, 2)
    np.testing.assert_allclose(values_of(confidence, error), values_of(*twice), atol=1e-12)


def test_what_is_not_defined_is_nan_in_a_table():
    none = risk_coverage_metrics(np.arange(3.0), np.zeros(3))
    assert np.isnan([none.failure_auroc, none.failure_fpr, none.failure_average_precision]).all()
    assert none.aurc == 0
    every = risk_coverage_metrics(np.arange(3.0), np.ones(3))
    assert np.isnan([every.failure_auroc, every.failure_fpr]).all()
    assert every.failure_average_precision == 1


def test_residuals_leave_the_failure_metrics_of_a_table_undefined():
    metrics = risk_coverage_metrics(np.array([0.1, 0.2]), np.array([0.5, 0.0]))
    assert np.isnan([metrics.failure_auroc, metrics.failure_fpr, metrics.failure_average_precision]).all()
    assert metrics.error_rate == 0.25
