"""Vector graphics of risk-coverage curves, and of the ranks of scores over the shifts.

Equal inputs give equal bytes: no dates, no random ids.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from monai_sf.files import atomic_path, write_text
from monai_sf.scores import PAPER_CSFS
from monai_sf.tables.aggregate import Column, Table, column_order, number_at, select
from monai_sf.tables.cells import COVERAGES, Collection, records
from monai_sf.vocabulary.colours import LOOKS, PAGE, look
from monai_sf.vocabulary.titles import title

Float = NDArray[np.float64]

INK, QUIET, LINE = (PAGE["light"][name] for name in ("ink", "ink-2", "line"))
#: First coverage of drawn curves, in per cent: below, the risk is that of a handful of cases.
FIRST_COVERAGE = 5
PANELS_IN_A_ROW = (4, 3)
#: More lines cannot be told apart, so the others are grey.
MOST_NAMED = 2 * len(LOOKS)
GREY = "#c9cdd2"

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that widths agree everywhere
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "monai_sf",
    "pdf.fonttype": 42,
}


def named_rows(table: Table) -> list[str]:
    """Return the rows whose lines have a style and a name in the legend, in the order of the table.

    All of them, if there are at most `MOST_NAMED`; otherwise the paper's scores, and the others with the
    best mean rank.
    """
    rows = [str(row) for row in table.mean.index]
    if len(rows) <= MOST_NAMED:
        return rows
    ranks = table.ranks().mean(axis=1)
    others = sorted(
        (row for row in rows if row not in PAPER_CSFS), key=lambda row: (ranks.isna()[row], ranks[row])
    )
    first = [row for row in rows if row in PAPER_CSFS]
    chosen = {*first, *others[: MOST_NAMED - len(first)]}
    return [row for row in rows if row in chosen]


def risk_coverage_figure(collection: Collection, per_shift: Table, dataset: str) -> Figure:
    """Draw selective risk against coverage: one panel per shift, one line per score, the mean over seeds.

    A panel of a corruption shows the mean over its severities. The band reaches from the lowest to the
    highest seed. A score with missing test sets or seeds is drawn from the others; an asterisk in the legend
    marks it, and the table names what is missing. Of many scores some are grey, see :func:`named_rows`.

    Args:
        collection: see :func:`~.cells.collect`.
        per_shift: its table of single shifts.
        dataset: one of its datasets.

    Raises:
        ValueError: the collection has no such dataset.
    """
    cells = select(collection.cells, collection.measure.name)
    rows = named_rows(per_shift)
    own = cells[cells["dataset"] == dataset]
    if own.empty:
        known = ", ".join(sorted(cells["dataset"].unique()))
        raise ValueError(f"dataset must be one of {known}, got {dataset!r}")
    shifts = column_order(own, per_shift=True)
    # the number that leaves the fewest empty panels
    across = min(len(shifts), min(PANELS_IN_A_ROW, key=lambda n: -len(shifts) % n))
    down = math.ceil(len(shifts) / across)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.45 * max(across, 2) + 0.3, 2.15 * down + 1.15), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False, sharex=True)
        drawn: set[str] = set()
        for panel, column in zip(panels.flat, shifts, strict=False):
            part = own[(own["group"] == column[1]) & (own["shift"] == column[2])]
            for row, curves in _curves(part, collection).items():
                drawn.add(row)
                x, lines = 100 * COVERAGES[FIRST_COVERAGE:], 100 * curves[:, FIRST_COVERAGE:]
                if row not in rows:
                    panel.plot(x, lines.mean(axis=0), color=GREY, linewidth=0.7, zorder=1)
                    continue
                colour, dashes, _ = look(rows.index(row))
                panel.plot(x, lines.mean(axis=0), color=colour, linestyle=dashes, linewidth=1.3)
                if len(lines) > 1:
                    low, high = lines.min(axis=0), lines.max(axis=0)
                    panel.fill_between(x, low, high, color=colour, alpha=0.06, linewidth=0)
            panel.set_title(_shift_title(column))
            panel.set_xlim(0, 100)
            panel.set_ylim(bottom=0)
            panel.grid(axis="y")
            panel.yaxis.set_major_locator(MaxNLocator(4))
            panel.set_xticks([0, 25, 50, 75, 100])
        for panel in panels.flat[len(shifts) :]:
            panel.set_axis_off()
        for panel in panels.flat[max(0, len(shifts) - across) : len(shifts)]:
            panel.tick_params(labelbottom=True)
            panel.set_xlabel("trusted cases [%]")
        for panel in panels[:, 0]:
            panel.set_ylabel("errors among them [%]")
        figure.suptitle(
            f"Risk-coverage curves, {title(dataset)}", x=0.012, ha="left", weight="bold", fontsize=11
        )
        partial = {row for row, at in per_shift.cell_notes if at in shifts}
        partial |= drawn if any(at in shifts for at in per_shift.column_notes) else set()
        shown = [row for row in rows if row in drawn]
        _legend(figure, shown, rows, with_markers=False, partial=partial, grey=len(drawn) - len(shown))
    return _settled(figure)


def _curves(part: pd.DataFrame, collection: Collection) -> dict[str, Float]:
    """Return curves (seeds, 101) by row, each the mean over the test sets of a seed."""
    found: dict[str, dict[int, list[Float]]] = {}
    for c in records(part):
        curve = collection.curves.get(c.key)
        if curve is not None and c.seed == c.key.seed:  # an ensemble has one curve
            found.setdefault(str(c.row), {}).setdefault(int(c.seed), []).append(curve)
    return {
        row: np.stack([np.mean(curves, axis=0) for _, curves in sorted(seeds.items())])
        for row, seeds in sorted(found.items())
    }


def _shift_title(column: Column) -> str:
    group, shift = column[1], column[2]
    return "no shift (iid)" if group == "iid" else f"{title(shift)} ({group})"


def rank_figure(table: Table) -> Figure:
    """Draw the rank of every score in every column, best on top; lines join the columns of a dataset.

    Scores of equal value share a rank and are drawn side by side. A missing or incomplete cell has no
    rank: the line has a gap, and a hollow marker stands in the lowest row. A table per shift has one panel
    per dataset. Of many scores some are grey, see :func:`named_rows`.
    """
    named = named_rows(table)
    ranks = table.ranks()
    rows, columns = [str(row) for row in ranks.index], table.columns
    long = len(columns[0]) == 3
    parts = [columns[a:b] for a, b in _datasets(columns)] if long else [columns]
    widest = max(_places(part)[-1] for part in parts)
    with mpl.rc_context(_STYLE):
        height = (0.29 * len(rows) + (1.15 if long else 0.55)) * len(parts) + 0.85
        # as narrow as tick labels and names of datasets allow: a page shrinks the text with the figure
        width = max(6.5, 1.5 + (0.66 if long else 0.45) * (widest + 1), 1.5 + len(list(_datasets(parts[0]))))
        figure = Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(len(parts), squeeze=False)
        for panel, part in zip(panels.flat, parts, strict=True):
            _rank_panel(panel, ranks, rows, named, part)
        heading = f"Rank of the confidence scores by {table.measure.title}"
        figure.suptitle(heading, x=0.012, ha="left", weight="bold", fontsize=11)
        _legend(figure, named, named, with_markers=True, grey=len(rows) - len(named))
    return _settled(figure)


def _rank_panel(
    panel: mpl.axes.Axes,
    ranks: pd.DataFrame,
    rows: Sequence[str],
    named: Sequence[str],
    columns: Sequence[Column],
) -> None:
    x, lowest = _places(columns), len(rows) + 1.2
    for row in rows:
        colour, dashes, marker = look(named.index(row)) if row in named else (GREY, (0, ()), "o")
        for start, end in _datasets(columns):
            values = np.array([number_at(ranks, row, column) for column in columns[start:end]])
            beside = [_beside(ranks, row, column) for column in columns[start:end]]
            panel.plot(
                np.array(x[start:end]) + beside, values, color=colour, linestyle=dashes, linewidth=1.4,
                marker=marker, markersize=9 if marker == "*" else 6, markeredgecolor="white",
                markeredgewidth=0.7, zorder=3,
            )  # fmt: skip
            for i in np.flatnonzero(np.isnan(values)).tolist():
                unranked = [r for r in rows if np.isnan(number_at(ranks, r, columns[start + i]))]
                panel.plot(
                    x[start + i] + _spread(unranked.index(row), len(unranked)), lowest, color=colour,
                    marker=marker, markersize=5, markerfacecolor="none", markeredgewidth=0.9, zorder=3,
                )  # fmt: skip
    with_missing = bool(ranks[list(columns)].isna().to_numpy().any())
    _decorate(panel, columns, x, len(rows), lowest if with_missing else None)


def _decorate(
    panel: mpl.axes.Axes, columns: Sequence[Column], x: Sequence[float], n_rows: int, lowest: float | None
) -> None:
    long = len(columns[0]) == 3
    names = [title(column[-1]) for column in columns]
    panel.set_xticks(x, names, rotation=30 if long else 0, ha="right" if long else "center")
    ticks, labels = [float(n) for n in range(1, n_rows + 1)], [str(n) for n in range(1, n_rows + 1)]
    if lowest is not None:
        ticks, labels = [*ticks, lowest], [*labels, "no rank"]
    panel.set_yticks(ticks, labels)
    panel.set_ylim((n_rows if lowest is None else lowest) + 0.6, 0.4)
    panel.set_xlim(x[0] - 0.6, x[-1] + 0.6)
    panel.grid(axis="y", zorder=0)
    panel.tick_params(length=0)
    panel.set_ylabel("rank (1 is best)")
    for start, end in _datasets(columns):
        panel.text(
            (x[start] + x[end - 1]) / 2, 1.01, title(columns[start][0]), ha="center", va="bottom",
            weight="bold", transform=panel.get_xaxis_transform(),
        )  # fmt: skip
        if start:
            panel.axvline((x[start] + x[start - 1]) / 2, color=LINE, linewidth=1)


def _places(columns: Sequence[Column]) -> list[float]:
    places, at = [], 0.0
    for i, column in enumerate(columns):
        at += 0 if i == 0 else 1.0 if column[0] == columns[i - 1][0] else 1.5  # more room between datasets
        places.append(at)
    return places


def _datasets(columns: Sequence[Column]) -> Iterator[tuple[int, int]]:
    start = 0
    for _, members in groupby(columns, lambda column: column[0]):
        yield start, (start := start + len(list(members)))


def _beside(ranks: pd.DataFrame, row: str, column: Column) -> float:
    equal = [str(r) for r in ranks.index if ranks.loc[r, column] == ranks.loc[row, column]]
    return _spread(equal.index(row), len(equal)) if row in equal else 0.0


def _spread(position: int, count: int) -> float:
    step = min(0.17, 0.8 / max(1, count - 1))
    return step * (position - (count - 1) / 2)


def _legend(
    figure: Figure,
    shown: Sequence[str],
    rows: Sequence[str],
    *,
    with_markers: bool,
    partial: AbstractSet[str] = frozenset(),
    grey: int = 0,
) -> None:
    handles = []
    for row in shown:
        colour, dashes, marker = look(rows.index(row))
        handles.append(
            Line2D(
                [], [], color=colour, linestyle=dashes, linewidth=1.6, marker=marker if with_markers else "",
                markersize=6, markeredgecolor="white", markeredgewidth=0.7,
                label=f"{row} *" if row in partial else row,
            )
        )  # fmt: skip
    if grey:
        handles.append(Line2D([], [], color=GREY, linewidth=1.6, label=f"{grey} others: see the table"))
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    most = max(1, int(figure.get_size_inches()[0] / max(1.25, 0.55 + 0.065 * longest)))
    lines = math.ceil(len(handles) / most)
    figure.legend(
        handles=handles, loc="outside lower left", ncols=math.ceil(len(handles) / max(1, lines)),
        frameon=False, handlelength=3, fontsize=8, title_fontsize=7, alignment="left",
        title="* seeds or test sets are missing: see the table" if partial & set(shown) else None,
    )  # fmt: skip


_NO_DATES: Mapping[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def _settled(figure: Figure) -> Figure:
    # The layout is solved once and rounded: the solver's last digits differ from run to run.
    with _canvas(figure):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for panel in figure.axes:
        left, bottom, width, height = (round(float(v), 5) for v in panel.get_position().bounds)
        panel.set_position((left, bottom, width, height))
    return figure


@contextmanager
def _canvas(figure: Figure) -> Iterator[None]:
    FigureCanvasAgg(figure)  # no window system, whatever the user's settings
    with mpl.rc_context(_STYLE):
        yield


def svg_of(figure: Figure) -> str:
    """Return the figure as SVG."""
    buffer = io.StringIO()
    with _canvas(figure):
        figure.savefig(buffer, format="svg", metadata=_NO_DATES["svg"])
    # A hundredth of a point is finer than any printer, and halves the file.
    return re.sub(
        r"(?m)(?<=^[ML] ).+$",
        lambda line: re.sub(r"(\d+\.\d\d)\d+", r"\1", line.group()),
        buffer.getvalue(),
    )


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure, whole or not at all, in the format of the file name: .svg, .pdf or .png.

    Raises:
        OSError: the file cannot be written.
    """
    kind = os.fspath(path).rpartition(".")[2]
    if kind == "svg":
        write_text(path, svg_of(figure))
        return
    with atomic_path(path) as partial, _canvas(figure):
        figure.savefig(partial, format=kind, metadata=_NO_DATES.get(kind), dpi=150)
