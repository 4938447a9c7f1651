"""Tables in Markdown, for the model card of an exported bundle."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from monai_sf.tables.aggregate import Table
from monai_sf.tables.format import EMPTY, Cell, caption, lay_out
from monai_sf.vocabulary.titles import title

#: What Markdown and its GitHub dialect take for markup within a line, addresses without brackets included.
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~>$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;"})


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is within a line: no markup, link or HTML of it takes effect."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).translate(_HTML)


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown; the first column holds names, the others numbers."""
    rule = [":--", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows)) + "\n"


def markdown_of(table: Table) -> str:
    """Return the table with its caption and footnotes; bold is the best of a column."""
    laid = lay_out(table)
    several = len({column[0] for column in laid.columns}) > 1
    head = ["score"]
    for column in laid.columns:
        parts = [title(column[0]), *column[1:]] if several else column[1:]
        note = laid.column_notes[column]
        head.append(escaped(": ".join(dict.fromkeys(parts))) + _mark(note))
    rows = [[escaped(row), *(_cell(laid.cells[row, column]) for column in laid.columns)] for row in laid.rows]
    notes = [f"{_mark(n)} {escaped(text)}" for n, text in enumerate(laid.footnotes, 1)]
    if any(text == "not run" for text in table.cell_notes.values()):
        notes.append(f"{EMPTY} not run")
    below = "\n".join(f"- {note}" for note in [*notes, *map(escaped, table.notes)])
    return f"{escaped(caption(table))}\n\n{grid(head, rows)}" + (f"\n{below}\n" if below else "")


def _mark(note: int) -> str:
    return f" ({note})" if note else ""


def _cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.is_best else cell.text
    return f"{text}{f' ± {cell.spread}' if cell.spread else ''}{_mark(cell.note)}"
