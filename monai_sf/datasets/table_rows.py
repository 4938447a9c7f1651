"""Header and cells of delimited text; every row is checked against the header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

__all__ = ["MISSING_CELLS", "TableError", "check_not_repeated", "iterate_rows", "read_cells", "split_header"]

MISSING_CELLS = frozenset(
    (
        *("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    )
)
"""Texts that denote an empty cell; pandas' list."""

_MOST_LISTED = 50
_AT_ONCE = 128


class TableError(ValueError):
    """A published table is faulty; the message names the file and the fault."""


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
    table: object, content: str, columns: Sequence[str], empty: Collection[str] = MISSING_CELLS
) -> list[list[str | None]]:
    """Return the cells of some columns, stripped; None where one is empty.

    Every row must have as many cells as the first line has names. One published table has unquoted commas in
    its names, and a cell below each part. A trailing delimiter of the header or of all rows is not a column;
    in some rows only it is a fault, since these may have been shifted.

    Args:
        table: Its name in messages.
        content: Its text; lines may end as on Unix, Windows or old Macs. Empty lines are skipped.
        columns: Names of columns.
        empty: Texts that denote an empty cell.

    Returns:
        One list per column, all of the same length.

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
    width = len(header)
    named = max(k for k, name in enumerate(header, start=1) if name)
    places = [header.index(name) for name in columns]
    if named == width and (plain := _plain_columns(content, first, places, frozenset(empty))) is not None:
        return plain
    pick = itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)
    picked: list[Sequence[str]] = []
    odd: list[tuple[int, int, bool]] = []  # line, cells, whether only empty cells are surplus
    last = 0
    for last, row in lines:
        if len(row) != width or named < width:
            spare = len(row) >= named and not any(row[named:])
            if len(row) != width or not spare:
                odd.append((last, len(row), spare))
                if not spare:
                    continue
        picked.append(pick(row))
    # a delimiter too many, or too few, at the end of every row
    alike = len(odd) == len(picked) and all(spare for *_, spare in odd) and len({n for _, n, _ in odd}) == 1
    if odd and not alike:
        raise TableError(_uneven(table, content, header, odd, last))
    if not picked:
        raise TableError(
            f"{table} holds no row below its header: it is incomplete, or not the table that is meant"
        )
    return [list(map(_Meaning(empty).__getitem__, column)) for column in zip(*picked, strict=True)]


class _Meaning(dict[str, str | None]):
    """Maps a cell to its text without surrounding blanks, None for a missing one.

    Labels are a few texts in very many rows: each is parsed once, and kept once.
    """

    def __init__(self, empty: Collection[str]) -> None:
        super().__init__()
        self._empty = empty

    def __missing__(self, text: str) -> str | None:
        cell = text.strip()
        self[text] = meant = None if cell in self._empty else cell
        return meant


def _plain_columns(
    content: str, header: Sequence[str], places: Sequence[int], empty: frozenset[str]
) -> list[list[str | None]] | None:
    """Return the columns at some places, or None unless every row is one line with a cell for each name.

    All published tables are like that, and checking them row by row takes twice as long.
    """
    columns: list[list[str | None]] = [[] for _ in places]
    take = [
        (_Meaning(empty).__getitem__, itemgetter(place), own)
        for place, own in zip(places, columns, strict=True)
    ]
    reader, _ = _reader(content)
    try:
        if next(reader, None) != header or len(header) < 2 or not places:
            return None
        while rows := list(islice(reader, _AT_ONCE)):
            if {*map(len, rows)} != {len(header)}:
                return None
            for meaning, cell, own in take:
                texts = list(map(cell, rows))
                plain = empty.isdisjoint(texts) and texts == list(map(str.strip, texts))
                own.extend(texts if plain else map(meaning, texts))
    except csv.Error:
        return None
    return columns if reader.line_num == 1 + len(columns[0]) > 1 else None


def iterate_rows(table: object, content: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the number of its last line."""
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


def _reader(content: str) -> tuple[Any, str]:
    first = re.search("[^\r\n]+", content)
    delimiter = _delimiter(first[0] if first else "")
    # strict: a quote that never closes, or text after a closing one, could silently swallow rows
    return csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True), delimiter


def _uneven(
    table: object, content: str, header: Sequence[str], odd: Sequence[tuple[int, int, bool]], last: int
) -> str:
    line, cells, _ = odd[0]
    if len(odd) == 1 and line == last and cells < len(header) and not content.endswith(("\n", "\r")):
        return f"{table} ends in the middle of a row. Download it again"
    listed = ", ".join(f"line {line} ({cells} cells)" for line, cells, _ in odd[:_MOST_LISTED])
    more = f" and {len(odd) - _MOST_LISTED} more" if len(odd) > _MOST_LISTED else ""
    spare = "" if header[-1] else ", and there is text below cells without a name"
    return (
        f"{table}: the header has {len(header)} cells, and {len(odd)} rows do not fit it{spare}: "
        f"{listed}{more}. A missing or surplus cell shifts those after it: download it again, or repair it"
    )


def _names(cells: Sequence[str]) -> list[str]:
    return [name.strip("\ufeff \t") for name in cells]


def _delimiter(line: str) -> str:
    return max("\t;,", key=lambda mark: (mark == "\t" and mark in line, line.count(mark)))
