"""Published tables: found by name and columns, read in part, with errors that name the fault."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monai_sf.datasets.table_rows import TableError, read_cells, split_header
from monai_sf.datasets.texts import TEXT, distinct, text_column
from monai_sf.datasets.tree import TableFile, Tree

__all__ = [
    "LARGEST_TABLE",
    "TableError",
    "check_same_rows",
    "check_unique",
    "find_table",
    "read_columns",
    "read_header",
    "table_content",
    "whole_numbers",
]


LARGEST_TABLE = 2**29
"""Bytes; an archive of a few megabytes can unpack to a thousand times as many."""

_LONGEST_LINE = 2**20
_READ_AT_ONCE = 2**20
_ENCRYPTED = 1


def find_table(
    tree: Tree,
    name: str,
    columns: Sequence[str],
    wanted: Sequence[str] = (),
    *,
    telling: bool = False,
    note: Callable[[str], None] | None = None,
) -> TableFile | None:
    """Find the table of that name with these columns.

    Args:
        tree: The files to search.
        name: Regular expression for the whole file name, in lower case and without ``.gz``. Excel files are
            ignored.
        columns: Required columns; "a|b" stands for a column of either name.
        wanted: Optional columns: of several tables the one with most of these is chosen, of equal ones with
            the same rows in these columns, in any order, the first.
        telling: Whether the name alone identifies the table, so that a missing column is a fault. Other
            names, like train.csv, may belong to other tables.
        note: Called with a remark on which of several tables was chosen.

    Returns:
        The table, or None if no file of that name has half of the columns, in any letter case.

    Raises:
        TableError: If a file of that name has half of the columns but not all, repeats one, is empty or
            cannot be read (names all); or if several differ and none has more of the wanted columns than the
            others.
    """
    candidates = [
        table for table in tree.tables if re.fullmatch(name, table.name) and not table.name.endswith(".xlsx")
    ]
    whole: list[tuple[int, TableFile]] = []
    faulty: list[str] = []
    broken: list[str] = []
    for table in candidates:
        try:
            header = read_header(tree, table)
        except TableError as error:
            broken.append(str(error))
            continue
        absent = _absent(columns, header)
        if not absent:
            whole.append((sum(column in header for column in wanted), table))
        elif not header:
            faulty.append(f"{table} is empty")
        elif telling or 2 * len(_absent([c.lower() for c in columns], [h.lower() for h in header])) <= len(
            columns
        ):
            faulty.append(f"{table} lacks the columns {', '.join(absent)}; it has {', '.join(header)}")
    if broken:
        raise TableError("; ".join(broken))
    if not whole:
        if faulty:
            raise TableError("; ".join(faulty) + ". Download it again, or move it out of the folder")
        return None
    best = [table for count, table in whole if count == max(count for count, _ in whole)]
    if len(best) > 1:
        used = [name for column in (*columns, *wanted) for name in column.split("|")]
        check_same_rows(best, [_rows(tree, table, used) for table in best], note)
    return best[0]


def check_same_rows(
    tables: Sequence[TableFile], rows: Sequence[pd.DataFrame], note: Callable[[str], None] | None = None
) -> None:
    """Raise TableError if equally suitable tables differ in more than the order of rows."""
    listed = ", ".join(map(str, tables))
    first, *others = (frame.sort_values(frame.columns.tolist(), ignore_index=True) for frame in rows)
    if not all(first.equals(other) for other in others):
        raise TableError(
            f"several tables match, and their rows differ: {listed}. Keep one of them in the folder"
        )
    if note is not None:
        note(f"{listed} hold the same rows; the first is read")


def _rows(tree: Tree, table: TableFile, columns: Sequence[str]) -> pd.DataFrame:
    header = read_header(tree, table)
    return read_columns(tree, table, [name for name in columns if name in header])


def _absent(columns: Sequence[str], header: Sequence[str]) -> list[str]:
    return [column for column in columns if not set(column.split("|")) & set(header)]


def read_header(tree: Tree, table: TableFile) -> list[str]:
    """Return the names of the columns as in the first line; none if the file is empty."""
    with _open(tree, table) as file:
        content = file.read(_LONGEST_LINE)
    cut = len(content) == _LONGEST_LINE
    text = _text(table, content, cut=cut).lstrip("\r\n")
    line = re.split("[\r\n]", text, maxsplit=1)[0]
    if cut and line == text:
        raise TableError(
            f"the first line of {table} is longer than {_LONGEST_LINE:,} bytes: it is not a table. "
            "Move it out of the folder"
        )
    return split_header(line)


def read_columns(
    tree: Tree, table: TableFile, columns: Sequence[str], *, numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Read some columns of a table, by their place in the header.

    See :func:`monai_sf.datasets.table_rows.read_cells` for the checks.

    Args:
        tree: The files that include the table.
        table: The table.
        columns: Columns to read as text, empty cells as NaN.
        numbers: Columns to read as numbers, empty cells as NaN.

    Raises:
        TableError: If columns are missing or repeated, there is no row, the numbers of cells in rows and
            header differ, a quote never closes, the last row is truncated, or a number is invalid.
    """
    cells = read_cells(table, _utf8(table, table_content(tree, table)), (*columns, *numbers))
    frame: dict[str, pd.Series | npt.NDArray[np.float64]] = {}
    for name in columns:
        frame[name] = text_column(cells.pop(0))
    strange: list[str] = []
    for name in numbers:
        own = cells.pop(0)
        code = own.dictionary_encode().combine_chunks()  # labels are few texts in very many rows
        texts = pd.Series(code.dictionary.to_pylist(), dtype=object)
        values = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
        if np.isnan(values).any():
            wrong = own.filter(pc.is_in(own, value_set=pa.array(texts[np.isnan(values)], TEXT)))
            first = pc.unique(wrong).to_pylist()[:5]
            strange.append(f"{name} has {len(wrong)} other values (first: {', '.join(map(repr, first))})")
        frame[name] = np.append(values, np.nan)[code.indices.fill_null(len(values)).to_numpy()]
    if strange:
        raise TableError(f"{table} has columns that must be numbers: {'; '.join(strange)}")
    return pd.DataFrame(frame)


