import math

import numpy as np
import pytest
import torch
from drawings import phantom
from monai_sf.transforms import corrupt
from monai_sf.transforms.motion_blur import apply_motion, motion_kernel, sample_motion
from monai_sf.transforms.severities import severity_scale

LEVELS = severity_scale("motion_blur").levels


def slow_motion_blur(image, angle, radius, sigma):
    """One weight for every pixel along the line, in float64, straight from the definition."""
    _, height, width = image.shape
    scale = min(height, width) / 224
    count = math.ceil((2 * radius + 1) * scale)
    weights = np.exp(-(np.arange(count) ** 2) / (2 * (sigma * scale) ** 2))
    padded = np.pad(image.astype(np.float64), ((0, 0), (count, count), (count, count)), mode="reflect")
    blurred = np.zeros(image.shape)
    for i, weight in enumerate(weights / weights.sum()):
        dy, dx = round(i * math.sin(math.radians(angle))), round(i * math.cos(math.radians(angle)))
        blurred += weight * padded[:, count + dy : count + dy + height, count + dx : count + dx + width]
    return blurred


@pytest.mark.parametrize("angle", [-45.0, -20.0, 0.0, 7.0, 44.0])
@pytest.mark.parametrize("level", LEVELS)
def test_small_images_equal_the_slow_reference(level, angle):
    image = phantom("dermoscopy", 40)[:, :, :36]
    expected = slow_motion_blur(image, angle, *level)
    np.testing.assert_allclose(
        apply_motion(torch.from_numpy(image)[None], [angle], level)[0], expected, atol=1e-6
    )


@pytest.mark.parametrize("angle", [-45.0, -3.0, 31.0])
def test_blocks_are_summed_exactly(angle):
    image = phantom("ct", 300)
    kernel = motion_kernel(15, 12, 300)
    padded = np.pad(image[0].astype(np.float64), 70, mode="reflect")
    expected = np.zeros((300, 300))
    for k, weight in enumerate(kernel.weights):
        for i in range(kernel.block):
            y, x = (
                70 + round(k * kernel.block * part) + round(i * part)
                for part in (math.sin(math.radians(angle)), math.cos(math.radians(angle)))
            )
            expected += weight * padded[y : y + 300, x : x + 300]
    result = apply_motion(torch.from_numpy(image)[None], [angle], (15, 12))[0, 0]
    np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.parametrize("angle", [-45.0, 13.0])
@pytest.mark.parametrize("level", LEVELS)
def test_blocks_of_equal_weight_stay_close_to_the_slow_reference(level, angle):
    image = phantom("xray", 300)
    assert motion_kernel(*level, 300).block > 1
    expected = slow_motion_blur(image, angle, *level)
    result = apply_motion(torch.from_numpy(image)[None], [angle], level)[0].numpy()
    change = np.abs(expected - image).mean()
    assert np.abs(result - expected).mean() < 0.06 * change


@pytest.mark.parametrize("side", [1, 8, 64, 224, 512, 1024])
@pytest.mark.parametrize("level", LEVELS)
def test_kernel_weights_sum_to_1_and_scale_with_the_image(level, side):
    kernel = motion_kernel(*level, side)
    assert sum(kernel.weights) * kernel.block == pytest.approx(1)
    length = len(kernel.weights) * kernel.block
    assert length == pytest.approx((2 * level[0] + 1) * side / 224, abs=kernel.block + 1)
    centre = (
        sum(w * (k * kernel.block + (kernel.block - 1) / 2) for k, w in enumerate(kernel.weights))
        * kernel.block
    )
    if side >= 64:
        assert centre == pytest.approx(level[1] * math.sqrt(2 / math.pi) * side / 224, rel=0.35, abs=0.5)


def test_a_point_becomes_a_line_in_the_drawn_direction():
    image = torch.zeros(1, 1, 101, 101)
    image[0, 0, 50, 50] = 1
    angle = 30.0
    result = apply_motion(image, [angle], (20, 15))[0, 0].double()
    weight = result / result.sum()
    rows = (weight.sum(1) * (torch.arange(101) - 50)).sum()
    columns = (weight.sum(0) * (torch.arange(101) - 50)).sum()
    # What comes from the right and below is smeared to the left and up.
    assert columns < -3
    assert math.degrees(math.atan2(-rows, -columns)) == pytest.approx(angle, abs=3)


def test_angles_are_uniform_within_45_degrees():
    angles = np.array(sample_motion(torch.zeros(1, 1, 1, 1), range(4000)))
    assert angles.min() >= -45
    assert angles.max() < 45
    assert np.histogram(angles, 9, (-45, 45))[0] == pytest.approx(4000 / 9, rel=0.2)


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("seed", range(4))
def test_mean_brightness_is_kept_away_from_the_border(size, seed):
    image = np.zeros((1, 3 * size, 3 * size), np.float32)
    image[:, size : 2 * size, size : 2 * size] = phantom("xray", size)
    result = corrupt(torch.from_numpy(image), "motion_blur", 5, seeds=seed)
    assert result.double().mean().item() == pytest.approx(image.mean(dtype=np.float64), rel=1e-5)


def test_the_same_severity_at_another_size():
    small, large = (
        corrupt(torch.from_numpy(phantom("xray", 512)[:, ::step, ::step].copy()), "motion_blur", 5, seeds=8)
        for step in (4, 1)
    )
    pooled = torch.nn.functional.avg_pool2d(large, 4)
    change = (torch.from_numpy(phantom("xray", 512)[:, ::4, ::4]) - small).abs().mean()
    assert (small - pooled).abs().mean() < 0.25 * change
