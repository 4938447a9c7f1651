"""The tables as one static HTML file without scripts and external resources."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import groupby
from typing import NamedTuple

import jinja2
import pandas as pd

from monai_sf.tables.aggregate import Column, Table
from monai_sf.tables.format import EMPTY, Cell, blocks, caption, columns_mean, compared, headings, lay_out
from monai_sf.tables.paper import CAVEAT
from monai_sf.vocabulary.colours import STEPS, page_style, shade_rgb
from monai_sf.vocabulary.titles import title


def html_of(
    table: Table,
    per_shift: Table,
    *,
    significant: pd.DataFrame | None,
    reference: str | None,
    comparison: pd.DataFrame | None,
    figures: Mapping[str, str],
) -> str:
    """Return the HTML page of the tables.

    Args:
        table: Table 1.
        per_shift: the table of single shifts.
        significant: text of each cell, see :func:`~.comparisons.wins_and_losses`; None without.
        reference: the score that all others are compared with; None for all pairs.
        comparison: see :func:`~.paper.compare_with_paper`; None without.
        figures: SVG by caption.
    """
    shown = table.measure
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("table.html")).render(
        style=style,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'",
        heading=f"{shown.title[0].upper()}{shown.title[1:]} of confidence scores",
        notes=table.notes,
        caption=caption(table),
        columns_mean=columns_mean(table),
        empty=EMPTY,
        steps=range(0, STEPS + 1, 5),
        table=_shaded(table, table.columns),
        significant=None if significant is None else _significance(significant, table),
        reference=reference,
        per_shift=[(title(block[0][0]), _shaded(per_shift, block)) for block in blocks(per_shift.columns, 1)],
        figures=[_figure(name, svg) for name, svg in figures.items()],
        comparison=None if comparison is None else _comparison(comparison, table),
        caveat=CAVEAT,
    )


def _read(name: str) -> str:
    return (resources.files("monai_sf.tables") / name).read_text(encoding="utf-8")


def _style() -> str:
    shades = "\n".join(
        f".s{step} {{ background: rgb({', '.join(map(str, shade_rgb(step / STEPS)))}); }}"
        for step in range(STEPS + 1)
    )
    return f"\n{page_style()}{_read('table.css')}{shades}\n"


class _Head(NamedTuple):
    text: str
    kind: str
    span: int
    group: bool
    mark: int


class _Shown(NamedTuple):
    text: str
    kind: str = ""
    best: bool = False
    spread: str = ""
    mark: int = 0


@dataclass(frozen=True)
class _Grid:
    """One table of the page; ``kind`` is the class of a cell."""

    head: list[list[_Head]]
    rows: list[tuple[str, list[_Shown]]]
    headings: Mapping[str, str]
    footnotes: Mapping[int, str] = field(default_factory=dict)
    has_empty: bool = False


def _grid(
    columns: Sequence[Column],
    rows: Mapping[str, Sequence[_Shown]],
    headings: Mapping[str, str],
    marks: Mapping[Column, int] | None = None,
    footnotes: Sequence[str] = (),
) -> _Grid:
    starts = [_begins(columns, i) for i in range(len(columns))]

    def started(cells: Sequence[_Shown]) -> list[_Shown]:
        return [c._replace(kind=f"{c.kind} {start}".strip()) for c, start in zip(cells, starts, strict=True)]

    cells = [cell for own in rows.values() for cell in own]
    used = {cell.mark for cell in cells} | {(marks or {}).get(column, 0) for column in columns}
    return _Grid(
        [_head(columns, level, starts, marks or {}) for level in range(len(columns[0]))],
        [(row, started(own)) for row, own in rows.items()],
        headings,
        {n: text for n, text in enumerate(footnotes, 1) if n in used},
        any(cell.text == EMPTY for cell in cells),
    )


def _begins(columns: Sequence[Column], i: int) -> str:
    """Return the class of a cell that begins a dataset, or in a table of one dataset a group."""
    level = 1 if len({column[0] for column in columns}) > 1 or len(columns[0]) == 2 else 2
    return "start" if i and columns[i][:level] != columns[i - 1][:level] else ""


def _head(
    columns: Sequence[Column], level: int, starts: Sequence[str], marks: Mapping[Column, int]
) -> list[_Head]:
    last = level == len(columns[0]) - 1
    line, i = [], 0
    for _, members in groupby(columns, lambda column: column if last else column[: level + 1]):
        column, span = columns[i], len(list(members))
        name = column[level] if level == 1 else title(column[level])
        line.append(_Head(name, starts[i], span, not last, marks.get(column, 0) if last else 0))
        i += span
    return line


def _shaded(table: Table, columns: Sequence[Column]) -> _Grid:
    laid = lay_out(table)
    rows = {row: [_shown(laid.cells[row, column]) for column in columns] for row in laid.rows}
    return _grid(columns, rows, laid.headings, laid.column_notes, laid.footnotes)


def _shown(cell: Cell) -> _Shown:
    kind = "apart" if cell.shade is None else f"shade s{round(cell.shade * STEPS)}"
    return _Shown(cell.text, "empty" if cell.text == EMPTY else kind, cell.is_best, cell.spread, cell.note)


def _significance(texts: pd.DataFrame, table: Table) -> _Grid:
    rows = {
        str(row): [
            _Shown(text, "apart" if text and (row, column) in table.cell_notes else "")
            for column, text in zip(table.columns, map(str, texts.loc[row]), strict=True)
        ]
        for row in texts.index
    }
    return _grid(table.columns, rows, headings(table))


def _comparison(comparison: pd.DataFrame, table: Table) -> list[_Grid]:
    def shown(row: str, column: Column) -> _Shown:
        text = compared(comparison, table, row, column)
        return _Shown(text, "empty" if text.startswith(EMPTY) else "")

    columns = [tuple(str(part) for part in column) for column in comparison.columns]
    return [
        _grid(block, {str(row): [shown(row, column) for column in block] for row in comparison.index}, {})
        for block in blocks(columns, 1)
    ]


def _figure(name: str, svg: str) -> dict[str, str]:
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    tall = "tall" if size and float(size[2]) > float(size[1]) else ""
    small = "small" if name.startswith("Rank") else ""
    data = base64.b64encode(svg.encode()).decode()
    return {"name": name, "kind": f"{small} {tall}".strip(), "data": data}
