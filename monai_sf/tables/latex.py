"""Tables in LaTeX with booktabs, coloured by column as in the paper: lighter is better."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from monai_sf.tables.aggregate import Column, Table
from monai_sf.tables.format import EMPTY, Cell, Laid, blocks, caption, columns_mean, lay_out
from monai_sf.vocabulary.colours import shade_rgb
from monai_sf.vocabulary.titles import title

#: Maximum number of columns of a tabular; wider tables are split into several.
WIDEST = 13

_HEAD = r"""% Written by monai_sf.tables. The document needs:
% \usepackage{booktabs} \usepackage{graphicx} \usepackage[table]{xcolor}
"""
_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"\ensuremath{\pm}",
        "–": "--",
        "−": r"\ensuremath{-}",
        "\n": " ",
    }
)


def escape(text: str) -> str:
    """Escape text so that LaTeX prints every character as it is."""
    return text.translate(_SPECIAL)


def latex_of(table: Table) -> str:
    """Return a ``table`` environment with caption, tabulars and footnotes."""
    laid = lay_out(table)
    tabulars = "\n\n\\medskip\n".join(_tabular(laid, columns) for columns in blocks(laid.columns, WIDEST))
    lines = [rf"\textsuperscript{{{n}}}~{escape(text)}" for n, text in enumerate(laid.footnotes, 1)]
    if any(text == "not run" for text in table.cell_notes.values()):
        lines.append(f"{escape(EMPTY)}~not run")
    notes = r" \quad ".join([*lines, *map(escape, table.notes)])
    about = f"{caption(table)} {columns_mean(table)} Lighter is better, by column; bold is best."
    return (
        f"{_HEAD}\\begin{{table}}\n\\centering\n\\caption{{{escape(about)}}}\n{tabulars}\n"
        + (f"\n\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {notes}}}\n" if notes else "")
        + "\\end{table}\n"
    )


def _tabular(laid: Laid, columns: Sequence[Column]) -> str:
    lines = []
    for level in range(len(columns[0]) - 1):
        heads, rules, at = "", [], 2
        for names, members in groupby(column[: level + 1] for column in columns):
            span = len(list(members))
            name = names[-1] if level else title(names[-1])
            heads += rf" & \multicolumn{{{span}}}{{c}}{{{escape(name)}}}"
            rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
            at += span
        lines += [heads + r" \\", " ".join(rules)]
    lowest = [f"{escape(column[-1])}{_mark(laid.column_notes[column])}" for column in columns]
    lines.append(" & ".join(["CSF", *lowest]) + r" \\")
    lines.append(r"\midrule")
    for row in laid.rows:
        if heading := laid.headings.get(row):
            span = len(columns) + 1
            lines.append(rf"\addlinespace \multicolumn{{{span}}}{{l}}{{\textit{{{escape(heading)}}}}} \\")
        cells = [_cell(laid.cells[row, column]) for column in columns]
        lines.append(" & ".join([escape(row), *cells]) + r" \\")
    body = "\n".join(lines)
    return (
        "\\resizebox{\\linewidth}{!}{%\n"
        f"\\begin{{tabular}}{{l{'c' * len(columns)}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}}}"
    )


def _mark(note: int) -> str:
    return rf"\textsuperscript{{{note}}}" if note else ""


def _cell(cell: Cell) -> str:
    colour = "" if cell.shade is None else rf"\cellcolor[RGB]{{{','.join(map(str, shade_rgb(cell.shade)))}}}"
    text = escape(cell.text)
    shown = rf"\textbf{{{text}}}" if cell.is_best else text
    spread = rf"{{\tiny\,\ensuremath{{\pm}}{cell.spread}}}" if cell.spread else ""
    return f"{colour}{shown}{spread}{_mark(cell.note)}"
