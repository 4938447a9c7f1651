"""Changes of the pixel values of batches: those of MONAI, case by case."""

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, GaussianSmooth
from monai_sf.transforms import (
    BatchRandAdjustContrast,
    BatchRandErase,
    BatchRandGaussianSmooth,
    BatchRandScaleIntensity,
)
from scipy import stats

from helpers.augmentations import images

N = 4000
NUMBERS = np.random.default_rng(0).random((N, 5))
shapes = pytest.mark.parametrize("shape", [(1, 32, 32), (3, 21, 40), (6, 2, 5), (1, 1, 1)])


def is_uniform(values, low, high):
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_one_factor_for_all_channels_or_one_for_each():
    batch = images(5, 3, 6, 9)
    together = BatchRandScaleIntensity(factors=0.2, prob=1)
    ratio = (together(batch, range(5)) / batch).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    apart = BatchRandScaleIntensity(factors=0.2, prob=1, channel_wise=True)
    ratio = (apart(batch, range(5)) / batch).flatten(2)
    torch.testing.assert_close(ratio, ratio[:, :, :1].expand_as(ratio))
    assert len(ratio[:, :, 0].unique()) == 15


@pytest.mark.parametrize("channel_wise", [False, True])
def test_factors_are_uniform_and_nothing_is_clipped(channel_wise):
    scale = BatchRandScaleIntensity(factors=(0.5, -0.1), prob=1, channel_wise=channel_wise)
    factors = scale.sample(NUMBERS[:, :1], (3, 1, 1))
    assert factors.shape == (N, 3 if channel_wise else 1)
    assert is_uniform(factors[:, -1], -0.1, 0.5)
    assert abs(np.corrcoef(factors.T)).sum() < len(factors.T) + 0.2 if channel_wise else True
    result = scale(torch.ones(50, 3, 1, 1), range(50))
    assert 1.3 < result.max() <= 1.5
    assert 0.9 <= result.min() < 1


@shapes
def test_contrast_is_monai_s(shape):
    gammas = np.array([0.5, 0.8, 1.0, 1.25, 4.5])
    batch = images(5, *shape) * 0.7 + 0.1
    batch[0, :] = 0.25
    result = BatchRandAdjustContrast().apply(batch, gammas)
    expected = [AdjustContrast(gamma)(image) for gamma, image in zip(gammas.tolist(), batch, strict=True)]
    torch.testing.assert_close(result, torch.stack(expected).as_tensor(), atol=2e-7, rtol=0)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_powers_of_a_case_do_not_depend_on_how_threads_share_the_batch(three_threads):
    batch, gammas = images(6, 3, 150, 151), np.linspace(0.81, 1.24, 6)
    together = BatchRandAdjustContrast().apply(batch, gammas)
    for i, j in ((0, 1), (1, 3), (2, 6), (5, 6)):
        assert torch.equal(BatchRandAdjustContrast().apply(batch[i:j], gammas[i:j]), together[i:j])


def test_exponents_are_uniform():
    assert is_uniform(BatchRandAdjustContrast(gamma=(1.25, 0.8)).sample(NUMBERS[:, :1], (1, 1, 1)), 0.8, 1.25)


def test_contrast_is_its_formula_in_double_precision():
    batch, gammas = images(3, 2, 16, 16, dtype=torch.float64), np.array([0.5, 1.3, 4.0])
    low = batch.amin((1, 2, 3), keepdim=True)
    spread = batch.amax((1, 2, 3), keepdim=True) - low
    expected = ((batch - low) / (spread + 1e-7)) ** torch.tensor(gammas)[:, None, None, None] * spread + low
    torch.testing.assert_close(BatchRandAdjustContrast().apply(batch, gammas), expected)


@shapes
def test_smoothing_is_monai_s(shape):
    sigmas = np.array([[0.25, 1.5], [1.5, 0.25], [0.7, 0.7], [1.12, 1.13]])
    batch = images(4, *shape)
    result = BatchRandGaussianSmooth().apply(batch, sigmas)
    expected = [GaussianSmooth(sigma)(image) for sigma, image in zip(sigmas.tolist(), batch, strict=True)]
    torch.testing.assert_close(result, torch.stack(expected).as_tensor(), atol=1e-6, rtol=0)


