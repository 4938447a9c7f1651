"""Formats of numbers, captions and footnotes, shared by text, LaTeX and HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from monai_sf.tables.aggregate import Column, Table, number_at

#: Text of a cell without a number.
EMPTY = "–"
_COLUMN_MEANS = {
    "iid": "no shift",
    "cor": "mean over all corruptions and severities of the iid cases",
    "acq": "mean over the acquisition shifts of the dataset",
    "man": "mean over the manifestation shifts of the dataset",
    "new": "cases of new classes, on which every answer is an error, together with the iid cases",
}


def decimals(value: float) -> int:
    """Return the number of decimals for three significant digits, at most three: 15.3, 0.544, 0.012."""
    size = abs(value)
    if not math.isfinite(size) or size < 1:
        return 3
    return max(0, 2 - math.floor(math.log10(float(f"{size:.3g}"))))


def number(value: float, like: float | None = None) -> str:
    """Return a number with three significant digits, or with as many decimals as another number."""
    return EMPTY if math.isnan(value) else f"{value:.{decimals(value if like is None else like)}f}"


def caption(table: Table) -> str:
    """Return the meaning of the numbers, in one sentence."""
    shown = table.measure
    direction = "lower" if shown.lower_is_better else "higher"
    seeds = f"Mean over seeds {', '.join(map(str, table.seeds))} ± their standard deviation (n − 1)"
    if len(table.seeds) == 1:
        seeds = f"Of seed {table.seeds[0]} alone"
    elif table.joint:
        seeds += ". Ensembles (DE) of these runs have one value"
    return f"{shown.title} in per cent ({shown.meaning}); {direction} is better. {seeds}."


def columns_mean(table: Table) -> str:
    """Return what the columns of a table mean, those that it has."""
    there = {column[1] for column in table.columns}
    return " ".join(f"{name}: {meaning}." for name, meaning in _COLUMN_MEANS.items() if name in there)


@dataclass(frozen=True)
class Cell:
    """The content of one cell.

    Attributes:
        text: the number, or :data:`EMPTY`.
        spread: standard deviation over seeds, empty without.
        note: number of its footnote, 0 without.
        shade: 0 (best of the column) to 1 (worst); None where it is not compared.
        is_best: whether no other cell of the column is better.
    """

    text: str
    spread: str
    note: int
    shade: float | None
    is_best: bool


@dataclass(frozen=True)
class Laid:
    """A table with rounded numbers and numbered footnotes.

    Attributes:
        rows: names of the rows.
        headings: row to the heading above it; only of the first row of a group, and of several groups.
        columns: of the table.
        cells: by row and column.
        column_notes: number of a column's footnote, 0 without.
        footnotes: their texts; the first has number 1.
    """

    rows: Sequence[str]
    headings: Mapping[str, str]
    columns: Sequence[Column]
    cells: dict[tuple[str, Column], Cell]
    column_notes: dict[Column, int]
    footnotes: Sequence[str]


def lay_out(table: Table) -> Laid:
    """Round the numbers and number the footnotes, one for each text."""
    texts: list[str] = []

    def note_of(text: str) -> int:
        if not text or text == "not run":
            return 0
        if text not in texts:
            texts.append(text)
        return texts.index(text) + 1

    in_columns = {column: note_of(table.column_notes.get(column, "")) for column in table.columns}
    shades, best = table.shades(), table.best()
    rows = [str(row) for row in table.mean.index]
    cells = {}
    for row in rows:
        for column in table.columns:
            mean, spread = number_at(table.mean, row, column), number_at(table.spread, row, column)
            shade = number_at(shades, row, column)
            cells[row, column] = Cell(
                number(mean),
                "" if math.isnan(spread) else number(spread, like=mean),
                note_of(table.cell_notes.get((row, column), "")),
                None if math.isnan(shade) else shade,
                bool(best.loc[row, column]),
            )
    return Laid(rows, headings(table), table.columns, cells, in_columns, texts)


def headings(table: Table) -> dict[str, str]:
    """Return the first row of each group of scores with its heading; empty if there is one group."""
    first: dict[str, str] = {}
    for row in map(str, table.mean.index):
        first.setdefault(table.groups[row], row)
    return {row: heading for heading, row in first.items()} if len(first) > 1 else {}


def blocks(columns: Sequence[Column], most: int) -> list[list[Column]]:
    """Split columns into blocks of whole datasets, at most ``most`` in each unless one dataset has more."""
    found: list[list[Column]] = []
    for dataset in dict.fromkeys(column[0] for column in columns):
        own = [column for column in columns if column[0] == dataset]
        if found and len(found[-1]) + len(own) <= most:
            found[-1] += own
        else:
            found.append(own)
    return found


def tidy(table: Table) -> pd.DataFrame:
    """Return one row per score and column for other programs: mean and spread in per cent, notes."""
    ranks = table.ranks()
    return pd.DataFrame(
        [
            {
                **dict(zip(table.mean.columns.names, column, strict=True)),
                "csf": row,
                "needs": table.groups[row],
                "metric": table.measure.name,
                "mean": table.mean.loc[row, column],
                "sd": table.spread.loc[row, column],
                "rank": ranks.loc[row, column],
                "note": table.cell_notes.get((row, column), table.column_notes.get(column, "")),
            }
            for column in table.columns
            for row in table.mean.index
        ]
    )


def compared(comparison: pd.DataFrame, table: Table, row: str, column: Column) -> str:
    """Return the text of a cell of :func:`~.paper.compare_with_paper`; an asterisk marks incomplete cells."""
    value, source = number_at(comparison, row, column), column[2]
    sign = "+" if source == "difference" and value > 0 else ""
    return f"{sign}{number(value)}{'*' if source == 'ours' and (row, column[:2]) in table.cell_notes else ''}"