def whole_numbers(table: TableFile, values: pd.Series, column: str) -> pd.Series:
    """Return integer ids as digits; other programs write "10000032.0" for 10000032.

    Raises:
        TableError: If an id is missing or not an integer; names the rows.
    """
    digits = values.str.replace(r"\.0*$", "", regex=True)
    wrong = ~digits.str.fullmatch(r"[0-9]+").fillna(False).to_numpy(np.bool_)
    if wrong.any():
        rows = np.flatnonzero(wrong)
        listed = ", ".join(f"row {row + 1} ({values.iloc[row]!r})" for row in rows[:10])
        raise TableError(f"{table}: {column} must be whole numbers, {len(rows)} are not (first: {listed})")
    return digits


def check_unique(table: TableFile, values: pd.Series, column: str) -> None:
    """Raise TableError if an id is missing or occurs in two rows, in any letter case."""
    if values.isna().any():
        raise TableError(f"{table}: {int(values.isna().sum())} rows have no {column}")
    if distinct(values, pc.utf8_lower):
        return
    twice = values[values.str.lower().duplicated()].unique()
    if len(twice):
        raise TableError(
            f"{table}: {len(twice)} {column} occur in more than one row (first: {', '.join(twice[:5])})"
        )


@contextmanager
def _open(tree: Tree, table: TableFile) -> Iterator[IO[bytes]]:
    """Open the unpacked bytes of a table, which are read on demand."""
    path = tree.root / table.path
    packed = (table.member or table.path).lower().endswith(".gz")
    with ExitStack() as stack:
        try:
            file: IO[bytes]
            if table.member is not None:
                archive = stack.enter_context(zipfile.ZipFile(path))
                if archive.getinfo(table.member).flag_bits & _ENCRYPTED:
                    raise TableError(f"{table} is encrypted: unpack it with its password, or move it away")
                file = stack.enter_context(archive.open(table.member))
            else:
                file = stack.enter_context(path.open("rb"))
            if packed:
                file = cast(IO[bytes], stack.enter_context(gzip.open(file)))
            yield file
        except NotImplementedError as error:  # an unsupported compression
            raise TableError(f"{table} cannot be unpacked here ({error}): unpack it by hand") from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
            raise TableError(f"{table} is damaged ({error}). Download it again") from error


def table_content(tree: Tree, table: TableFile) -> bytes:
    """Return the unpacked bytes of a table.

    Raises:
        TableError: If they exceed the size of any published table, as a small archive can.
    """
    content = io.BytesIO()  # it grows with the table; one read of so many bytes takes half a gigabyte
    with _open(tree, table) as file:
        while part := file.read(_READ_AT_ONCE):
            content.write(part)
            if content.tell() > LARGEST_TABLE:
                raise TableError(
                    f"{table} unpacks to more than {LARGEST_TABLE:,} bytes: it is not one of the published "
                    "tables. Move it out of the folder"
                )
    return content.getvalue()


def _utf8(table: TableFile, content: bytes) -> bytes:
    """Return a whole table's text in UTF-8, without the mark that may stand before it."""
    return content if content.isascii() else _text(table, content).encode()


def _text(table: TableFile, content: bytes, *, cut: bool = False) -> str:
    """Decode UTF-8, UTF-16, or a Windows encoding; the last character may be truncated."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return codecs.getincrementaldecoder("utf-16")().decode(content, final=not cut)
        except UnicodeDecodeError as error:
            raise TableError(f"{table} is not complete UTF-16 text ({error}). Download it again") from error
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(content, final=not cut)
    except UnicodeDecodeError:
        return content.removeprefix(codecs.BOM_UTF8).decode("cp1252", errors="replace")
