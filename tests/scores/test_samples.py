"""Functions of repeated passes against their definitions in many digits, and their NumPy counterpart."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from monai_sf.results.given_numbers import of_dropout, of_views, samples_of
from monai_sf.scores import dropout_arrays, mutual_information, softmax_variance, view_arrays, waic

GENERATOR = torch.Generator().manual_seed(0)
SAMPLES = torch.randn(12, 40, 5, generator=GENERATOR, dtype=torch.float64) * 4


def defined(samples, digits=700):
    """Softmax variance and WAIC of one case's logits (T, C), by their formulas."""
    with mp.workdps(digits):
        shares = []
        for row in samples:
            powers = [mp.exp(mpf(z)) for z in row]
            shares.append([power / sum(powers) for power in powers])
        count = len(shares)
        mean = [sum(column) / count for column in zip(*shares, strict=True)]
        squares = [sum(p**2 for p in column) / count for column in zip(*shares, strict=True)]
        variance = sum(s - m**2 for s, m in zip(squares, mean, strict=True)) / len(mean)
        logs = [mp.log(row[max(range(len(mean)), key=mean.__getitem__)]) for row in shares]
        expected = sum(logs) / count
        return float(variance), float(expected - sum((x - expected) ** 2 for x in logs) / count)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(-150, 150, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_variance_and_waic_are_what_they_are_called(rows):
    samples = torch.tensor(rows, dtype=torch.float64) - 200  # negative: no coincidence makes them shares
    variance, information = defined(rows)
    mean = samples.softmax(-1).mean(0).sort().values
    assert float(softmax_variance(samples)) == pytest.approx(variance, rel=1e-7, abs=1e-33)
    if mean[-1] - mean[-2] > 1e-9:  # else rounding decides which class is predicted
        assert float(waic(samples)) == pytest.approx(information, rel=1e-9)


@pytest.mark.parametrize("gap", [20.0, 40.0, 60.0, 150.0, 300.0])
def test_confident_cases_are_exact_and_do_not_tie(gap):
    """The softmax of the predicted class rounds to 1, in float64 from a gap of 37 on."""
    cases = [[[gap + case + t, 0.0, 1.0] for t in range(3)] for case in range(4)]
    expected = np.array([defined(samples) for samples in cases])
    samples = torch.tensor(cases, dtype=torch.float64).transpose(0, 1)
    np.testing.assert_allclose(softmax_variance(samples), expected[:, 0], rtol=1e-10)
    np.testing.assert_allclose(waic(samples), expected[:, 1], rtol=1e-10)
    stored = dropout_arrays(samples)
    for name in ("mcd_softmax_variance", "mcd_waic"):
        assert len(stored[name].unique()) == 4, name


def test_samples_that_agree_have_no_variance_and_their_own_log_probability():
    same = SAMPLES[:1].expand(6, -1, -1)
    torch.testing.assert_close(
        softmax_variance(same), torch.zeros(40, dtype=torch.float64), rtol=0, atol=1e-30
    )
    torch.testing.assert_close(waic(same), SAMPLES[0].log_softmax(-1).amax(-1), rtol=1e-12, atol=0)
    assert softmax_variance(SAMPLES[:1]).tolist() == [0.0] * 40


@pytest.mark.parametrize("function", [softmax_variance, waic])
def test_leading_axes_and_the_order_of_samples_classes_and_cases(function):
    plain = function(SAMPLES)
    torch.testing.assert_close(function(SAMPLES.reshape(12, 4, 10, 5)), plain.reshape(4, 10))
    torch.testing.assert_close(function(SAMPLES[:, 0]), plain[0])
    for moved, expected in (
        (SAMPLES.flip(0), plain),
        (SAMPLES.flip(2), plain),
        (SAMPLES.flip(1), plain.flip(0)),
    ):
        torch.testing.assert_close(function(moved), expected, rtol=1e-12, atol=0)


def test_the_variance_is_small_where_the_mutual_information_is():
    """Its leading term: half the sum of p's variance over its mean, for samples that hardly differ."""
    near = SAMPLES[0] + 1e-4 * SAMPLES
    p = near.softmax(-1)
    leading = (p.var(0, correction=0) / p.mean(0)).sum(-1) / 2
    torch.testing.assert_close(mutual_information(near), leading, rtol=1e-3, atol=1e-14)
    two = near[..., :2]
    mean = two.softmax(-1).mean(0)
    torch.testing.assert_close(
        softmax_variance(two), 2 * mutual_information(two) * mean.prod(-1), rtol=1e-3, atol=1e-16
    )


def test_the_standard_deviation_of_other_code_ranks_two_classes_alike_and_more_otherwise():
    def deviation(samples):
        return samples.softmax(-1).std(0, correction=0).mean(-1)

    two = SAMPLES[..., :2]
    assert torch.equal(softmax_variance(two).argsort(), deviation(two).argsort())
    assert not torch.equal(softmax_variance(SAMPLES).argsort(), deviation(SAMPLES).argsort())


def test_a_sample_that_rules_the_predicted_class_out():
    samples = torch.tensor([[3.0, 0.0], [2.0, 0.0], [-torch.inf, 0.0]])[:, None]
    assert waic(samples).tolist() == [-math.inf]
    p = torch.tensor([0.952574126822433, 0.880797077977882, 0.0])
    assert float(softmax_variance(samples)) == pytest.approx(float(p.var(correction=0)))


@pytest.mark.parametrize("reductions", [(of_dropout, dropout_arrays), (of_views, view_arrays)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_numpy_reduces_alike(reductions, scale, classes):
    given = (SAMPLES[..., :classes] * scale - 400).transpose(0, 1).numpy()
    given[0, 3, 1] = -np.inf  # a class that a sample rules out
    given[1, :, 0] += 1000  # certain
    given[2, 3] = -np.inf
    given[2, 3, (given[2].argmax(axis=1)[0] + 1) % classes] = 0  # a sample rules the predicted class out
    without_torch, with_torch = reductions
    ours = without_torch(samples_of("mcd_samples", given, (40, classes), are_probabilities=False))
    expected = with_torch(np.moveaxis(given, 1, 0))
    assert ours.keys() == expected.keys()
    for name, array in ours.items():
        assert str(array.dtype) == str(expected[name].dtype).removeprefix("torch."), name
        np.testing.assert_allclose(array, expected[name], rtol=1e-6 if array.ndim == 2 else 1e-9, atol=1e-300)
