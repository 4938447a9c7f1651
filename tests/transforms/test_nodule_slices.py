from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai_sf.transforms import ExtractNoduleSlices, ExtractNoduleSlicesd


def slow(
    volume: np.ndarray, mask: np.ndarray, axis: int, slices: int, size: int | None, padding: float
) -> np.ndarray:
    """Voxel by voxel, in float64."""
    volume, mask = np.moveaxis(volume, 1 + axis, 1), np.moveaxis(mask[0], axis, 0)
    area = [float(one.sum()) for one in mask]
    middle = area.index(max(area))
    indices = [middle + k for k in range(-(slices // 2), slices // 2 + 1)]
    while indices[0] < 0:
        indices = [i + 1 for i in indices]
    while indices[-1] >= len(mask):
        indices = [i - 1 for i in indices]
    if size is None:
        return np.stack([volume[:, i] for i in indices])
    where = np.argwhere(mask > 0)
    weights = mask[tuple(where.T)]
    row, column = (int(np.floor((where[:, d] * weights).sum() / weights.sum() + 0.5)) for d in (1, 2))
    out = np.full((slices, len(volume), size, size), float(padding))
    for s, i in enumerate(indices):
        for r in range(size):
            for c in range(size):
                y, x = row - size // 2 + r, column - size // 2 + c
                if 0 <= y < volume.shape[2] and 0 <= x < volume.shape[3]:
                    out[s, :, r, c] = volume[:, i, y, x]
    return out


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(5, 9)] * 3),
    axis=st.integers(0, 2),
    slices=st.sampled_from([1, 3, 5]),
    size=st.sampled_from([None, 1, 4, 7]),
    seed=st.integers(0, 1000),
)
def test_against_a_slow_reference(
    shape: tuple[int, int, int], axis: int, slices: int, size: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(2, *shape))
    mask = (rng.random((1, *shape)) < 0.05) * rng.integers(1, 5, (1, *shape))
    mask[0, rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(shape[2])] = 2
    found = ExtractNoduleSlices(axis, slices=slices, size=size, padding=-7)(volume, mask)
    np.testing.assert_array_equal(found, slow(volume, mask, axis, slices, size, -7))
    again = ExtractNoduleSlices(axis - 3, slices=slices, size=size, padding=-7)(
        torch.as_tensor(volume), torch.as_tensor(mask)
    )
    assert torch.equal(again, torch.as_tensor(found))


def test_ties_take_the_lowest_and_readers_weigh() -> None:
    volume = np.arange(9.0).reshape(1, 1, 1, 9)
    mask = np.array([0, 0, 1, 0, 0, 0, 1, 0, 0.0]).reshape(1, 1, 1, 9)
    extract = ExtractNoduleSlices(slices=3, size=None)
    assert extract(volume, mask).ravel().tolist() == [1, 2, 3]
    mask[..., 6] = 2
    assert extract(volume, mask).ravel().tolist() == [5, 6, 7]
    mask[..., 8] = 3
    assert extract(volume, mask).ravel().tolist() == [6, 7, 8]


def test_types_stay() -> None:
    mask = torch.zeros(1, 8, 8, 8)
    mask[0, 4, 4, 4] = 1
    meta = {"filename_or_obj": "a.nii", "spatial_shape": [8, 8, 8]}
    volume = MetaTensor(torch.zeros(1, 8, 8, 8, dtype=torch.int16), torch.eye(4) * 2, meta)
    out = ExtractNoduleSlices(size=4)(volume, mask)
    assert out.shape == (5, 1, 4, 4)
    assert out.dtype == torch.int16
    assert isinstance(out, MetaTensor)
    assert out.meta["filename_or_obj"] == "a.nii"
    assert "spatial_shape" not in out.meta  # nor the affine: both are the volume's
    assert torch.equal(out.affine, torch.eye(4, dtype=torch.float64))
    assert torch.equal(volume.affine, 2 * torch.eye(4, dtype=torch.float64))
    assert isinstance(ExtractNoduleSlices(size=4)(volume.numpy(), mask.numpy()), np.ndarray)


@pytest.mark.parametrize(
    ("volume", "padding", "allowed"),
    [
        (np.zeros((1, 8, 8, 8), np.uint8), -1024, r"uint8 \(0 to 255\)"),
        (torch.zeros(1, 8, 8, 8, dtype=torch.uint8), -1024, r"uint8 \(0 to 255\)"),
        (np.zeros((1, 8, 8, 8), np.uint16), -1024, r"uint16 \(0 to 65535\)"),
        (np.zeros((1, 8, 8, 8), bool), 2, r"bool \(0 to 1\)"),
        (np.zeros((1, 8, 8, 8), np.int16), 0.5, r"int16 \(-32768 to 32767\)"),
    ],
)
def test_padding_that_the_volume_cannot_hold(volume: NdarrayOrTensor, padding: float, allowed: str) -> None:
    mask = np.ones((1, 8, 8, 8))
    with pytest.raises(ValueError, match=rf"padding {padding} cannot be stored in the volume's {allowed}"):
        ExtractNoduleSlices(size=4, padding=padding)(volume, mask)
    assert ExtractNoduleSlices(size=None, padding=padding)(volume, mask).shape == (5, 1, 8, 8)
    assert ExtractNoduleSlices(size=12, padding=1)(volume, mask).max() == 1


def test_dictionary() -> None:
    mask = np.zeros((1, 6, 6, 6))
    mask[0, 0, 0, 3] = 1
    data = {"image": np.ones((1, 6, 6, 6)), "mask": mask, "label": 1}
    out = ExtractNoduleSlicesd(["image", "mask"], size=4)(data)
    assert out["image"].shape == out["mask"].shape == (5, 1, 4, 4)
    assert out["image"].min() == -1024
    assert out["mask"].min() == 0
    assert out["mask"].sum() == 1
    assert data["image"].shape == (1, 6, 6, 6)
    with pytest.raises(KeyError, match="no entry 'mask' with the nodule's mask; there are 'image'"):
        ExtractNoduleSlicesd("image")({"image": data["image"]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": 3}, "axis must be from -3 to 2, .* got 3"),
        ({"slices": 4}, "slices must be odd and positive, .* got 4"),
        ({"size": 0}, "size must be positive, or None for whole slices, got 0"),
    ],
)
def test_bad_arguments(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExtractNoduleSlices(**arguments)


@pytest.mark.parametrize(
    ("volume", "mask", "message"),
    [
        ((1, 8, 8, 8), (1, 8, 8, 7), r"got \(1, 8, 8, 8\) and \(1, 8, 8, 7\)"),
        ((8, 8, 8), (1, 8, 8, 8), r"volume must be \(C, X, Y, Z\)"),
        ((1, 8, 8, 4), (1, 8, 8, 4), "volume has 4 slices along axis 2, and 5 are wanted"),
    ],
)
def test_bad_shapes(volume: tuple[int, ...], mask: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExtractNoduleSlices()(np.zeros(volume), np.ones(mask))


def test_mask_that_is_not_finite() -> None:
    mask = np.ones((1, 8, 8, 8))
    mask[0, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="mask holds NaN or infinity"):
        ExtractNoduleSlices(size=None)(np.zeros((1, 8, 8, 8)), mask)


def test_empty_mask() -> None:
    with pytest.raises(ValueError, match="mask is empty"):
        ExtractNoduleSlices()(np.zeros((1, 8, 8, 8)), np.zeros((1, 8, 8, 8)))
