"""Header and cells of delimited text; every row is checked against the header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv_of_arrow

from monai_sf.datasets.texts import AT_ONCE, TEXT, Texts, stripped

__all__ = ["MISSING_CELLS", "TableError", "check_not_repeated", "iterate_rows", "read_cells", "split_header"]

MISSING_CELLS = frozenset(
    (
        *("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    )
)
"""Texts that denote an empty cell; pandas' list."""

_MOST_LISTED = 50


class TableError(ValueError):
    """A published table is faulty; the message names the file and the fault.

    Examples:
        >>> import pandas as pd
        >>> from monai_sf.datasets import TableError, table_cases
        >>> table = pd.DataFrame({"file": ["a.png", "a.png"], "finding": ["benign", ""]})
        >>> try:
        ...     table_cases(table, ".", columns={"image": "file", "label": "finding"})
        ... except TableError as error:
        ...     print(error)
        the table has 2 faults:
          column 'finding': no label, 1 rows: row 2
          column 'finding' has one class only, 'benign': there is nothing to tell apart
    """


def split_header(line: str) -> list[str]:
    """Return the names of the columns in a table's first line; none if it is not text."""
    try:
        return _names(next(csv.reader([line], delimiter=_delimiter(line)), []))
    except csv.Error:  # a binary file with a table's name
        return []


def check_not_repeated(table: object, header: Sequence[str], columns: Sequence[str]) -> None:
    """Raise TableError if a needed column occurs more than once, in any letter case."""
    plain = [name.casefold() for name in header]
    names = [name for column in columns for name in column.split("|")]
    places = {name: [k for k, one in enumerate(plain, start=1) if one == name.casefold()] for name in names}
    if repeated := {name: where for name, where in places.items() if len(where) > 1}:
        listed = "; ".join(f"{name} (columns {', '.join(map(str, k))})" for name, k in repeated.items())
        raise TableError(
            f"{table} names columns more than once: {listed}. They are ambiguous: keep one of each"
        )


def read_cells(
    table: object, content: bytes, columns: Sequence[str], empty: Collection[str] = MISSING_CELLS
) -> list[Texts]:
    """Return the cells of some columns, stripped; null where one is empty.

    Every row must have as many cells as the first line has names. One published table has unquoted commas in
    its names, and a cell below each part. A trailing delimiter of the header or of all rows is not a column;
    in some rows only it is a fault, since these may have been shifted.

    Args:
        table: Its name in messages.
        content: Its text in UTF-8; lines may end as on Unix, Windows or old Macs. Empty lines are skipped.
        columns: Names of columns.
        empty: Texts that denote an empty cell.

    Returns:
        One column of texts each, all of the same length.

    Raises:
        TableError: If columns are missing or repeated, there is no row, the numbers of cells in rows and
            header differ (names all), a quote never closes, or the last row is truncated.
    """
    lines = iterate_rows(table, content)
    _, first = next(lines, (1, []))
    header = _names(first)
    absent = [name for name in columns if name not in header]
    if absent:
        raise TableError(f"{table} lacks the columns {', '.join(absent)}; it has {', '.join(header)}")
    check_not_repeated(table, header, columns)
    named = max(k for k, name in enumerate(header, start=1) if name)
    places = [header.index(name) for name in columns]
    texts = _plain_columns(content, len(header), places) if named == len(header) else None
    if texts is None:
        texts = _careful_columns(table, content, lines, header, named, places)
    # one after the other, so that no two versions of all are in memory
    return [_meant(texts.pop(0), empty) for _ in places]


def _careful_columns(
    table: object,
    content: bytes,
    lines: Iterator[tuple[int, list[str]]],
    header: Sequence[str],
    named: int,
    places: Sequence[int],
) -> list[Texts]:
    """Return the columns at some places of any rows, each of which is checked."""
    width = len(header)
    parts: list[list[pa.Array]] = [[] for _ in places]
    odd = _OddRows()
    picked, last = 0, 0
    while rows := list(islice(lines, AT_ONCE)):
        kept = []
        for last, row in rows:
            if len(row) != width or named < width:
                spare = len(row) >= named and not any(row[named:])
                if len(row) != width or not spare:
                    odd.add(last, len(row), spare)
                    if not spare:
                        continue
            kept.append(row)
        picked += len(kept)
        for part, place in zip(parts, places, strict=True):
            part.append(pa.array([row[place] for row in kept], type=TEXT))
    # a delimiter too many, or too few, at the end of every row
    alike = odd.count == picked and odd.all_spare and len(odd.widths) == 1
    if odd.count and not alike:
        raise TableError(_uneven(table, content, header, odd, last))
    if not picked:
        raise TableError(
            f"{table} holds no row below its header: it is incomplete, or not the table that is meant"
        )
    return [pa.chunked_array(part, type=TEXT) for part in parts]


