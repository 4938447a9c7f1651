"""The tables as one static HTML file, without scripts and without anything fetched from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

import pandas as pd

from monai_sf.tables.aggregate import Column, Table
from monai_sf.tables.format import COLUMNS_MEAN, EMPTY, Cell, blocks, caption, lay_out, number
from monai_sf.tables.paper import CAVEAT
from monai_sf.vocabulary.colours import STEPS, page_style, shade_rgb
from monai_sf.vocabulary.titles import title

_SIGNIFICANCE = (
    "In each column the scores are compared on the same resampled groups (patients). Counted are the "
    "differences that remain after Holm's correction for all comparisons of the column (adjusted p < 0.05). "
    "They speak of other patients, not of other trainings. A hatched score is not complete: it was compared "
    "on what both have. Intervals and p-values, per shift and test set too, are in significance.csv."
)


def html_of(
    table: Table,
    per_shift: Table,
    *,
    significant: pd.DataFrame | None,
    reference: str | None,
    comparison: pd.DataFrame | None,
    figures: Mapping[str, str],
) -> str:
    """The page.

    Args:
        table: Table 1.
        per_shift: the table of single shifts.
        significant: text of each cell, see :func:`~.significance.wins_and_losses`; None without.
        reference: the score that all others were compared with; None for all pairs.
        comparison: see :func:`~.paper.compare_with_paper`; None without.
        figures: SVG by what it shows, in words.
    """
    shown = table.measure
    heading = f"{shown.title[0].upper()}{shown.title[1:]} of confidence scores"
    parts = [
        f"<h1>{escape(heading)}</h1>",
        *(f'<p class="banner">{escape(note)}</p>' for note in table.notes),
        f"<p>{escape(caption(table))}</p>",
        f'<p class="quiet">{escape(COLUMNS_MEAN)}</p>',
        _key(),
        _shaded(table, table.columns),
        "<h2>Which differences are more than chance?</h2>" if significant is not None else "",
        _significance(significant, table, reference) if significant is not None else "",
        "<h2>Each shift by itself</h2>",
        '<p class="quiet">Averages hide opposite effects. A corruption is the mean over its severities.</p>',
    ]
    for columns in blocks(per_shift.columns, 1):
        parts.append(f"<h3>{escape(title(columns[0][0]))}</h3>")
        parts.append(_shaded(per_shift, columns))
    if figures:
        parts.append("<h2>Figures</h2>")
    parts += [_figure(name, svg) for name, svg in figures.items()]
    if comparison is not None:
        parts += [
            "<h2>Beside the paper</h2>",
            f"<p>Bungert, Kobelke, Jaeger, MICCAI 2023, Table 1. {escape(CAVEAT)}</p>",
            _comparison(comparison, table),
        ]
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(heading)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def _style() -> str:
    shades = "\n".join(
        f".s{step} {{ background: rgb({', '.join(map(str, shade_rgb(step / STEPS)))}); }}"
        for step in range(STEPS + 1)
    )
    sheet = (resources.files("monai_sf.tables") / "table.css").read_text(encoding="utf-8")
    return f"\n{page_style()}{sheet}{shades}\n"


def _key() -> str:
    steps = "".join(f'<i class="s{step}"></i>' for step in range(0, STEPS + 1, 5))
    return (
        f'<p class="quiet key"><span>best of its column ★</span><span>{steps}</span><span>worst</span>'
        "<span>· hatched: not complete, so neither coloured nor ranked</span></p>"
    )


def _shaded(table: Table, columns: Sequence[Column]) -> str:
    """One table with its footnotes."""
    laid = lay_out(table)
    rows = []
    for row in laid.rows:
        cells = "".join(
            _cell(laid.cells[row, column], _begins(columns, i)) for i, column in enumerate(columns)
        )
        rows.append(f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>')
    marks = [laid.column_notes[column] for column in columns]
    used = {*marks, *(laid.cells[row, column].note for row in laid.rows for column in columns)} - {0}
    notes = "".join(
        f'<li value="{n}">{escape(text)}</li>' for n, text in enumerate(laid.footnotes, 1) if n in used
    )
    empty = any(laid.cells[row, column].text == EMPTY for row in laid.rows for column in columns)
    return (
        _table(_head(columns, marks), rows)
        + (f'<ol class="notes">{notes}</ol>' if notes else "")
        + (f'<p class="quiet">{EMPTY} not run, or not defined</p>' if empty else "")
    )


def _table(head: str, rows: Sequence[str]) -> str:
    body = "\n".join(rows)
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead>{head}</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _begins(columns: Sequence[Column], i: int) -> str:
    """Class of a cell that begins a dataset, or in a table of one dataset a group."""
    level = 1 if len({column[0] for column in columns}) > 1 or len(columns[0]) == 2 else 2
    return " start" if i and columns[i][:level] != columns[i - 1][:level] else ""


def _head(columns: Sequence[Column], marks: Sequence[int]) -> str:
    lines = []
    depth = len(columns[0])
    for level in range(depth):
        cells = f'<th class="corner" scope="col" rowspan="{depth}">CSF</th>' if level == 0 else ""
        i = 0
        while i < len(columns):
            last = level == depth - 1
            end = i + 1
            while not last and end < len(columns) and columns[end][: level + 1] == columns[i][: level + 1]:
                end += 1
            name = columns[i][level] if level == 1 and depth > 1 else title(columns[i][level])
            mark = f"<sup>{marks[i]}</sup>" if last and marks[i] else ""
            cells += (
                f'<th scope="{"col" if last else "colgroup"}" colspan="{end - i}" '
                f'class="{_begins(columns, i).strip()}">{escape(name)}{mark}</th>'
            )
            i = end
        lines.append(f"<tr>{cells}</tr>")
    return "".join(lines)


def _cell(cell: Cell, start: str) -> str:
    if cell.text == EMPTY:
        kind = "empty"
    elif cell.shade is None:
        kind = "apart"
    else:
        kind = f"shade s{round(cell.shade * STEPS)}"
    text = f"<strong>{cell.text}</strong>" if cell.is_best else cell.text
    spread = f'<span class="sd">±{cell.spread}</span>' if cell.spread else ""
    mark = f"<sup>{cell.note}</sup>" if cell.note else ""
    return f'<td class="{kind}{start}">{text}{spread}{mark}</td>'


def _significance(texts: pd.DataFrame, table: Table, reference: str | None) -> str:
    columns = table.columns
    about = (
        f"“better” and “worse” are against {reference}; an empty cell is a difference that may be chance."
        if reference
        else "+ is the number of other scores that a score beats in this column, − the number that beat it."
    )
    rows = []
    for row in texts.index:
        cells = "".join(
            f'<td class="{"apart" if text and (row, column) in table.cell_notes else ""}'
            f'{_begins(columns, i)}">{escape(text)}</td>'
            for i, (column, text) in enumerate(zip(columns, map(str, texts.loc[row]), strict=True))
        )
        rows.append(f'<tr><th scope="row">{escape(str(row))}</th>{cells}</tr>')
    return f'<p class="quiet">{escape(_SIGNIFICANCE)} {escape(about)}</p>' + _table(
        _head(columns, [0] * len(columns)), rows
    )


def _comparison(comparison: pd.DataFrame, table: Table) -> str:
    columns = [tuple(str(part) for part in column) for column in comparison.columns]
    parts = []
    for block in blocks(columns, 1):
        rows = []
        for row in comparison.index:
            cells = []
            for i, column in enumerate(block):
                value = float(comparison.loc[row, column])
                sign = "+" if column[2] == "difference" and value > 0 else ""
                mark = "*" if column[2] == "ours" and (row, column[:2]) in table.cell_notes else ""
                kind = "empty" if math.isnan(value) else ""
                cells.append(f'<td class="{kind}{_begins(block, i)}">{sign}{number(value)}{mark}</td>')
            rows.append(f'<tr><th scope="row">{escape(str(row))}</th>{"".join(cells)}</tr>')
        parts.append(_table(_head(block, [0] * len(block)), rows))
    return "\n".join(parts) + '<p class="quiet">* not complete, see above</p>'


def _figure(name: str, svg: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    tall = " tall" if size and float(size[2]) > float(size[1]) else ""
    small = "small" if name.startswith("Rank") else ""
    return (
        f'<figure class="{small}{tall}" tabindex="0"><img '
        f'alt="{escape(name)}. The numbers are in the tables above." '
        f'src="data:image/svg+xml;base64,{data}"></figure>'
    )
