"""Case tables of one's own data, from any table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from monai_sf.datasets.any_table import read_any
from monai_sf.datasets.conditions import did_you_mean
from monai_sf.datasets.own_rows import ROLES, Builder
from monai_sf.datasets.reading import MISSING
from monai_sf.datasets.studies import STUDIES
from monai_sf.datasets.table_rows import TableError

__all__ = ["check_arguments", "table_cases", "table_images"]

_OF_IMAGES = ("image", "case_id", "slice")


def table_cases(
    table: str | Path | pd.DataFrame,
    dataset_dir: str | Path,
    *,
    columns: Mapping[str, str | Sequence[str]],
    classes: Sequence[str] | None = None,
    channels: Sequence[str | int] = (),
    dataset: str = "own",
    missing: str = "raise",
    encoding: str | None = None,
    sheet: str | None = None,
    unknown: Sequence[str] = (),
) -> pd.DataFrame:
    """Build the case table of one's own images from any table, one row per case; nothing is written.

    Text stays text: 007, 1e5, NA and nan are what they are, and only an empty cell is missing. All columns
    without a role are kept under their names, for studies, subgroups and reports; one that is called like a
    column of the case table gets the prefix ``table_``. So is the column of the source under its own name.

    Args:
        table: A DataFrame, or a file: text (``.csv``, ``.tsv``, ``.tab``, ``.txt``, also with ``.gz``) with
            commas, semicolons or tabs, Excel (``.xlsx``, ``.xlsm``) or Parquet (``.parquet``, ``.pq``).
        dataset_dir: Folder that the images' paths are relative to.
        columns: Roles to the table's columns. ``image`` (path) and ``label`` are needed; ``group`` is what
            must not be split between training and test, mostly the patient, ``source`` where the case comes
            from, ``case_id`` a unique id (default: the path), ``split`` an own split into train, val,
            calibration, iid (or test) and target, ``slice`` the place of a 2-D image in a volume. Instead of
            a column, ``image`` may be a pattern such as ``"images/{id}.png"``, in which the names of columns
            stand in braces, or a list of columns or patterns, one per channel file.
        classes: Names of the classes, in the order of the labels 0..C-1, or what the numbers 0..C-1 in the
            column mean. None: all that occur, in alphabetical order, or by number if all are whole numbers.
        channels: What ``{channel}`` in the pattern of the images stands for, one per channel file.
        dataset: Name of the dataset; that of a published one is refused.
        missing: What to do about images that the folder lacks: ``raise``, ``drop`` or ``keep``.
        encoding: Of a text file that is neither UTF-8 nor UTF-16.
        sheet: Of an Excel file with several sheets.
        unknown: Labels that are none of the classes, such as ``["other"]``. Their cases have the label -1 and
            their own ``label_name``; they are never trained on, and tested in studies of new classes only.

    Returns:
        A new table with the columns of :func:`monai_sf.datasets.build_cases`; ``image`` is a list where there
        are several channel files. ``attrs`` has the same entries, and ``classes``, the names in order.

    Raises:
        TableError: If the table or a row is faulty; names all faults with row and column.
        MissingImagesError: If images are missing and ``missing`` is ``raise`` (or all are).
        ValueError: If an argument is wrong, or several files match an image and their content differs.
        FileNotFoundError: If the table or the folder does not exist.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import table_cases
        >>> table = pd.DataFrame({"id": ["007", "008"], "finding": ["cancer", "benign"]})
        >>> table["patient"] = ["Ann", "Bob"]
        >>> roles = {"image": "scans/{id}.png", "label": "finding", "group": "patient"}
        >>> cases = table_cases(
        ...     table, ".", columns=roles, classes=["benign", "cancer"], missing="keep"
        ... )
        >>> cases[["image", "label", "group"]].values.tolist()
        [['scans/007.png', 1, 'Ann'], ['scans/008.png', 0, 'Bob']]
    """
    check_arguments(columns, missing, dataset)
    own = read_any(table, encoding=encoding, sheet=sheet)
    return Builder(own, dataset_dir, columns, channels, dataset).build(classes, missing, unknown)


def table_images(
    table: str | Path | pd.DataFrame,
    dataset_dir: str | Path,
    *,
    columns: Mapping[str, str | Sequence[str]],
    channels: Sequence[str | int] = (),
    encoding: str | None = None,
    sheet: str | None = None,
) -> pd.DataFrame:
    """Return the images that a table names, which needs no labels.

    Args:
        table: As of :func:`table_cases`.
        dataset_dir: Folder that the images' paths are relative to.
        columns: As of :func:`table_cases`; roles other than ``image``, ``slice`` and ``case_id`` are ignored.
            Those not given are columns of these names, if there are any.
        channels: As of :func:`table_cases`.
        encoding: As of :func:`table_cases`.
        sheet: As of :func:`table_cases`.

    Returns:
        ``case_id`` (str), ``image`` (path relative to the folder, or a list of the channels' paths) and, if
        the table names it, ``slice`` (int). Images that are not there keep their row.

    Raises:
        TableError: As :func:`table_cases`.
        ValueError: As :func:`table_cases`.
        FileNotFoundError: As :func:`table_cases`.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import table_images
        >>> worklist = pd.DataFrame(
        ...     {"accession": ["007", "008"], "file": ["a.dcm", "b.dcm"]}
        ... )
        >>> worklist.to_csv("worklist.csv", index=False)
        >>> roles = {"image": "file", "case_id": "accession"}
        >>> table_images("worklist.csv", ".", columns=roles).values.tolist()
        [['007', 'a.dcm'], ['008', 'b.dcm']]
    """
    own = read_any(table, encoding=encoding, sheet=sheet)
    known = {role: role for role in _OF_IMAGES if role in own.frame} | {
        role: columns[role] for role in _OF_IMAGES if role in columns
    }
    if "image" not in known:
        raise TableError(
            f"{own.name}: no column is called image: name the column of the paths, columns={{'image': ...}}; "
            f"there are {', '.join(map(repr, own.frame.columns))}"
        )
    return Builder(own, dataset_dir, known, channels, "new images").images()


def check_arguments(columns: Mapping[str, Any], missing: str, dataset: str) -> None:
    """Check the arguments of :func:`table_cases` that need no table.

    Raises:
        ValueError: If a role, ``missing`` or the dataset's name cannot be used; says all that is wrong with
            the roles.
    """
    if not isinstance(columns, Mapping):
        raise ValueError(f"columns must map roles to columns of the table, got {columns!r}")
    faults = [
        f"unknown role {role!r}{did_you_mean(str(role), ROLES)}" for role in columns if role not in ROLES
    ]
    faults += [f"no column for {role}" for role in ROLES[:2] if role not in columns]
    faults += [
        f"{role} must be the name of a column, got {column!r}"
        for role, column in columns.items()
        if not (isinstance(column, str) or (role == "image" and _is_list(column)))
    ]
    if faults:
        raise ValueError(f"columns: {'; '.join(faults)}. The roles are {', '.join(ROLES)}")
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {', '.join(MISSING)}, got {missing!r}")
    if dataset in STUDIES:
        raise ValueError(f"dataset must not be the name of a published dataset, {dataset!r}: choose another")


def _is_list(column: object) -> bool:
    return isinstance(column, (list, tuple)) and bool(column) and all(isinstance(one, str) for one in column)
