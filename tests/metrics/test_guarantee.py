"""Selection with guaranteed risk: the bound, the search, and the promise itself by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

from monai_sf.metrics import selective_threshold


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
    assert result.threshold == 0
    assert result.coverage == 1


@pytest.mark.parametrize(
    ("confidence", "error"),
    [(np.array([1.0]), np.array([0])), (np.arange(200.0), np.ones(200)), (np.arange(5.0), np.zeros(5))],
    ids=["single case", "all wrong", "too few"],
)
def test_none_exists(confidence, error):
    assert selective_threshold(confidence, error, target_risk=0.05, delta=0.05) is None


@pytest.mark.parametrize("value", [0, 1, -0.1, np.nan])
@pytest.mark.parametrize("name", ["target_risk", "delta"])
def test_arguments_are_checked(name, value):
    arguments = {"target_risk": 0.1, "delta": 0.1, name: value}
    with pytest.raises(ValueError, match=rf"{name} must lie in \(0, 1\), got"):
        selective_threshold(np.arange(3.0), np.zeros(3), **arguments)


def test_residuals_are_refused():
    with pytest.raises(ValueError, match="error must hold only 0 and 1 here, got 1 of 2"):
        selective_threshold(np.arange(2.0), np.array([0.5, 0]), target_risk=0.1, delta=0.1)
