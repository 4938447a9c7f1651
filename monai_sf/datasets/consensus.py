"""The share of a nodule's readers whose contours include each pixel of a slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_sf.datasets.lidc_database import Contours, Floats, Integers

__all__ = ["consensus"]

_LINES = 4
"""Scan lines per pixel row; along a line coverage is exact."""


def consensus(
    contours: Contours, annotation_ids: Sequence[int], slice_index: int, *, top: int, left: int, size: int
) -> Floats:
    """Return, per pixel of one slice, the share inside a reader's contours, averaged over the readers.

    A reader's area is the polygons of the inclusion contours minus those of the exclusion contours. Contour
    points are pixel centres. A reader without a contour in the slice counts as 0 everywhere.

    Args:
        contours: Contours, including those of ``annotation_ids``.
        annotation_ids: One annotation per reader.
        slice_index: Slice of the scan.
        top: Row of the window's first pixel in the slice; may be negative.
        left: Column of the window's first pixel.
        size: Height and width of the window in pixels.

    Returns:
        (size, size), from 0 (no reader) to 1 (all readers).
    """
    share = np.zeros((size, size))
    reader, edges = _edges(contours, annotation_ids, slice_index)
    if not len(reader):
        return share
    # Only the part of the window within reach of the contours.
    first = np.maximum((edges[0].min() - top, edges[1].min() - left), 0).astype(np.int64)
    last = np.minimum((edges[0].max() - top, edges[1].max() - left), size - 1).astype(np.int64) + 1
    if np.all(first < last):
        edges[[0, 2]] -= top + first[0]
        edges[[1, 3]] -= left + first[1]
        inside = _inside(edges, reader, len(annotation_ids), *(last - first))
        share[first[0] : last[0], first[1] : last[1]] = inside
    return share


def _inside(edges: Floats, reader: Integers, readers: int, height: int, width: int) -> Floats:
    row, column, next_row, next_column, sign = edges
    # Lines are at odd eighths of a pixel, points at whole pixels: no line passes through a point.
    lines = height * _LINES
    line_row = (np.arange(lines) + 0.5) / _LINES - 0.5
    edge, line = np.nonzero((row[:, None] < line_row) != (next_row[:, None] < line_row))
    down = next_row[edge] - row[edge]
    crossing = column[edge] + (line_row[line] - row[edge]) * (next_column[edge] - column[edge]) / down
    crossing = np.minimum(np.maximum(crossing + 0.5, 0), width)
    pixel = crossing.astype(np.int64)
    behind = crossing - pixel
    turn = sign[edge] * np.sign(down)

    # Everything right of a crossing is inside (or outside again): a cumulative sum along the line.
    cell = (reader[edge] * lines + line) * (width + 2) + pixel
    cells = readers * lines * (width + 2)
    change = np.bincount(cell, turn * (1 - behind), cells) + np.bincount(cell + 1, turn * behind, cells)
    inside = np.cumsum(change.reshape(readers, lines, width + 2)[..., :width], axis=2)
    inside = np.minimum(np.maximum(inside, 0), 1).reshape(readers, height, _LINES, width)
    mean: Floats = inside.mean(axis=(0, 2))
    return mean


def _edges(contours: Contours, annotation_ids: Sequence[int], slice_index: int) -> tuple[Integers, Floats]:
    """Return reader and (5, E) row, column, next row, next column and sign of every edge in one slice.

    The sign makes the inside of an inclusion +1 and that of an exclusion -1, in either drawing direction.
    """
    own = [contours.of(annotation) for annotation in annotation_ids]
    chosen = [np.flatnonzero(contours.slice_index[one] == slice_index) + one.start for one in own]
    contour = np.concatenate(chosen)
    if not len(contour):
        return np.empty(0, np.int64), np.empty((5, 0))
    length = contours.start[contour + 1] - contours.start[contour]
    end = np.cumsum(length)
    begin = end - length
    point = np.arange(end[-1]) + np.repeat(contours.start[contour] - begin, length)
    row, column = contours.row[point], contours.column[point]
    following = np.arange(1, end[-1] + 1)
    following[end - 1] = begin
    next_row, next_column = row[following], column[following]
    # Positive where the inside is on the right of increasing rows.
    turning = np.sign(np.add.reduceat(row * next_column - next_row * column, begin))
    sign = np.repeat(np.where(contours.inclusion[contour], turning, -turning), length)
    reader = np.repeat(np.repeat(np.arange(len(own)), [len(one) for one in chosen]), length)
    return reader, np.stack([row, column, next_row, next_column, sign]).astype(np.float64)
