"""Published tables: find them by name and columns, read the columns that are needed, say what is wrong."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, cast

import pandas as pd

from monai_sf.datasets.tree import TableFile, Tree

__all__ = [
    "TableError",
    "check_same_rows",
    "check_unique",
    "find_table",
    "read_columns",
    "read_header",
    "table_content",
]


class TableError(ValueError):
    """A published table is not as it should be; names the file and what is wrong in it."""


def find_table(
    tree: Tree,
    name: str,
    columns: Sequence[str],
    wanted: Sequence[str] = (),
    *,
    telling: bool = False,
    note: Callable[[str], None] | None = None,
) -> TableFile | None:
    """The table of that name with these columns.

    Args:
        tree: Where to look.
        name: Regular expression that the whole file name matches, in lower case and without ``.gz``. Excel
            files are not looked at.
        columns: What it must hold; "a|b" stands for a column of either name.
        wanted: What it may hold: of several tables the one with most of these is taken. Of equal ones that
            hold the same rows in these columns, in any order, the first is.
        telling: Whether the name alone tells what the table is, so that whatever it lacks is a fault. Of
            other names, like train.csv, there may be tables of something else.
        note: Is told which of several tables is taken.

    Returns:
        The table, or None if no file of that name has half of the columns, in letters of any case.

    Raises:
        TableError: If a file of that name has half of the columns but not all, or is empty; or if several
            differ and none holds more of the wanted columns than the others.
    """
    candidates = [
        table for table in tree.tables if re.fullmatch(name, table.name) and not table.name.endswith(".xlsx")
    ]
    whole: list[tuple[int, TableFile]] = []
    faulty: list[str] = []
    for table in candidates:
        header = read_header(tree, table)
        absent = _absent(columns, header)
        if not absent:
            whole.append((sum(column in header for column in wanted), table))
        elif not header:
            faulty.append(f"{table} is empty")
        elif telling or 2 * len(_absent([c.lower() for c in columns], [h.lower() for h in header])) <= len(
            columns
        ):
            faulty.append(f"{table} lacks the columns {', '.join(absent)}; it has {', '.join(header)}")
    if not whole:
        if faulty:
            raise TableError("; ".join(faulty) + ". Get the file anew, or move it out of the folder")
        return None
    best = [table for count, table in whole if count == max(count for count, _ in whole)]
    if len(best) > 1:
        used = [name for column in (*columns, *wanted) for name in column.split("|")]
        check_same_rows(best, [_rows(tree, table, used) for table in best], note)
    return best[0]


def check_same_rows(
    tables: Sequence[TableFile], rows: Sequence[pd.DataFrame], note: Callable[[str], None] | None = None
) -> None:
    """Raise TableError where tables that could be meant alike differ in more than the order of rows."""
    listed = ", ".join(map(str, tables))
    first, *others = (frame.sort_values(frame.columns.tolist(), ignore_index=True) for frame in rows)
    if not all(first.equals(other) for other in others):
        raise TableError(
            f"several tables could be meant, and their rows differ: {listed}. Keep one of them in the folder"
        )
    if note is not None:
        note(f"{listed} hold the same rows; the first is read")


def _rows(tree: Tree, table: TableFile, columns: Sequence[str]) -> pd.DataFrame:
    header = read_header(tree, table)
    return read_columns(tree, table, [name for name in columns if name in header])


def _absent(columns: Sequence[str], header: Sequence[str]) -> list[str]:
    return [column for column in columns if not set(column.split("|")) & set(header)]


def read_header(tree: Tree, table: TableFile) -> list[str]:
    """Names of the columns as they stand in the first line; none where the file is empty."""
    with _open(tree, table) as file:
        line = _text(file.readline())
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=_delimiter(line)), [])]
    except csv.Error:  # a binary file under a table's name
        return []


def read_columns(
    tree: Tree, table: TableFile, columns: Sequence[str], *, numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Some columns of a table, by their place in the header.

    The header is read apart from the rows, since that of a published table has commas inside of names
    without quotes, behind the columns that are needed.

    Args:
        tree: Where the table lies.
        table: The table.
        columns: Columns to read as text.
        numbers: Columns to read as numbers, empty ones as NaN.

    Raises:
        TableError: If columns are missing, there is no row, the last one is cut off, or a number is none.
    """
    header = read_header(tree, table)
    absent = [name for name in (*columns, *numbers) if name not in header]
    if absent:
        raise TableError(f"{table} lacks the columns {', '.join(absent)}; it has {', '.join(header)}")
    places = sorted((header.index(name), name) for name in (*columns, *numbers))
    types: Mapping[str, type] = {**dict.fromkeys(columns, str), **dict.fromkeys(numbers, float)}
    content = _text(table_content(tree, table))

    def read(types: Mapping[str, type] | type[str]) -> pd.DataFrame:
        text = io.StringIO(content, newline="")
        delimiter = _delimiter(text.readline())
        return pd.read_csv(
            text,
            header=None,
            names=[name for _, name in places],
            usecols=[place for place, _ in places],
            dtype=types,
            sep=delimiter,
            index_col=False,
        )

    try:
        frame = read(types)
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except pd.errors.ParserError as error:
        raise TableError(f"{table} cannot be read: {error}") from error
    except ValueError as error:  # pandas names neither the column nor all of what is wrong in it
        strange = "; ".join(_no_numbers(read(str), numbers))
        raise TableError(f"{table} has columns that must be numbers: {strange or error}") from error
    if _is_cut_off(content):
        raise TableError(f"{table} ends in the middle of a row. Get the file anew")
    if frame.empty:
        raise TableError(f"{table} holds no row. Get the file anew, or move it out of the folder")
    for name in columns:
        frame[name] = frame[name].str.strip()
    return frame[[*columns, *numbers]]