def test_standard_deviations_are_uniform_and_independent():
    sigmas = BatchRandGaussianSmooth(sigma_x=(0.5, 1), sigma_y=(2, 1.5)).sample(NUMBERS[:, :2], (1, 8, 8))
    assert is_uniform(sigmas[:, 0], 0.5, 1)
    assert is_uniform(sigmas[:, 1], 1.5, 2)
    assert abs(np.corrcoef(sigmas.T)[0, 1]) < 0.05


def test_a_rectangle_is_filled_with_noise_between_the_images_own_extremes():
    batch = images(40, 2, 20, 30) * 0.4 + 0.3
    batch[::2] *= 0.5
    erase = BatchRandErase(spatial_size=(4, 6), max_spatial_size=(10, 30), prob=1)
    result = erase(batch, range(40))
    for before, after in zip(batch, result, strict=True):
        (changed,) = ((before != after).any(0),)
        rows, columns = (torch.nonzero(changed.any(axis)).flatten() for axis in (1, 0))
        assert 4 <= len(rows) <= 10
        assert 6 <= len(columns) <= 30
        inside = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert torch.equal(changed.sum(), torch.tensor(len(rows) * len(columns)))
        low, high = before.aminmax()
        assert is_uniform(inside.flatten().double().numpy(), low.item(), (high - low).item() + low.item())
        assert not torch.equal(inside[0], inside[1])


def test_rectangles_are_uniform_as_monai_s():
    erase = BatchRandErase(spatial_size=2, max_spatial_size=(4, 9))
    top, left, height, width = erase.sample(NUMBERS, (1, 6, 4)).places.T
    assert stats.chisquare(np.bincount(height - 2)).pvalue > 1e-3
    # A size above the image's is the image's: 2, 3, and 4 to 9.
    assert stats.chisquare(np.bincount(width - 2), N * np.array([1, 1, 6]) / 8).pvalue > 1e-3
    assert stats.chisquare(np.bincount(top[height == 3])).pvalue > 1e-3
    assert np.all(top + height <= 6)
    assert np.all(left + width <= 4)
    assert {0, 1, 2} == set(left[width == 2])


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 7), (2, 5, 2)])
def test_a_rectangle_in_a_tiny_image(shape):
    result = BatchRandErase(spatial_size=8, prob=1)(images(4, *shape), range(4))
    assert result.shape == (4, *shape)
    assert torch.isfinite(result).all()


@pytest.mark.parametrize("prob", [0.0, 0.25, 1.0])
def test_probabilities(prob):
    batch = torch.linspace(0.1, 0.9, 9).view(1, 1, 3, 3).expand(N, -1, -1, -1)
    for transform in (
        BatchRandScaleIntensity(factors=0.1, prob=prob),
        BatchRandAdjustContrast(gamma=(2, 3), prob=prob),
        BatchRandGaussianSmooth(prob=prob),
        BatchRandErase(spatial_size=1, prob=prob),
    ):
        changed = (transform(batch, range(N)) != batch).flatten(1).any(1).sum().item()
        assert stats.binomtest(changed, N, prob).pvalue > 1e-3


def test_all_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="prob must be .* got -1; factors must be two numbers, got None"):
        BatchRandScaleIntensity(factors=None, prob=-1)
    with pytest.raises(ValueError, match=r"prob .*nan; gamma must be two numbers above 0, got \(0, 1\)"):
        BatchRandAdjustContrast(prob=float("nan"), gamma=(0, 1))
    with pytest.raises(ValueError, match=r"sigma_x must be two numbers .*, got 1; sigma_y .*\(-1, 1\)"):
        BatchRandGaussianSmooth(sigma_x=1, sigma_y=(-1, 1))
    with pytest.raises(ValueError, match=r"prob .*; spatial_size .* got 0; max_.* got \(1, 2, 3\)"):
        BatchRandErase(prob=2, spatial_size=0, max_spatial_size=(1, 2, 3))
    with pytest.raises(ValueError, match=r"max_spatial_size must be at least \(2, 5\), got 4"):
        BatchRandErase(spatial_size=(2, 5), max_spatial_size=4)