class _OddRows:
    """The rows that do not fit a header: how many, the first ones, and whether all are odd in one way."""

    def __init__(self) -> None:
        self.count, self.all_spare = 0, True
        self.widths: set[int] = set()
        self.first: list[tuple[int, int]] = []

    def add(self, line: int, cells: int, spare: bool) -> None:
        """Add a row; spare if only empty cells are surplus."""
        self.count += 1
        self.all_spare &= spare
        self.widths.add(cells)
        if len(self.first) < _MOST_LISTED:
            self.first.append((line, cells))


def _meant(texts: Texts, empty: Collection[str]) -> Texts:
    """Return texts without blanks around them, null for those that denote an empty cell."""
    texts = stripped(texts)
    missing = pc.is_in(texts, value_set=pa.array(sorted(empty), TEXT))
    return pc.if_else(missing, pa.scalar(None, TEXT), texts) if pc.any(missing).as_py() else texts


def _plain_columns(content: bytes, width: int, places: Sequence[int]) -> list[Texts] | None:
    """Return the columns at some places, or None unless every row is one line with a cell for each name.

    All published tables are like that, and Arrow reads these many times as fast as rows are checked here.
    """
    if not places or width < 2 or not content[:1].strip(b"\r\n") or b'"' in content or b"\0" in content:
        return None
    if content.count(b"\r") != content.count(b"\r\n"):
        return None
    names = list(map(str, range(width)))
    picked = [names[place] for place in places]
    try:
        read = csv_of_arrow.read_csv(
            pa.py_buffer(content),
            csv_of_arrow.ReadOptions(use_threads=False, skip_rows=1, column_names=names),
            csv_of_arrow.ParseOptions(delimiter=_reader(content)[1], quote_char=False),
            csv_of_arrow.ConvertOptions(include_columns=picked, column_types=dict.fromkeys(picked, TEXT)),
        )
    except pa.ArrowInvalid:  # rows of other lengths, or none, or lines of megabytes
        return None
    return [read[name] for name in picked] if len(read) else None


def iterate_rows(table: object, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a text in UTF-8 that are not empty, each with the number of its last line."""
    reader, delimiter = _reader(content)
    width, before = 0, 0
    try:
        for row in reader:
            line, lines = reader.line_num, reader.line_num - before
            before = line
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            width = width or len(row)
            if lines > 1 and any(
                cell.count(delimiter) >= width - 1 for cell in row if "\n" in cell or "\r" in cell
            ):
                raise TableError(
                    f"{table}, line {line - lines + 1}: a quote opens a cell that holds whole rows, up to "
                    f"line {line}: it may never have been closed. Download it again, or repair it"
                )
            yield line, row
    except csv.Error as error:
        raise TableError(
            f"{table}, line {before + 1}: cannot be read ({error}): is there a quote that never closes? "
            "Download it again, or repair it"
        ) from error


def _reader(content: bytes) -> tuple[Any, str]:
    first = re.search(b"[^\r\n]+", content)
    delimiter = _delimiter(first[0].decode() if first else "")
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
    # strict: a quote that never closes, or text after a closing one, could silently swallow rows
    return csv.reader(text, delimiter=delimiter, strict=True), delimiter


def _uneven(table: object, content: bytes, header: Sequence[str], odd: _OddRows, last: int) -> str:
    line, cells = odd.first[0]
    if odd.count == 1 and line == last and cells < len(header) and not content.endswith((b"\n", b"\r")):
        return f"{table} ends in the middle of a row. Download it again"
    listed = ", ".join(f"line {line} ({cells} cells)" for line, cells in odd.first)
    more = f" and {odd.count - _MOST_LISTED} more" if odd.count > _MOST_LISTED else ""
    spare = "" if header[-1] else ", and there is text below cells without a name"
    return (
        f"{table}: the header has {len(header)} cells, and {odd.count} rows do not fit it{spare}: "
        f"{listed}{more}. A missing or surplus cell shifts those after it: download it again, or repair it"
    )


def _names(cells: Sequence[str]) -> list[str]:
    return [name.strip("\ufeff \t") for name in cells]


def _delimiter(line: str) -> str:
    return max("\t;,", key=lambda mark: (mark == "\t" and mark in line, line.count(mark)))