def _is_cut_off(content: str) -> bool:
    """Whether the last row, without a line end, has fewer cells than the first."""
    if content.endswith(("\n", "\r")):
        return False
    lines = content.split("\n", 2)
    if len(lines) < 3:
        return False
    last = content[content.rindex("\n") + 1 :]
    delimiter = _delimiter(lines[0])
    first, final = (next(csv.reader([line], delimiter=delimiter), []) for line in (lines[1], last))
    return 0 < len(final) < len(first)


def _no_numbers(frame: pd.DataFrame, numbers: Sequence[str]) -> Iterator[str]:
    for name in numbers:
        values = frame[name].dropna()
        wrong = values[pd.to_numeric(values, errors="coerce").isna()]
        if len(wrong):
            yield f"{name} has {len(wrong)} other values (first: {', '.join(map(repr, wrong.unique()[:5]))})"


def check_unique(table: TableFile, values: pd.Series, column: str) -> None:
    """Raise TableError where an id is missing or stands in two rows; letter case does not count."""
    if values.isna().any():
        raise TableError(f"{table}: {int(values.isna().sum())} rows have no {column}")
    twice = values[values.str.lower().duplicated()].unique()
    if len(twice):
        raise TableError(
            f"{table}: {len(twice)} {column} stand in more than one row (first: {', '.join(twice[:5])})"
        )


def _delimiter(line: str) -> str:
    return max("\t;,", key=lambda mark: (mark == "\t" and mark in line, line.count(mark)))


@contextmanager
def _open(tree: Tree, table: TableFile) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a table; nothing is read that is not asked for."""
    path = tree.root / table.path
    packed = (table.member or table.path).lower().endswith(".gz")
    with ExitStack() as stack:
        try:
            file: IO[bytes]
            if table.member is not None:
                archive = stack.enter_context(zipfile.ZipFile(path))
                file = stack.enter_context(archive.open(table.member))
            else:
                file = stack.enter_context(path.open("rb"))
            if packed:
                file = cast(IO[bytes], stack.enter_context(gzip.open(file)))
            yield file
        except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise TableError(f"{table} is damaged ({error}). Get the file anew") from error


def table_content(tree: Tree, table: TableFile) -> bytes:
    """The unpacked bytes of a table."""
    with _open(tree, table) as file:
        return file.read()


def _text(content: bytes) -> str:
    """UTF-8, or what programs of Windows write."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="ignore")  # a first line may end within its last character
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
