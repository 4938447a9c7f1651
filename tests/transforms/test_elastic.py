import numpy as np
import pytest
import torch
from drawings import phantom
from monai_sf.transforms import corrupt
from monai_sf.transforms.elastic import CONTROL_POINTS, apply_elastic, sample_elastic
from monai_sf.transforms.severities import severity_scale
from scipy import ndimage
from scipy.interpolate import BSpline

LEVELS = severity_scale("elastic").levels


def slow_field(points, height, width):
    """The spline's displacements (2, H, W) by SciPy, in float64."""
    spacing = min(height, width) / CONTROL_POINTS

    def along(coefficients, size):
        knots = np.arange(-3, len(coefficients) + 1, dtype=np.float64)
        return BSpline(knots, coefficients, 3)((np.arange(size) + 0.5) / spacing)

    rows = [along(axis, height) for axis in points.astype(np.float64)]
    return np.stack([along(axis.T, width).T for axis in rows])


def slow_elastic(image, points, fraction):
    height, width = image.shape[1:]
    field = slow_field(points, height, width) * fraction * min(height, width)
    grid = np.mgrid[:height, :width] + field
    return np.stack(
        [ndimage.map_coordinates(c.astype(np.float64), grid, order=1, mode="mirror") for c in image]
    )


@pytest.mark.parametrize("shape", [(40, 40), (33, 57), (70, 21), (6, 5)])
@pytest.mark.parametrize("level", [LEVELS[0], LEVELS[4]])
def test_equals_the_slow_reference(shape, level):
    image = phantom("dermoscopy", 80)[:, : shape[0], : shape[1]].copy()
    batch = torch.from_numpy(np.stack([image, image[::-1]]))
    points = sample_elastic(batch, [3, 4])
    for pixels, field, result in zip(
        batch.numpy(), points.numpy(), apply_elastic(batch, points, level), strict=True
    ):
        np.testing.assert_allclose(result, slow_elastic(pixels, field, level[0]), atol=2e-5)


def test_fields_have_the_stated_root_mean_square_in_every_severity():
    images = torch.zeros(60, 1, 96, 96)
    points = sample_elastic(images, range(60)).numpy()
    fields = np.stack([slow_field(case, 96, 96) for case in points])
    assert np.sqrt((fields**2).mean((0, 2, 3))) == pytest.approx([1, 1], rel=0.05)
    assert fields.mean() == pytest.approx(0, abs=0.05)


def test_the_strongest_field_hardly_folds():
    points = sample_elastic(torch.zeros(40, 1, 96, 96), range(40)).numpy()
    folded = []
    for case in points:
        y, x = slow_field(case, 96, 96) * LEVELS[-1][0] * 96
        jacobian = (1 + np.gradient(y, axis=0)) * (1 + np.gradient(x, axis=1))
        jacobian -= np.gradient(y, axis=1) * np.gradient(x, axis=0)
        folded.append((jacobian <= 0).mean())
    assert np.mean(folded) < 1e-3


def test_a_case_has_the_same_field_at_every_size():
    small = sample_elastic(torch.zeros(1, 1, 64, 64), [9])
    assert torch.equal(small, sample_elastic(torch.zeros(1, 1, 512, 512), [9]))


@pytest.mark.parametrize("modality", ["dermoscopy", "xray", "ct"])
def test_the_histogram_is_roughly_kept(modality):
    image = torch.from_numpy(phantom(modality, 256))
    result = corrupt(image, "elastic", 5, seeds=2)
    for before, after in zip(image, result, strict=True):
        # The distance between the distributions of pixel values, in units of the range.
        distance = (before.flatten().sort()[0] - after.flatten().sort()[0]).abs().mean()
        assert distance < 0.02
        assert (before - after).abs().mean() > 1.5 * distance
