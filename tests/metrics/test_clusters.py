"""Intervals of clustered rates: their published size, few clusters, weights, and their ends."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as students_t

from monai_sf.metrics.clusters import effective_sizes, wilson

NAN = float("nan")


def test_the_size_is_the_published_one_and_independent_cases_are_all_of_them():
    wrong, counted = np.array([3.0, 1, 0, 7, 2]), np.array([10.0, 4, 9, 12, 5])
    rate = 13 / 40
    variance = sum((w - rate * c) ** 2 for w, c in zip(wrong, counted, strict=True)) / 40**2
    quantiles = students_t.ppf(0.975, 39) / students_t.ppf(0.975, 4)
    expected = rate * (1 - rate) / variance * quantiles**2
    assert effective_sizes(wrong, counted) == pytest.approx(expected, rel=1e-12)
    alone = np.array([1.0, 0, 0, 1, 0, 0, 0])
    assert effective_sizes(alone, np.ones(7)) == pytest.approx(7, rel=1e-12)


@pytest.mark.parametrize("clusters", [3, 5, 10])
def test_few_clusters_of_many_cases_are_covered(clusters):
    rng = np.random.default_rng(0)
    mean, alike, repeats = 0.2, 0.2, 800
    scale = (1 - alike) / alike
    own = rng.beta(mean * scale, (1 - mean) * scale, (clusters, repeats))
    wrong = rng.binomial(100, own).astype(float)
    sizes = effective_sizes(wrong, np.full((clusters, repeats), 100.0))
    ranges = [wilson(rate, size) for rate, size in zip(wrong.mean(axis=0) / 100, sizes, strict=True)]
    # a normal quantile in place of Student's covers 0.74, 0.84 and 0.90
    assert np.mean([low <= mean <= high for low, high in ranges]) > 0.91


def test_weights_that_are_equal_change_nothing():
    rng = np.random.default_rng(1)
    counted = rng.integers(0, 6, (30, 4)).astype(float)
    wrong = rng.binomial(counted.astype(int), 0.3).astype(float)
    plain = effective_sizes(wrong, counted)
    weighted = effective_sizes(wrong / 5, counted / 5, counted.sum(axis=0))
    np.testing.assert_allclose(weighted, plain, rtol=1e-12)


def test_clusters_of_one_rate_count_once_each_however_it_is_rounded():
    assert effective_sizes(np.full(3, 0.7), np.full(3, 4.9)) == 3
    assert effective_sizes(np.array([5.0, 0, 0]), np.array([49.0, 0, 0])) == 1


def test_effective_sizes_and_wilson_at_their_ends():
    assert effective_sizes(np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]])) == pytest.approx(2)
    assert effective_sizes(np.array([3.0]), np.array([5.0])) == 0
    assert effective_sizes(np.zeros(3), np.array([4.0, 4, 4])) == 3
    assert effective_sizes(np.zeros(3), np.zeros(3)) == 0
    assert wilson(0.0, 10) == pytest.approx(tuple(binomtest(0, 10).proportion_ci(0.95, "wilson")))
    assert all(map(math.isnan, wilson(NAN, 0)))
