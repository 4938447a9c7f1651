from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from monai_sf.datasets.lidc_clusters import cluster_annotations
from monai_sf.datasets.lidc_database import Contours

Points = list[tuple[int, int, int]]


def reference(annotations: list[Points], tolerance: float) -> set[frozenset[int]]:
    """pylidc's rule for one scan, written down plainly."""
    n = len(annotations)
    distance = np.array([[cdist(a, b).min() for b in annotations] for a in annotations]).reshape(n, n)
    while True:
        _, label = connected_components(distance <= tolerance, directed=False)
        if np.bincount(label).max() <= 4 or tolerance * 0.9 < 0.1:
            return {frozenset(np.flatnonzero(label == one).tolist()) for one in set(label.tolist())}
        tolerance *= 0.9


def contours_of(annotations: list[Points]) -> Contours:
    """One contour for each slice of each annotation."""
    rings = [
        (number, k, [p for p in points if p[2] == k])
        for number, points in enumerate(annotations)
        for k in sorted({p[2] for p in points})
    ]
    flat = np.array([p for _, _, ring in rings for p in ring], np.int64)
    slices = np.array([k for _, k, _ in rings], np.int64)
    return Contours(
        annotation_id=np.array([10 + number for number, _, _ in rings], np.int64),
        slice_index=slices,
        z=slices.astype(float),
        inclusion=np.ones(len(rings), bool),
        start=np.cumsum([0, *(len(ring) for _, _, ring in rings)]),
        row=flat[:, 0].copy(),
        column=flat[:, 1].copy(),
    )


def groups(annotations: list[Points], scan: list[int], tolerance: list[float]) -> set[frozenset[int]]:
    first = cluster_annotations(contours_of(annotations), np.array(scan), np.array(tolerance))
    found = {frozenset(np.flatnonzero(first == one).tolist()) for one in set(first.tolist())}
    assert all(min(group) == first[min(group)] for group in found)
    return found


point = st.tuples(st.integers(0, 14), st.integers(0, 14), st.integers(0, 2))
annotation = st.lists(point, min_size=1, max_size=5)


@settings(max_examples=80, deadline=None)
@given(st.lists(annotation, min_size=1, max_size=12), st.sampled_from([0.6, 1.25, 2.0, 2.5, 3.0, 5.0]))
def test_one_scan_against_the_plain_rule(annotations: list[Points], tolerance: float) -> None:
    n = len(annotations)
    assert groups(annotations, [3] * n, [tolerance] * n) == reference(annotations, tolerance)


@settings(max_examples=40, deadline=None)
@given(st.lists(annotation, min_size=2, max_size=12), st.data())
def test_scans_do_not_mix_and_keep_their_own_tolerance(
    annotations: list[Points], data: st.DataObject
) -> None:
    scan = data.draw(st.lists(st.integers(1, 3), min_size=len(annotations), max_size=len(annotations)))
    tolerance = {1: 1.0, 2: 2.5, 3: 5.0}
    expected = set()
    for one in set(scan):
        members = [i for i, s in enumerate(scan) if s == one]
        for group in reference([annotations[i] for i in members], tolerance[one]):
            expected.add(frozenset(members[i] for i in group))
    assert groups(annotations, scan, [tolerance[one] for one in scan]) == expected


def test_distance_equal_to_the_tolerance_is_adjacent() -> None:
    apart = [[(0, 0, 0)], [(3, 4, 0)]]
    assert groups(apart, [1, 1], [5.0, 5.0]) == {frozenset({0, 1})}
    assert groups(apart, [1, 1], [4.999, 4.999]) == {frozenset({0}), frozenset({1})}


def test_five_annotations_are_parted_by_shrinking_the_tolerance() -> None:
    line = [[(0, 0, 0)], [(0, 1, 0)], [(0, 2, 0)], [(0, 3, 0)], [(0, 5, 0)]]
    # Tolerance 2, 1.8: the last one is two columns away.
    assert groups(line, [1] * 5, [2.0] * 5) == {frozenset({0, 1, 2, 3}), frozenset({4})}


def test_each_step_shrinks_the_tolerance_by_a_tenth() -> None:
    # The line is five long at tolerance 5 and parted at 4.5; pairs further off see which tolerance that was.
    line = [[(0, 0, 0)], [(0, 1, 0)], [(0, 2, 0)], [(0, 3, 0)], [(0, 8, 0)]]
    together = [[(50, 0, 0)], [(54, 2, 0)]]  # 4.47 apart
    apart = [[(90, 0, 0)], [(93, 3, 2)]]  # 4.69 apart
    found = groups(line + together + apart, [1] * 9, [5.0] * 9)
    assert found == {
        frozenset({0, 1, 2, 3}),
        frozenset({4}),
        frozenset({5, 6}),
        frozenset({7}),
        frozenset({8}),
    }


def test_annotations_that_touch_stay_together_however_many() -> None:
    assert groups([[(5, 5, 1)]] * 6, [1] * 6, [3.0] * 6) == {frozenset(range(6))}


def test_an_annotation_that_repeats_a_point_is_no_neighbour_of_itself() -> None:
    assert groups([[(1, 1, 0), (1, 1, 0)], [(9, 9, 0)]], [1, 1], [1.0, 1.0]) == {
        frozenset({0}),
        frozenset({1}),
    }
