"""A table of one's own, as it is: CSV, Excel, Parquet or a DataFrame; no text becomes a number or is lost."""

from __future__ import annotations

import codecs
import csv
import datetime
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monai_sf.datasets.conditions import text_of
from monai_sf.datasets.table_rows import (
    TableError,
    check_not_repeated,
    iterate_rows,
    read_cells,
    split_header,
)
from monai_sf.datasets.tables import table_content
from monai_sf.datasets.texts import AT_ONCE, TEXT, Texts, arrow_texts, is_text, stripped, text_column
from monai_sf.datasets.tree import TableFile, Tree

__all__ = ["AnyTable", "as_kept", "as_texts", "read_any"]

_TEXT = (".csv", ".tsv", ".tab", ".txt")
_EXCEL = (".xlsx", ".xlsm")
_PARQUET = (".parquet", ".pq")
_EXCEL_ERRORS = frozenset(("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"))
_PLAIN_NUMBER = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?$"
_LARGEST = 2**63
_MOST_LISTED = 20


@dataclass(frozen=True)
class AnyTable:
    """A table that was read.

    Attributes:
        name: In messages.
        frame: Columns with unique names; cells of text files are text, others as the file has them. Empty
            cells are None or NaN.
        rows: Returns the number of each row in the file, as spreadsheets show it.
        notes: What was left out.
    """

    name: str
    frame: pd.DataFrame
    rows: Callable[[], Sequence[int]]
    notes: tuple[str, ...] = ()


def read_any(
    table: str | Path | pd.DataFrame, *, encoding: str | None = None, sheet: str | None = None
) -> AnyTable:
    """Read a table.

    Args:
        table: A DataFrame, or a file: text (``.csv``, ``.tsv``, ``.tab``, ``.txt``, also with ``.gz``) with
            commas, semicolons or tabs, Excel (``.xlsx``, ``.xlsm``) or Parquet (``.parquet``, ``.pq``).
        encoding: Of a text file that is neither UTF-8 nor UTF-16, such as ``cp1252``.
        sheet: Of an Excel file with several sheets.

    Raises:
        FileNotFoundError: If there is no such file.
        TableError: If it cannot be read, is empty, or repeats the name of a column; names the rows.
    """
    if isinstance(table, pd.DataFrame):
        return _of_frame("the table", table)
    path = Path(table)
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}")
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if sheet is not None and kind not in _EXCEL:
        raise ValueError(f"sheet is for Excel files, and {path.name} is none")
    if encoding is not None and kind not in _TEXT:
        raise ValueError(f"encoding is for text files, and {path.name} is none")
    if kind in _TEXT:
        return _of_text(path, encoding)
    if kind in _EXCEL:
        return _of_excel(path, sheet)
    if kind in _PARQUET:
        try:
            return _of_frame(path.name, pd.read_parquet(path))
        except (ValueError, OSError) as error:
            raise TableError(f"{path.name} is not a Parquet table ({error})") from error
    raise TableError(
        f"{path.name} is of no known kind: save it as one of {', '.join((*_TEXT, *_EXCEL, *_PARQUET))}"
    )


def _of_frame(name: str, frame: pd.DataFrame) -> AnyTable:
    if any(index is not None for index in frame.index.names):
        frame = frame.reset_index()
    header = [str(column) for column in frame.columns]
    check_not_repeated(name, header, header)
    if frame.empty:
        raise TableError(f"{name} holds no row")
    frame = frame.set_axis(header, axis=1).reset_index(drop=True)
    return AnyTable(name, frame, lambda: range(1, len(frame) + 1))


def _of_text(path: Path, encoding: str | None) -> AnyTable:
    content = _utf8(path, encoding)
    first = re.search(b"[^\r\n]+", content)
    if first is None:
        raise TableError(f"{path.name} is empty")
    header = [name for name in split_header(first[0].decode()) if name]
    if not header:
        raise TableError(f"{path.name} has no names of columns in its first line")
    cells = read_cells(path.name, content, header, empty=("",))
    frame = pd.DataFrame({name: text_column(own) for name, own in zip(header, cells, strict=True)})
    # Read again for faults only, since it takes as much memory as the cells.
    return AnyTable(
        path.name, frame, lambda: [line for line, _ in iterate_rows(path.name, _utf8(path, encoding))][1:]
    )


def _utf8(path: Path, encoding: str | None) -> bytes:
    """Return the text of a file in UTF-8."""
    content = table_content(Tree(path.parent, (), (), {}, {}, ()), TableFile(path.name))
    if encoding is not None or not content.isascii():
        content = _decoded(path.name, content, encoding).encode()
    if b"\0" in content:
        raise TableError(
            f"{path.name} is not a text table, or has an encoding that must be named: it holds zero bytes"
        )
    return content


def _decoded(name: str, content: bytes, encoding: str | None) -> str:
    if encoding is not None:
        try:
            return content.decode(encoding)
        except LookupError:
            raise ValueError(
                f"unknown encoding {encoding!r}; known are utf-8, cp1252, latin-1, ..."
            ) from None
        except UnicodeDecodeError as error:
            raise TableError(f"{name} is not {encoding} text ({error})") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        return content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        found = list(_not_utf8(content)) if encoding is None else [str(error)]
        more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
        raise TableError(
            f'{name} is not UTF-8 text: {"; ".join(found[:_MOST_LISTED])}{more}. Save it as "CSV UTF-8", or '
            "name its encoding, such as encoding='cp1252' (Windows)"
        ) from error


