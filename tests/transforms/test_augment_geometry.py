"""Flips, rotations and crops of batches: those of MONAI, case by case."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Flip, Resize, Rotate
from monai_sf.transforms import BatchRandFlip, BatchRandResizedCrop, BatchRandRotate
from scipy import stats

from helpers.augmentations import images

N = 4000
NUMBERS = np.random.default_rng(0).random((N, 4))


@pytest.mark.parametrize("axis", [0, 1, -1, None, (0, 1), [1], np.int64(1), [np.int32(-1), 0]])
def test_flips_are_monai_s(axis):
    batch = images(5, 3, 6, 9)
    flipped = BatchRandFlip(prob=1, spatial_axis=axis)(batch, range(5))
    assert torch.equal(flipped, torch.stack([Flip(axis)(image) for image in batch]))


@pytest.mark.parametrize("prob", [0.0, 0.3, 1.0])
def test_a_flip_has_its_probability(prob):
    batch = torch.tensor([0.0, 1.0]).expand(N, 1, 1, 2)
    flips = BatchRandFlip(prob=prob, spatial_axis=1)(batch, range(N))[:, 0, 0, 0].sum().item()
    assert stats.binomtest(int(flips), N, prob).pvalue > 1e-3


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 21, 40), (6, 2, 5), (1, 1, 1)])
def test_rotations_are_monai_s(padding_mode, shape):
    angles = np.array([0.0, 0.26, -0.26, 1.7, math.pi, -3.0, math.pi / 2])
    batch = images(len(angles), *shape, dtype=torch.float64)
    result = BatchRandRotate(range_x=4, padding_mode=padding_mode).apply(batch, angles)
    rotated = [
        Rotate(angle, padding_mode=padding_mode, dtype=torch.float64)(image)
        for angle, image in zip(angles.tolist(), batch, strict=True)
    ]
    torch.testing.assert_close(result.float(), torch.stack(rotated).as_tensor(), atol=2e-7, rtol=0)


def test_a_quarter_turn_turns_rows_towards_columns():
    image = images(1, 1, 4, 4, dtype=torch.float64)
    turned = BatchRandRotate().apply(image, np.array([math.pi / 2]))
    torch.testing.assert_close(turned, torch.rot90(image, -1, (2, 3)), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("range_x", "expected"), [(0.3, (-0.3, 0.3)), (-0.3, (-0.3, 0.3)), ((1, 0.5), (0.5, 1))]
)
def test_angles_are_uniform_in_their_range(range_x, expected):
    low, high = expected
    angles = BatchRandRotate(range_x=range_x).sample(NUMBERS[:, :1], (1, 8, 8))
    assert stats.kstest(angles, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def slow_crop(image, part, size):
    """Cut, smooth and resize in float64, by torch alone."""
    top, left, height, width = part
    window = image[:, top : top + height, left : left + width]
    for axis, (long, short) in enumerate(zip(window.shape[1:], size, strict=True)):
        sigma = max(0.0, (long / short - 1) / 2)
        tail = int(max(4 * sigma, 0.5) + 0.5)
        x = torch.arange(-tail, tail + 1, dtype=torch.float64)
        t = math.sqrt(0.5) / max(sigma, 1e-9)
        kernel = (torch.erf(t * (x + 0.5)) - torch.erf(t * (x - 0.5))) / 2
        shape = (1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1)
        padding = (tail, 0) if axis == 0 else (0, tail)
        window = F.conv2d(window[:, None], kernel.view(shape), padding=padding)[:, 0]
    return F.interpolate(window[None], size, mode="bilinear", align_corners=False)[0]


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    image=st.tuples(st.sampled_from([1, 3]), st.integers(1, 24), st.integers(1, 24)),
    seed=st.integers(0, 2**53),
)
def test_crops_are_those_of_a_slow_definition(size, image, seed):
    batch = images(3, *image, seed=seed, dtype=torch.float64)
    crop = BatchRandResizedCrop(roi_size=1, spatial_size=size)
    parts = crop.sample(np.random.default_rng(seed).random((3, 4)), image)
    expected = [slow_crop(one, part, size) for one, part in zip(batch, parts.tolist(), strict=True)]
    torch.testing.assert_close(crop.apply(batch, parts), torch.stack(expected), atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [(20, 30), (40, 12)])
def test_crops_are_monai_s(size):
    batch = images(8, 3, 64, 90)
    crop = BatchRandResizedCrop(roi_size=(20, 12), spatial_size=size)
    parts = crop.sample(NUMBERS[:8], (3, 64, 90))
    resize = Resize(size, mode="bilinear", anti_aliasing=True)
    expected = [
        resize(image[:, top : top + height, left : left + width]).as_tensor()
        for image, (top, left, height, width) in zip(batch, parts.tolist(), strict=True)
    ]
    torch.testing.assert_close(crop.apply(batch, parts), torch.stack(expected), atol=3e-6, rtol=0)


def test_a_part_of_the_size_of_the_result_is_copied():
    batch = images(4, 2, 9, 11)
    crop = BatchRandResizedCrop(roi_size=(6, 5), spatial_size=(6, 5))
    parts = np.array([[0, 0, 6, 5], [3, 6, 6, 5], [2, 0, 6, 5], [0, 3, 6, 5]])
    expected = [
        image[:, t : t + 6, s : s + 5] for image, (t, s) in zip(batch, parts[:, :2].tolist(), strict=True)
    ]
    assert torch.equal(crop.apply(batch, parts), torch.stack(expected))


def test_parts_are_uniform_as_monai_s():
    parts = BatchRandResizedCrop(roi_size=(3, 5), spatial_size=4).sample(NUMBERS, (1, 6, 5))
    top, left, height, width = parts.T
    assert set(width) == {5}
    assert set(left) == {0}
    assert stats.chisquare(np.bincount(height - 3)).pvalue > 1e-3
    for rows in (3, 4, 5):
        assert stats.chisquare(np.bincount(top[height == rows], minlength=7 - rows)).pvalue > 1e-3
    assert set(top[height == 6]) == {0}


def test_an_image_smaller_than_the_smallest_part():
    with pytest.raises(ValueError, match=r"at least 8 × 4 pixels, but the images have 7 × 9"):
        BatchRandResizedCrop(roi_size=(8, 4), spatial_size=4)(images(2, 1, 7, 9), [0, 1])


def test_all_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"BatchRandFlip: prob .* got 1.5; spatial_axis must be .* got 2"):
        BatchRandFlip(prob=1.5, spatial_axis=2)
    with pytest.raises(
        ValueError, match="prob .*'half'; range_x must be two numbers.*; padding_mode .*'mirror'"
    ):
        BatchRandRotate(prob="half", range_x=(1, 2, 3), padding_mode="mirror")
    with pytest.raises(ValueError, match=r"roi_size .*got \(0, 4\); spatial_size must be .*got 2.5"):
        BatchRandResizedCrop(roi_size=(0, 4), spatial_size=2.5)


@pytest.mark.parametrize("axis", [2, -3, (), (0, 0), (1, -1), "1", 0.0, True])
def test_wrong_axes(axis):
    with pytest.raises(ValueError, match="spatial_axis must be"):
        BatchRandFlip(spatial_axis=axis)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, True, "0.1"])
def test_wrong_numbers(value):
    with pytest.raises(ValueError, match="range_x must be"):
        BatchRandRotate(range_x=value)
    with pytest.raises(ValueError, match="prob must be"):
        BatchRandRotate(prob=value)
