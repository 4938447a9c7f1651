"""Grouping of a scan's annotations into nodules by pylidc's rule, for all scans at once.

The rule (pylidc 0.2.3, ``Scan.cluster_annotations`` with its defaults): the distance of two annotations of a
scan is the smallest Euclidean distance between their contour points in index space (row, column, slice
number). Two are adjacent if it is at most a tolerance, and the connected components are the nodules. The
tolerance starts at the scan's slice thickness and is multiplied by 0.9 until no component has more than four
annotations, or it would fall below 0.1: then the components of the last tolerance are final.

Points are integers, so squared distances are exact, and two annotations that share a point have distance 0,
which no tolerance separates. That settles nearly all pairs by one sort of the points; of the rest, only pairs
of annotations that are not connected yet, and whose bounding boxes are near enough, are measured.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from monai_sf.datasets.lidc_database import Contours, Floats, Integers

__all__ = ["cluster_annotations"]

_MOST_READERS = 4
_FACTOR = 0.9
_SMALLEST_TOLERANCE = 0.1


def cluster_annotations(contours: Contours, scan: Integers, tolerance: Floats) -> Integers:
    """Connect the annotations of each scan that outline the same nodule.

    Args:
        contours: Contours of N annotations.
        scan: (N,) scan of each annotation, in increasing order of annotation id.
        tolerance: (N,) first tolerance of each annotation's scan (its slice thickness), in index units.

    Returns:
        (N,) the position of the first annotation of each annotation's nodule.
    """
    annotation, points = _points_by_annotation(contours, len(scan))
    first_point = np.searchsorted(annotation, np.arange(len(scan) + 1))
    touching = _pairs_that_share_a_point(annotation, points, scan)
    component = _connect(len(scan), touching)
    near, distance = _near_pairs(points, first_point, scan, tolerance, component)
    return _shrink_tolerance(scan, tolerance, touching, near, distance)


def _points_by_annotation(contours: Contours, count: int) -> tuple[Integers, Integers]:
    """Return each point's annotation position, increasing, and the points (P, 3): row, column, slice."""
    ids, of_contour = np.unique(contours.annotation_id, return_inverse=True)
    if len(ids) != count:
        raise ValueError(
            f"contours of {len(ids)} annotations, but scan has {count} entries; give one per annotation"
        )
    length = np.diff(contours.start)
    points = np.stack([contours.row, contours.column, np.repeat(contours.slice_index, length)], axis=1)
    return np.repeat(of_contour, length), points


def _pairs_that_share_a_point(annotation: Integers, points: Integers, scan: Integers) -> Integers:
    """Return (M, 2) pairs of annotations at distance 0."""
    low = points.min(axis=0)
    rows, columns, slices = points.max(axis=0) - low + 1
    row, column, slice_index = (points - low).T
    key = ((scan[annotation] * slices + slice_index) * rows + row) * columns + column
    # Stable, so that the annotations at one point stay in increasing order.
    order = np.argsort(key, kind="stable")
    key, annotation = key[order], annotation[order]
    # One number per pair: numbers sort far faster than rows.
    codes, lag = [np.empty(0, np.int64)], 1
    while len(same := np.flatnonzero(key[lag:] == key[:-lag])):
        codes.append(np.unique(annotation[same] * len(scan) + annotation[same + lag]))
        lag += 1
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), len(scan)), axis=1)


def _near_pairs(
    points: Integers, first_point: Integers, scan: Integers, tolerance: Floats, component: Integers
) -> tuple[Integers, Floats]:
    """Return pairs within their scan's tolerance that no shared point connects, and their distances."""
    low = np.minimum.reduceat(points, first_point[:-1], axis=0)
    high = np.maximum.reduceat(points, first_point[:-1], axis=0)
    a, b = _pairs_within(scan)
    gap = np.maximum(np.maximum(low[b] - high[a], low[a] - high[b]), 0)
    keep = (component[a] != component[b]) & (np.sqrt((gap**2).sum(axis=1)) <= tolerance[a])
    pairs = np.stack([a[keep], b[keep]], axis=1)
    distance = np.empty(len(pairs))
    for i, (one, other) in enumerate(pairs):
        reach = tolerance[one]
        mine = points[first_point[one] : first_point[one + 1]]
        theirs = points[first_point[other] : first_point[other + 1]]
        mine = mine[np.all((mine >= low[other] - reach) & (mine <= high[other] + reach), axis=1)]
        theirs = theirs[np.all((theirs >= low[one] - reach) & (theirs <= high[one] + reach), axis=1)]
        square = ((mine[:, None] - theirs[None]) ** 2).sum(axis=-1)
        distance[i] = np.sqrt(square.min()) if square.size else np.inf
    within = distance <= tolerance[pairs[:, 0]]
    return pairs[within], distance[within]


def _pairs_within(scan: Integers) -> tuple[Integers, Integers]:
    """Return all pairs (a < b) of positions of the same scan; ``scan`` need not be sorted."""
    order = np.argsort(scan, kind="stable")
    _, first = np.unique(scan[order], return_index=True)
    members = np.split(order, first[1:])
    upper = {size: np.triu_indices(size, 1) for size in {len(one) for one in members}}
    return (
        np.concatenate([one[upper[len(one)][0]] for one in members]),
        np.concatenate([one[upper[len(one)][1]] for one in members]),
    )


def _shrink_tolerance(
    scan: Integers, tolerance: Floats, touching: Integers, near: Integers, distance: Floats
) -> Integers:
    tolerance = tolerance.astype(np.float64, copy=True)
    crowded = np.ones(len(scan), dtype=bool)
    component = np.arange(len(scan))
    while crowded.any():
        adjacent = near[distance <= tolerance[near[:, 0]]]
        component = np.where(crowded, _connect(len(scan), np.concatenate([touching, adjacent])), component)
        size = np.bincount(component, minlength=len(scan))
        too_big = np.isin(scan, np.unique(scan[size[component] > _MOST_READERS]))
        # As in pylidc, one rounding per step: the product, not a power, decides which pairs remain adjacent.
        tolerance[too_big] *= _FACTOR
        crowded = too_big & (tolerance >= _SMALLEST_TOLERANCE)
    return component


def _connect(count: int, edges: npt.NDArray[np.int64]) -> Integers:
    """Return the lowest member of each node's connected component."""
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    _, first, component = np.unique(
        connected_components(graph, directed=False)[1], return_index=True, return_inverse=True
    )
    return first[component]
