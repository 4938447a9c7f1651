"""The page's Bokeh figures, which start empty; scripts of the page fill and restyle them.

They have no callbacks, since CustomJS needs a Content-Security-Policy with ``unsafe-eval``. The scripts find
the models by name and listen to their events instead.
"""

from __future__ import annotations

from typing import Any

from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, HoverTool, NumeralTickFormatter, Range1d, SingleIntervalTicker
from bokeh.models.annotations import PolyAnnotation, Span
from bokeh.models.renderers import GlyphRenderer
from bokeh.plotting import figure

_BARE: Any = {
    **{"sizing_mode": "stretch_both", "toolbar_location": None, "tools": "", "outline_line_color": None},
    **{"background_fill_alpha": 0, "border_fill_alpha": 0},
}


def _line_plot(name: str, **options: Any) -> figure:
    """Return a plot of shares in the font of the page."""
    plot = figure(name=name, min_border_right=16, **_BARE, **options)
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.minor_tick_line_color = None
        axis.major_tick_line_color = None
        axis.axis_label_text_font = axis.major_label_text_font = "system-ui, sans-serif"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "13px"
    plot.yaxis.formatter = NumeralTickFormatter(format="0%")
    return plot


def _lines(plot: figure, name: str) -> None:
    columns = ("xs", "ys", "color", "dash", "width", "alpha", "name")
    look: Any = {"line_color": "color", "line_dash": "dash", "line_width": "width", "line_alpha": "alpha"}
    plot.multi_line("xs", "ys", source=_source(name, columns), **look)


def _marks(plot: figure, name: str, columns: tuple[str, ...], **look: Any) -> GlyphRenderer[Any]:
    renderer: GlyphRenderer[Any] = plot.scatter("x", "y", size="size", source=_source(name, columns), **look)
    return renderer


def _source(name: str, columns: tuple[str, ...]) -> ColumnDataSource:
    return ColumnDataSource({column: [] for column in columns}, name=name)


def curves(risk: str) -> figure:
    """Draw risk-coverage curves with the working point of every CSF; sources ``curves`` and ``points``.

    Args:
        risk: the risk in words.
    """
    plot = _line_plot(
        "curves-figure",
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1.02),
        x_axis_label="Share decided alone (coverage)",
        y_axis_label=f"{risk} among these (risk)",
    )
    plot.xaxis.formatter = NumeralTickFormatter(format="0%")
    _lines(plot, "curves")
    look = {"marker": "circle", "fill_color": "color", "line_color": "white", "line_width": 1.5}
    dots = _marks(plot, "points", ("x", "y", "color", "size", "name", "text"), **look)
    plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@name"), ("", "@text")]))
    return plot


def corruption_sweep() -> figure:
    """Draw the confidence of every CSF over severity; sources ``sweep-curves`` and ``sweep-marks``."""
    plot = _line_plot(
        "sweep-figure",
        y_range=Range1d(start=0, end=1.02),
        x_axis_label="Severity (0 = clean)",
        y_axis_label="Surer than this share of ordinary cases",
    )
    plot.xaxis.ticker = SingleIntervalTicker(interval=1, num_minor_ticks=0)
    _lines(plot, "sweep-curves")
    look = {"marker": "x", "fill_color": "color", "line_color": "color", "line_width": 1.5}
    _marks(plot, "sweep-marks", ("x", "y", "color", "size", "name"), **look)
    plot.add_layout(Span(name="sweep-limit", location=0.2, dimension="width", line_dash="dashed"))
    return plot


def reliability() -> figure:
    """Draw accuracy over confidence; sources ``reliability-lines`` and ``reliability-bins``."""
    plot = _line_plot(
        "reliability-figure",
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1.05),
        x_axis_label="How sure it says it is (probability)",
        y_axis_label="Share of correct answers",
    )
    plot.xaxis.formatter = NumeralTickFormatter(format="0%")
    _lines(plot, "reliability-lines")
    look = {"marker": "marker", "fill_color": "color", "line_color": "color", "fill_alpha": "alpha"}
    columns = ("x", "y", "color", "size", "marker", "alpha", "text")
    bins = _marks(plot, "reliability-bins", columns, **look)
    plot.add_tools(HoverTool(renderers=[bins], tooltips=[("", "@text")]))
    return plot


def latent_space() -> figure:
    """Draw the overlay of the 3-D scatter, which a script draws: pins (source ``marks``) and the lasso."""
    ranges: Any = {"x_range": Range1d(start=0, end=1), "y_range": Range1d(start=0, end=1)}
    plot = figure(name="latent-figure", min_border=0, **ranges, **_BARE)
    plot.axis.visible = False
    plot.grid.visible = False
    look: Any = {"marker": "circle", "fill_color": None, "line_color": "color", "line_width": 2.5}
    pins: Any = _marks(plot, "marks", ("x", "y", "size", "color", "text"), **look).data_source
    plot.text(
        "x", "y", text="text", text_color="color", x_offset=10, y_offset=-8, source=pins,
        text_font_size="13px", text_font_style="bold",
    )  # fmt: skip
    lasso = PolyAnnotation(name="lasso", xs=[], ys=[], fill_alpha=0.12, line_width=2, line_dash="dashed")
    plot.add_layout(lasso)
    return plot


def items(risk: str) -> dict[str, Any]:
    """Return the JSON of each figure by the id of its element; see :func:`curves`."""
    figures = {
        "curves-plot": curves(risk),
        "latent-plot": latent_space(),
        "sweep-plot": corruption_sweep(),
        "reliability-plot": reliability(),
    }
    return {target: json_item(plot, ID(target)) for target, plot in figures.items()}
