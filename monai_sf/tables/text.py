"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from monai_sf.tables.aggregate import Column, Table
from monai_sf.tables.format import COLUMNS_MEAN, EMPTY, blocks, caption, lay_out, number
from monai_sf.tables.paper import CAVEAT
from monai_sf.vocabulary.titles import title

#: Columns beside each other; wider lines wrap in a terminal.
WIDEST = 8


def text_of(table: Table) -> str:
    """The table with its footnotes; an asterisk marks what is not compared, one a column what all lack."""
    laid = lay_out(table)
    parts = [caption(table), "" if _has_shifts(table) else COLUMNS_MEAN]
    for columns in blocks(laid.columns, WIDEST):
        heads = [_heads(column, laid.column_notes[column]) for column in columns]
        body = []
        for row in laid.rows:
            cells = [laid.cells[row, column] for column in columns]
            body.append(
                [row]
                + [
                    f"{cell.text}{f' ±{cell.spread}' if cell.spread else ''}"
                    f"{f'*{cell.note}' if cell.note else ''}"
                    for cell in cells
                ]
            )
        parts.append(_aligned([*_header(heads), *body]))
    parts.append(_notes(table, laid.footnotes))
    return "\n\n".join(filter(None, parts)) + "\n"


def text_of_comparison(comparison: pd.DataFrame, table: Table) -> str:
    """Ours, the paper's and the difference side by side; an asterisk marks what is not complete."""
    parts = ["Beside the paper (Bungert et al., MICCAI 2023, Table 1), AURC in per cent", CAVEAT]
    columns = [tuple(str(part) for part in column) for column in comparison.columns]
    for block in blocks(columns, 3 * 4):
        body = [
            [
                str(row),
                *(
                    _compared(float(comparison.loc[row, column]), column[2])
                    + ("*" if column[2] == "ours" and (row, column[:2]) in table.cell_notes else "")
                    for column in block
                ),
            ]
            for row in comparison.index
        ]
        heads = [[title(d), group, source] for d, group, source in block]
        parts.append(_aligned([*_header(heads), *body]))
    return "\n\n".join(parts) + "\n"


def _compared(value: float, source: str) -> str:
    text = number(value)
    return f"+{text}" if source == "difference" and value > 0 else text


def _has_shifts(table: Table) -> bool:
    return "shift" in table.mean.columns.names


def _heads(column: Column, note: int) -> list[str]:
    names = [title(column[0]), *column[1:]]
    return [*names[:-1], f"{names[-1]}{f' *{note}' if note else ''}"]


def _header(heads: Sequence[Sequence[str]]) -> list[list[str]]:
    """Lines of the header, in which a name that the column before has too is not repeated."""
    lines = []
    for level in range(len(heads[0])):
        line = ["CSF" if level == len(heads[0]) - 1 else ""]
        for i, head in enumerate(heads):
            same = i > 0 and list(head[: level + 1]) == list(heads[i - 1][: level + 1])
            line.append("" if same else head[level])
        lines.append(line)
    return lines


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _notes(table: Table, footnotes: Sequence[str]) -> str:
    lines = [f"*{n} {text}" for n, text in enumerate(footnotes, 1)]
    if any(text == "not run" for text in table.cell_notes.values()):
        lines.append(f"{EMPTY} not run")
    return "\n".join([*lines, *table.notes])
