from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monai_sf.datasets.lidc_database import RATINGS, Tables
from monai_sf.datasets.rendering import RENDERER_VERSION, render_slice


@pytest.fixture
def solid(nodules: pd.DataFrame) -> dict[str, Any]:
    """A nodule that four readers outlined, about 14 mm wide and without calcification."""
    chosen = nodules[
        (nodules["n_readers"] == 4) & (nodules["calcification"] == 6) & (nodules["texture"] == 5)
    ]
    return chosen[chosen["lobulation"] >= 3].iloc[0].to_dict()


def render(nodule: dict[str, Any], tables: Tables, offset: int = 0, /, **changed: Any) -> np.ndarray:
    return render_slice({**nodule, **changed}, nodule["slice_index"] + offset, tables.contours)


def lung_beside(nodule: dict[str, Any], tables: Tables, offset: int = 0) -> np.ndarray:
    """The same invented anatomy, looked at 600 pixels from the contours."""
    return render(nodule, tables, offset, centroid_row=nodule["centroid_row"] + 600)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def core(patch: np.ndarray, half: int = 2) -> float:
    middle = patch[32 - half : 32 + half, 32 - half : 32 + half]
    return float(np.median(middle))


def test_patch_is_whole_hounsfield_units(solid: dict[str, Any], tables: Tables) -> None:
    patch = render(solid, tables)
    assert patch.shape == (64, 64)
    assert patch.dtype == np.float32
    np.testing.assert_array_equal(patch, np.rint(patch))
    assert patch.min() >= -1024
    assert patch.max() <= 3071


def test_same_pixels_again_and_other_pixels_elsewhere(solid: dict[str, Any], tables: Tables) -> None:
    patch = render(solid, tables)
    np.testing.assert_array_equal(patch, render(solid, tables))
    assert not np.array_equal(patch, render(solid, tables, 1))
    assert not np.array_equal(patch, render(solid, tables, series_instance_uid="1.2.3"))
    assert not np.array_equal(patch, render(solid, tables, nodule=solid["nodule"] + 1))


def test_pixels_do_not_change_without_a_new_version(nodules: pd.DataFrame, tables: Tables) -> None:
    digest = hashlib.sha256()
    for nodule in nodules.iloc[::100].to_dict("records"):
        patch = render_slice(nodule, nodule["slice_index"], tables.contours)
        digest.update(patch.astype("<i2").tobytes())
    # If this fails on purpose, raise RENDERER_VERSION, so that older files on disk are made again.
    assert (RENDERER_VERSION, digest.hexdigest()[:16]) == (1, "bddaf58a8405f57e")


@pytest.mark.parametrize("rating", sorted(set(RATINGS) - {"texture", "margin", "calcification"}))
def test_malignancy_and_the_other_ratings_are_no_input(
    nodules: pd.DataFrame, tables: Tables, rating: str
) -> None:
    for nodule in nodules.iloc[5::600].to_dict("records"):
        patch = render(nodule, tables)
        for value in (1.0, 5.0, float("nan")):
            np.testing.assert_array_equal(patch, render(nodule, tables, **{rating: value}))
        without = {name: value for name, value in nodule.items() if name != rating}
        np.testing.assert_array_equal(patch, render(without, tables))


def test_density_rises_with_texture(solid: dict[str, Any], tables: Tables) -> None:
    density = [core(render(solid, tables, texture=float(texture))) for texture in (1, 2, 3, 4, 5)]
    assert density == sorted(density)
    assert -750 < density[0] < -450
    assert -60 < density[4] < 140


def test_edge_sharpens_with_margin(solid: dict[str, Any], tables: Tables) -> None:
    steepest = [np.abs(np.diff(render(solid, tables, margin=float(m)))[24:40, 16:48]).max() for m in (1, 5)]
    assert steepest[1] > 1.3 * steepest[0]


@pytest.mark.parametrize("category", [1, 2, 3, 4, 5])
def test_calcification_makes_bright_flecks_inside_only(
    solid: dict[str, Any], tables: Tables, category: int
) -> None:
    plain, calcified = render(solid, tables), render(solid, tables, calcification=float(category))
    brighter = calcified - plain
    assert brighter.min() >= 0
    assert brighter.max() > 150
    far = np.hypot(*(np.indices((64, 64)) - 31.5)) > 28
    assert not brighter[far].any()
    if category == 5:
        row, column = np.unravel_index(brighter.argmax(), brighter.shape)
        assert np.hypot(row - 32, column - 32) < 6


def test_absent_calcification_is_category_6(solid: dict[str, Any], tables: Tables) -> None:
    np.testing.assert_array_equal(render(solid, tables), render(solid, tables, calcification=5.6))


def test_slice_without_contours_shows_lung_only(solid: dict[str, Any], tables: Tables) -> None:
    patch = lung_beside(solid, tables, 1)
    np.testing.assert_array_equal(
        patch, lung_beside({**solid, "texture": 1.0, "calcification": 3.0}, tables, 1)
    )
    assert np.median(patch) < -780


def test_nodule_is_where_the_readers_contours_agree(solid: dict[str, Any], tables: Tables) -> None:
    with_nodule = render(solid, tables)
    half = solid["annotation_ids"][:2]
    fewer = render(solid, tables, annotation_ids=half)
    assert core(with_nodule) > -100
    # Contours of a nodule elsewhere in the scan lie outside the patch: only lung is left.
    gone = render(solid, tables, centroid_row=solid["centroid_row"] + 200)
    assert core(gone) < core(fewer)


def test_lung_looks_like_lung(nodules: pd.DataFrame, tables: Tables) -> None:
    patches = np.stack([lung_beside(nodule, tables) for nodule in nodules.iloc[::50].to_dict("records")])
    median = np.median(patches, axis=(1, 2))
    assert np.all(median > -930)
    # Here and there the chest wall fills half of the patch.
    assert np.mean(median < -760) > 0.9
    vessels = (patches > -300).mean(axis=(1, 2))
    assert 0.005 < np.median(vessels) < 0.1
    assert (vessels > 0.1).mean() < 0.3
    # Noise of neighbouring pixels is correlated, that of distant ones is not.
    residual = patches - median[:, None, None]
    lung = np.abs(residual) < 120
    near = (lung[:, :, 1:] & lung[:, :, :-1], residual[:, :, 1:] * residual[:, :, :-1])
    noise = near[1][near[0]].mean() / np.square(residual[lung]).mean()
    assert 0.3 < noise < 0.95


def test_neighbouring_slices_fit_each_other(nodules: pd.DataFrame, tables: Tables) -> None:
    chosen = nodules[nodules["slice_thickness"] <= 1].iloc[:40].to_dict("records")
    same = [correlation(lung_beside(n, tables), lung_beside(n, tables, 1)) for n in chosen]
    other = [correlation(lung_beside(a, tables), lung_beside(b, tables)) for a, b in pairwise(chosen)]
    assert np.median(other) < 0.15
    assert np.median(same) > np.median(other) + 0.15


@pytest.mark.parametrize("size", [32, 64, 97])
def test_size_is_that_asked_for_and_the_nodule_in_the_middle(
    solid: dict[str, Any], tables: Tables, size: int
) -> None:
    patch = render_slice(solid, solid["slice_index"], tables.contours, size=size)
    assert patch.shape == (size, size)
    assert np.median(patch[size // 2 - 2 : size // 2 + 2, size // 2 - 2 : size // 2 + 2]) > -100
