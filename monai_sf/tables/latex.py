"""Tables as LaTeX with booktabs, coloured by column as in the paper: lighter is better."""

from __future__ import annotations

from collections.abc import Sequence

from monai_sf.tables.aggregate import Column, Table
from monai_sf.tables.format import COLUMNS_MEAN, EMPTY, Cell, Laid, blocks, caption, lay_out
from monai_sf.vocabulary.colours import shade_rgb
from monai_sf.vocabulary.titles import title

#: Columns beside each other on a page; a table per shift is split into several tabulars.
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
    """Text whose every character LaTeX prints as it is."""
    return text.translate(_SPECIAL)


def latex_of(table: Table) -> str:
    """A ``table`` environment with caption, tabular and footnotes, to be read into a document."""
    laid = lay_out(table)
    tabulars = "\n\n\\medskip\n".join(_tabular(laid, columns) for columns in blocks(laid.columns, WIDEST))
    lines = [rf"\textsuperscript{{{n}}}~{escape(text)}" for n, text in enumerate(laid.footnotes, 1)]
    if any(text == "not run" for text in table.cell_notes.values()):
        lines.append(f"{escape(EMPTY)}~not run")
    notes = r" \quad ".join([*lines, *map(escape, table.notes)])
    about = f"{caption(table)} {COLUMNS_MEAN} Lighter is better, by column; bold is best."
    return (
        f"{_HEAD}\\begin{{table}}\n\\centering\n\\caption{{{escape(about)}}}\n{tabulars}\n"
        + (f"\n\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {notes}}}\n" if notes else "")
        + "\\end{table}\n"
    )


def _tabular(laid: Laid, columns: Sequence[Column]) -> str:
    lines = []
    for level in range(len(columns[0]) - 1):
        spans = _spans([column[: level + 1] for column in columns])
        names = [title(name[-1]) if level == 0 else name[-1] for name, _, _ in spans]
        lines.append(
            "".join(
                rf" & \multicolumn{{{last - first + 1}}}{{c}}{{{escape(name)}}}"
                for name, (_, first, last) in zip(names, spans, strict=True)
            )
            + r" \\"
        )
        lines.append(" ".join(rf"\cmidrule(lr){{{first + 2}-{last + 2}}}" for _, first, last in spans))
    heads = [f"{escape(column[-1])}{_mark(laid.column_notes[column])}" for column in columns]
    lines.append(" & ".join(["CSF", *heads]) + r" \\")
    lines.append(r"\midrule")
    for row in laid.rows:
        cells = [_cell(laid.cells[row, column]) for column in columns]
        lines.append(" & ".join([escape(row), *cells]) + r" \\")
    body = "\n".join(lines)
    return (
        "\\resizebox{\\linewidth}{!}{%\n"
        f"\\begin{{tabular}}{{l{'c' * len(columns)}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}}}"
    )


def _spans(names: Sequence[Column]) -> list[tuple[Column, int, int]]:
    """Runs of equal names with their first and last column."""
    found: list[tuple[Column, int, int]] = []
    for i, name in enumerate(names):
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], i)
        else:
            found.append((name, i, i))
    return found


def _mark(note: int) -> str:
    return rf"\textsuperscript{{{note}}}" if note else ""


def _cell(cell: Cell) -> str:
    colour = "" if cell.shade is None else rf"\cellcolor[RGB]{{{','.join(map(str, shade_rgb(cell.shade)))}}}"
    text = escape(cell.text)
    shown = rf"\textbf{{{text}}}" if cell.is_best else text
    spread = rf"{{\tiny\,\ensuremath{{\pm}}{cell.spread}}}" if cell.spread else ""
    return f"{colour}{shown}{spread}{_mark(cell.note)}"