def _not_utf8(content: bytes) -> list[str]:
    """Return rows and columns that are not UTF-8."""
    lines = content.splitlines()
    header = split_header(lines[0].decode("utf-8", "backslashreplace").lstrip("\ufeff"))
    delimiter = max("\t;,", key=lines[0].decode("latin-1").count)
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            line.decode()
        except UnicodeDecodeError:
            text = line.decode("utf-8", "backslashreplace")
            cells = next(csv.reader([text], delimiter=delimiter), [])
            wrong = [
                f"column {column!r} ({cell})"
                for column, cell in zip(header, cells, strict=False)
                if re.search(r"\\x[0-9a-f]{2}", cell)
            ]
            found.append(f"row {number}, {', '.join(wrong) or 'a cell'}")
    return found


def _of_excel(path: Path, sheet: str | None) -> AnyTable:
    import openpyxl  # most tables need no Excel reader

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise TableError(f"{path.name} is not an Excel table ({error})") from error
    try:
        read = {name: _sheet_rows(book[name]) for name in book.sheetnames if sheet in (None, name)}
    finally:
        book.close()
    full = {name: rows for name, rows in read.items() if rows}
    if sheet is not None and sheet not in read:
        raise TableError(f"{path.name} has no sheet {sheet!r}; it has {', '.join(book.sheetnames)}")
    if not full:
        raise TableError(f"{path.name} is empty")
    if len(full) > 1:
        raise TableError(f"{path.name} has several sheets: name one with sheet=..., of {', '.join(full)}")
    ((name, rows),) = full.items()
    label = path.name if len(book.sheetnames) == 1 else f"{path.name}, sheet {name}"
    (number, first), *others = rows
    header = ["" if cell is None else text_of(cell).strip() for cell in first]
    places = [k for k, column in enumerate(header) if column]
    header = [header[k] for k in places]
    check_not_repeated(label, header, header)
    if not others:
        raise TableError(f"{label} holds no row below its header (row {number})")
    columns = {column: [row[k] for _, row in others] for k, column in zip(places, header, strict=True)}
    wrong = [
        f"row {row}, column {column!r} ({cell})"
        for column, cells in columns.items()
        for (row, _), cell in zip(others, cells, strict=True)
        if isinstance(cell, str) and cell in _EXCEL_ERRORS
    ]
    if wrong:
        more = f" and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
        raise TableError(
            f"{label} has formulas that failed: {'; '.join(wrong[:_MOST_LISTED])}{more}. Repair or empty them"
        )
    numbers = [row for row, _ in others]
    return AnyTable(label, pd.DataFrame(columns, dtype=object), lambda: numbers)


def _sheet_rows(sheet: Any) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the rows that are not empty, all of one length, each with its number."""
    if not hasattr(sheet, "iter_rows"):  # a sheet that is a chart
        return []
    sheet.reset_dimensions()  # some programs write wrong ones
    found = []
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = tuple(cell.strip() or None if isinstance(cell, str) else cell for cell in row)
        if any(cell is not None for cell in cells):
            found.append((number, cells))
    width = max((len(row) for _, row in found), default=0)
    return [(number, (*row, *[None] * (width - len(row)))) for number, row in found]


def as_texts(column: pd.Series) -> Texts:
    """Return the cells as text without blanks around them, null where one is empty.

    Whole numbers have no decimal point (a missing value turns 7 into 7.0), dates are written as ISO 8601.
    """
    if is_text(column):
        texts = stripped(arrow_texts(column))
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, TEXT), texts)
    cells = column.tolist()
    parts = [
        pa.array(list(map(_as_text, cells[start : start + AT_ONCE])), TEXT)
        for start in range(0, len(cells), AT_ONCE)
    ]
    return pa.chunked_array(parts, TEXT)


def _as_text(cell: Any) -> str | None:
    if isinstance(cell, str):
        return cell.strip() or None
    if cell is None or (pd.api.types.is_scalar(cell) and pd.isna(cell)):
        return None
    if isinstance(cell, datetime.datetime):
        return cell.date().isoformat() if cell.time() == datetime.time() else cell.isoformat(" ")
    if isinstance(cell, datetime.date):
        return cell.isoformat()
    return text_of(cell).strip() or None


def as_kept(column: pd.Series) -> pd.Series:
    """Return a column that is only kept: numbers where all cells are, else text, missing where empty.

    Texts are numbers if each is written as a plain decimal (no leading zero, no exponent), and no two mean
    the same number: codes such as 007, 1e5, 1.10 beside 1.1 stay text.
    """
    if pd.api.types.is_bool_dtype(column) and not column.isna().any():
        return column.astype(np.bool_)
    if not is_text(column):
        cells = [None if _as_text(cell) is None else cell for cell in column.tolist()]
        known = {type(cell) for cell in cells if cell is not None}
        if known and known <= {int, float}:
            whole = known == {int} and all(cell is not None and abs(cell) < _LARGEST for cell in cells)
            return pd.Series(cells, index=column.index, dtype=np.int64 if whole else np.float64)
    texts = as_texts(column)
    numeric = pc.match_substring_regex(texts, _PLAIN_NUMBER)
    if texts.null_count < len(texts) and pc.all(numeric).as_py():
        code = texts.dictionary_encode().combine_chunks()
        distinct = code.dictionary.to_pylist()
        numbers = np.array([*map(float, distinct), np.nan])
        if len(set(numbers[:-1].tolist())) == len(distinct):
            whole = not texts.null_count and not any("." in text for text in distinct)
            own = numbers[code.indices.fill_null(len(distinct)).to_numpy()]
            return pd.Series(own.astype(np.int64) if whole else own, index=column.index)
    return text_column(texts, column.index)
