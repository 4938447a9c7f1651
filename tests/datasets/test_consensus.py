from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.datasets.consensus import consensus
from monai_sf.datasets.lidc_database import Contours, Tables

Ring = list[tuple[int, int]]


def contours_of(rings: list[tuple[int, int, bool, Ring]]) -> Contours:
    """From (annotation, slice, inclusion, [(row, column), ...]), ordered by annotation."""
    points = np.array([p for *_, ring in rings for p in ring], np.int64).reshape(-1, 2)
    return Contours(
        annotation_id=np.array([one[0] for one in rings], np.int64),
        slice_index=np.array([one[1] for one in rings], np.int64),
        z=np.array([float(one[1]) for one in rings]),
        inclusion=np.array([one[2] for one in rings], bool),
        start=np.cumsum([0, *(len(one[3]) for one in rings)]),
        row=points[:, 0].copy(),
        column=points[:, 1].copy(),
    )


def sampled(rings: list[tuple[bool, Ring]], top: int, left: int, size: int, fine: int) -> np.ndarray:
    """Share of each pixel inside, by ``fine`` x ``fine`` points a pixel and the even-odd rule."""
    steps = (np.arange(size * fine) + 0.5) / fine - 0.5
    row, column = np.meshgrid(top + steps, left + steps, indexing="ij")
    value = np.zeros(row.shape)
    for include, ring in rings:
        odd = np.zeros(row.shape, bool)
        for (r0, c0), (r1, c1) in zip(ring, ring[1:] + ring[:1], strict=True):
            if r0 != r1:
                odd ^= ((r0 > row) != (r1 > row)) & (column < c0 + (row - r0) * (c1 - c0) / (r1 - r0))
        value += odd if include else -1.0 * odd
    return np.clip(value, 0, 1).reshape(size, fine, size, fine).mean(axis=(1, 3))


SQUARE: Ring = [(10, 20), (10, 24), (14, 24), (14, 20)]


def test_points_are_pixel_centres() -> None:
    share = consensus(contours_of([(1, 0, True, SQUARE)]), [1], 0, top=9, left=19, size=7)
    line = np.array([0, 0.5, 1, 1, 1, 0.5, 0])
    np.testing.assert_allclose(share, line[:, None] * line[None, :], atol=1e-12)


@pytest.mark.parametrize("ring", [SQUARE, SQUARE[::-1], SQUARE[2:] + SQUARE[:2], [*SQUARE, SQUARE[0]]])
def test_way_and_start_of_drawing_do_not_matter(ring: Ring) -> None:
    share = consensus(contours_of([(1, 0, True, ring)]), [1], 0, top=0, left=10, size=20)
    assert share.sum() == pytest.approx(16)
    assert share[12, 12] == 1


def test_holes_are_cut_out_whichever_way_they_are_drawn() -> None:
    hole = [(11, 21), (13, 21), (13, 23), (11, 23)]
    for ring in (hole, hole[::-1]):
        share = consensus(
            contours_of([(1, 0, True, SQUARE), (1, 0, False, ring)]), [1], 0, top=0, left=10, size=20
        )
        assert share.sum() == pytest.approx(16 - 4)
        assert share[12, 12] == 0


def test_mean_over_the_readers_also_those_without_a_contour_in_the_slice() -> None:
    contours = contours_of([(1, 5, True, SQUARE), (2, 5, True, SQUARE), (3, 6, True, SQUARE)])
    share = consensus(contours, [1, 2, 3], 5, top=0, left=10, size=20)
    assert share[12, 12] == pytest.approx(2 / 3)
    assert not consensus(contours, [1, 2, 3], 4, top=0, left=10, size=20).any()
    assert not consensus(contours, [3], 5, top=0, left=10, size=20).any()


@pytest.mark.parametrize(("top", "left"), [(12, 22), (-30, 0), (12, 10), (8, 22), (100, 100)])
def test_what_leaves_the_window_is_cut(top: int, left: int) -> None:
    contours = contours_of([(1, 0, True, SQUARE)])
    whole = consensus(contours, [1], 0, top=-40, left=-40, size=200)
    part = consensus(contours, [1], 0, top=top, left=left, size=16)
    np.testing.assert_allclose(part, whole[top + 40 : top + 56, left + 40 : left + 56], atol=1e-12)


def test_outline_drawn_twice_covers_no_pixel_more_than_once() -> None:
    share = consensus(contours_of([(1, 0, True, SQUARE + SQUARE)]), [1], 0, top=0, left=10, size=20)
    assert share.max() == 1
    assert (share > 0).sum() == 25


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 5), min_size=3, max_size=9), st.booleans())
def test_star_shapes_against_sampled_points(radii: list[int], clockwise: bool) -> None:
    angle = np.arange(len(radii)) * 2 * np.pi / len(radii)
    ring = [(round(6 + r * np.sin(a)), round(6 + r * np.cos(a))) for r, a in zip(radii, angle, strict=True)]
    ring = ring[::-1] if clockwise else ring
    share = consensus(contours_of([(1, 0, True, ring)]), [1], 0, top=0, left=0, size=13)
    np.testing.assert_allclose(share, sampled([(True, ring)], 0, 0, 13, fine=16), atol=0.13)
    assert abs(share.sum() - sampled([(True, ring)], 0, 0, 13, fine=16).sum()) < 0.6


def test_real_contours_against_sampled_points(tables: Tables) -> None:
    contours = tables.contours
    with_hole = contours.annotation_id[~contours.inclusion][[0, 40, 300]]
    for annotation in (1, 2, 500, 1500, 2500, *with_hole):
        own = contours.of(int(annotation))
        k = int(np.bincount(contours.slice_index[own]).argmax())
        rings = []
        for i in range(own.start, own.stop):
            if contours.slice_index[i] == k:
                points = slice(contours.start[i], contours.start[i + 1])
                ring = list(zip(contours.row[points].tolist(), contours.column[points].tolist(), strict=True))
                rings.append((bool(contours.inclusion[i]), ring))
        top, left = (min(p[axis] for _, ring in rings for p in ring) - 1 for axis in (0, 1))
        share = consensus(contours, [int(annotation)], k, top=top, left=left, size=64)
        assert np.abs(share - sampled(rings, top, left, 64, fine=8)).max() < 0.3
        assert abs(share.sum() - sampled(rings, top, left, 64, fine=8).sum()) < 0.02 * max(share.sum(), 50)
