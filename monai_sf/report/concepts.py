"""Concept clusters: typical images of every class, or other sub-class, in every domain.

Bungert et al., "Understanding Silent Failures in Medical Image Classification", MICCAI 2023, section 2:
"k-means clustering is applied to the 3-dimensional embedding. Nine clusters are identified per concept and
the resulting plots show the closest-to-center image per cluster as a visual representation of the concept."
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from monai_sf.report import words
from monai_sf.report.privacy import Privacy
from monai_sf.report.runs import Run, shown_labels, truths

CLUSTERS = 9
#: Only the most frequent values of a column are shown.
MAX_VALUES = 8
MAX_COLUMNS = 6


def typical(points: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Return the points closest to the centres of k-means clusters, those of large clusters first.

    Args:
        points: (n, 3) finite coordinates, n >= 1.
        seed: of the clustering.

    Returns:
        (k,) int64 positions without repetition, k = min(9, number of different points).
    """
    k = min(CLUSTERS, len(np.unique(points, axis=0)))
    found = KMeans(k, n_init=4, random_state=seed).fit(points)
    sizes = np.bincount(found.labels_, minlength=k)
    distance = np.linalg.norm(points - found.cluster_centers_[found.labels_], axis=1)
    closest = [
        int(np.flatnonzero(found.labels_ == c)[np.argmin(distance[found.labels_ == c])]) for c in range(k)
    ]
    return np.array(closest, np.int64)[np.argsort(-sizes, kind="stable")]


def concepts(run: Run, seed: int, hide: Privacy) -> list[dict[str, Any]]:
    """Return typical sampled cases by column and domain for JSON; empty without an embedding.

    The first column is the class, if there are classes; the others are those of the case table that have 2
    to 8 values.
    """
    if run.embedding is None:
        return []
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(run.embedding).all(axis=1))
    domain = np.array([words.domain_title(s, run.results.run) for s in run.sets], object)[run.sample.test_set]
    rows = run.rows()
    columns = []
    if run.results.is_classification:
        names = np.array(truths(run.results), object)
        columns.append(("class", names[shown_labels(run.results)[rows]]))
    for column, values in hide.table(run.results, rows).items():
        if 2 <= values.nunique() <= MAX_VALUES and column != "group":
            columns.append((column, values.to_numpy(object)))
    return [
        {"column": name, "groups": _groups(values, domain, usable, run.embedding, seed)}
        for name, values in columns[:MAX_COLUMNS]
    ]


def _groups(
    values: NDArray[Any], domain: NDArray[Any], usable: NDArray[np.bool_], points: NDArray[Any], seed: int
) -> list[dict[str, Any]]:
    frequent = pd.Series(values[usable]).value_counts().index[:MAX_VALUES]
    groups = []
    for value in sorted(frequent, key=str):
        for name in dict.fromkeys(domain):
            members = np.flatnonzero(usable & (values == value) & (domain == name))
            if len(members):
                chosen = members[typical(points[members], seed)].tolist()
                groups.append({"value": value, "domain": name, "count": len(members), "points": chosen})
    return groups
