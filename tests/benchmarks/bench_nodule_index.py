"""How long the nodule index of all scans takes, and one rendered slice.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_nodule_index.py

Beside it stands pylidc's rule, carried out plainly: for every pair of annotations of a scan the full distance
matrix of their points (`scipy.spatial.distance.cdist`), contours parsed one point at a time. That is what
pylidc computes, without its database layer, on the first scans only; the figure is scaled by pairs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from scipy.spatial.distance import cdist

from monai_sf.datasets.lidc import nodule_index
from monai_sf.datasets.lidc_database import Tables, read_tables
from monai_sf.datasets.rendering import render_slice

REPEATS = 3
SCANS_OF_THE_PLAIN_WAY = 40


def best_of(work: Callable[[], object]) -> float:
    """Seconds, the least of a few runs: other load only adds."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def plain_distances(tables: Tables, scans: list[int]) -> int:
    """All distances between annotations of these scans, the plain way; returns how many pairs."""
    contours, pairs = tables.contours, 0
    for scan in scans:
        points = []
        for annotation in tables.annotations.index[tables.annotations["scan_id"] == scan]:
            own = contours.of(int(annotation))
            rows = []
            for i in range(own.start, own.stop):
                k = int(contours.slice_index[i])
                span = range(contours.start[i], contours.start[i + 1])
                rows += [(int(contours.row[p]), int(contours.column[p]), k) for p in span]
            points.append(np.array(rows))
        for a, b in combinations(points, 2):
            cdist(a, b).min()
            pairs += 1
    return pairs


def main() -> None:
    """Print one line a measurement."""
    index_seconds = best_of(nodule_index)
    print(f"nodule_index(), all scans: {index_seconds:.2f} s (best of {REPEATS})")

    tables = read_tables()
    per_scan = tables.annotations.groupby("scan_id").size()
    all_pairs = int((per_scan * (per_scan - 1) // 2).sum())
    scans = per_scan.index[:: len(per_scan) // SCANS_OF_THE_PLAIN_WAY].tolist()
    start = time.perf_counter()
    pairs = plain_distances(tables, scans)
    plain = (time.perf_counter() - start) * all_pairs / pairs
    print(f"plain distances, {len(scans)} scans scaled to all {all_pairs} pairs: {plain:.0f} s")
    print(f"ratio: {plain / index_seconds:.0f}")

    nodules, contours = nodule_index().iloc[::13].to_dict("records"), read_tables().contours

    def render() -> None:
        for nodule in nodules:
            for k in nodule["slice_indices"]:
                render_slice(nodule, k, contours)

    start_cpu = time.process_time()
    wall = best_of(render)
    cpu = (time.process_time() - start_cpu) / REPEATS
    count = 5 * len(nodules)
    print(f"render_slice, {count} slices: {1000 * wall / count:.2f} ms each, CPU {1000 * cpu / count:.2f} ms")


if __name__ == "__main__":
    main()
