"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from monai_sf.tables.aggregate import Table
from monai_sf.tables.format import EMPTY, Cell, blocks, caption, columns_mean, compared, lay_out
from monai_sf.tables.paper import CAVEAT
from monai_sf.vocabulary.titles import title

#: Maximum number of columns side by side; wider lines wrap in a terminal.
WIDEST = 8


def text_of(table: Table) -> str:
    """Return the table with its footnotes, marked by asterisks at incomplete cells and columns."""
    laid = lay_out(table)
    parts = [caption(table), "" if "shift" in table.mean.columns.names else columns_mean(table)]
    for columns in blocks(laid.columns, WIDEST):
        heads = []
        for column in columns:
            note = laid.column_notes[column]
            heads.append([title(column[0]), *column[1:-1], f"{column[-1]}{f' *{note}' if note else ''}"])
        body = []
        for row in laid.rows:
            if heading := laid.headings.get(row):
                body.append([f"[{heading}]"])
            body.append([row, *(_cell(laid.cells[row, column]) for column in columns)])
        parts.append(_aligned([*_header(heads), *body]))
    lines = [f"*{n} {text}" for n, text in enumerate(laid.footnotes, 1)]
    if any(text == "not run" for text in table.cell_notes.values()):
        lines.append(f"{EMPTY} not run")
    parts.append("\n".join([*lines, *table.notes]))
    return "\n\n".join(filter(None, parts)) + "\n"


def _cell(cell: Cell) -> str:
    spread, note = f" ±{cell.spread}" if cell.spread else "", f"*{cell.note}" if cell.note else ""
    return f"{cell.text}{spread}{note}"


def text_of_comparison(comparison: pd.DataFrame, table: Table) -> str:
    """Return our numbers, the paper's and the differences; an asterisk marks incomplete cells."""
    parts = ["Comparison with the paper (Bungert et al., MICCAI 2023, Table 1), AURC in per cent", CAVEAT]
    columns = [tuple(str(part) for part in column) for column in comparison.columns]
    for block in blocks(columns, 3 * 4):
        body = [
            [str(row), *(compared(comparison, table, str(row), column) for column in block)]
            for row in comparison.index
        ]
        heads = [[title(d), group, source] for d, group, source in block]
        parts.append(_aligned([*_header(heads), *body]))
    return "\n\n".join(parts) + "\n"


def _header(heads: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the lines of the header, without repeated names of neighbouring columns."""
    lines = []
    for level in range(len(heads[0])):
        line = ["CSF" if level == len(heads[0]) - 1 else ""]
        for i, head in enumerate(heads):
            same = i > 0 and list(head[: level + 1]) == list(heads[i - 1][: level + 1])
            line.append("" if same else head[level])
        lines.append(line)
    return lines


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    cells = [line for line in lines if len(line) > 1]  # the others are headings
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=False)).rstrip()
        for line in lines
    )
