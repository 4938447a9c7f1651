"""Operating points: a threshold, and what it does to the cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.metrics import OperatingPoint, coverage_at_risk, risk_at_coverage

CONFIDENCE = np.array([0.9, 0.8, 0.8, 0.6, 0.5])
ERROR = np.array([0, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        (0.1, (0.9, 0.2, 0.0)),
        (0.2, (0.9, 0.2, 0.0)),
        (0.21, (0.8, 0.6, 1 / 3)),  # ties come together, so the real coverage is larger
        (0.8, (0.6, 0.8, 0.25)),
        (1.0, (0.5, 1.0, 0.4)),
    ],
)
def test_risk_at_coverage(coverage, expected):
    for kind in (np.asarray, torch.as_tensor):
        point = risk_at_coverage(kind(CONFIDENCE), kind(ERROR), coverage=coverage)
        assert point == pytest.approx(OperatingPoint(*expected))


@pytest.mark.parametrize(
    ("risk", "expected"),
    [
        (0.0, (0.9, 0.2, 0.0)),
        (0.25, (0.6, 0.8, 0.25)),  # beyond a level of risk 1/3: the risk is not monotone
        (0.3, (0.6, 0.8, 0.25)),
        (0.4, (0.5, 1.0, 0.4)),
    ],
)
def test_coverage_at_risk(risk, expected):
    assert coverage_at_risk(CONFIDENCE, ERROR, risk=risk) == pytest.approx(OperatingPoint(*expected))


def test_no_level_qualifies():
    point = coverage_at_risk(np.array([1.0, 2.0]), np.array([1, 1]), risk=0.5)
    assert point.threshold == math.inf
    assert point.coverage == 0
    assert math.isnan(point.risk)


@pytest.mark.parametrize("coverage", [0, 1.1, math.nan])
def test_coverage_is_checked(coverage):
    with pytest.raises(ValueError, match=r"coverage must lie in \(0, 1\], got"):
        risk_at_coverage(CONFIDENCE, ERROR, coverage=coverage)


@pytest.mark.parametrize("risk", [-0.1, 1.1, math.nan])
def test_risk_is_checked(risk):
    with pytest.raises(ValueError, match=r"risk must lie in \[0, 1\], got"):
        coverage_at_risk(CONFIDENCE, ERROR, risk=risk)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=20),
    st.floats(0.01, 1),
)
def test_the_points_are_what_a_search_over_all_thresholds_finds(cases, level):
    confidence = np.array([c for c, _ in cases], dtype=float)
    error = np.array([e for _, e in cases])
    points = [(t, (confidence >= t).mean(), error[confidence >= t].mean()) for t in set(confidence)]
    at_coverage = max(point for point in points if point[1] >= level)
    assert risk_at_coverage(confidence, error, coverage=level) == pytest.approx(at_coverage)
    at_risk = min((p for p in points if p[2] <= level), default=(math.inf, 0.0, math.nan))
    assert coverage_at_risk(confidence, error, risk=level) == pytest.approx(at_risk, nan_ok=True)
