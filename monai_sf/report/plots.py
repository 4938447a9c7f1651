"""The Bokeh figures of the page. They start empty; the page's script fills and restyles them.

They carry no callbacks: CustomJS needs a Content-Security-Policy with ``unsafe-eval``. The script finds the
models by name and listens to their events instead.
"""

from __future__ import annotations

from typing import Any

from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.models import (
    ColumnDataSource,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
    SingleIntervalTicker,
)
from bokeh.models.annotations import PolyAnnotation, Span
from bokeh.models.renderers import GlyphRenderer
from bokeh.plotting import figure


def _line_plot(name: str, **options: Any) -> figure:
    """A plot of shares, without toolbar, in the page's type."""
    plot = figure(
        name=name,
        sizing_mode="stretch_both",
        toolbar_location=None,
        tools="",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        min_border_right=16,
        **options,
    )
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
    source = ColumnDataSource({column: [] for column in columns}, name=name)
    plot.multi_line(
        "xs",
        "ys",
        line_color="color",
        line_dash="dash",
        line_width="width",
        line_alpha="alpha",
        source=source,
    )


def _marks(
    plot: figure, name: str, marker: str, line_color: str, columns: tuple[str, ...]
) -> GlyphRenderer[Any]:
    source = ColumnDataSource({column: [] for column in columns}, name=name)
    renderer: GlyphRenderer[Any] = plot.scatter(
        "x", "y", size="size", marker=marker, fill_color="color", line_color=line_color, line_width=1.5,
        source=source,
    )  # fmt: skip
    return renderer


def curves() -> figure:
    """Risk-coverage curves with the working point of every CSF; sources ``curves`` and ``points``."""
    plot = _line_plot(
        "curves-figure",
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1.02),
        x_axis_label="Share decided alone (coverage)",
        y_axis_label="Wrong among these (risk)",
    )
    plot.xaxis.formatter = NumeralTickFormatter(format="0%")
    _lines(plot, "curves")
    dots = _marks(plot, "points", "circle", "white", ("x", "y", "color", "size", "name", "text"))
    plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@name"), ("", "@text")]))
    return plot


def corruption_sweep() -> figure:
    """Confidence of every CSF over severity; sources ``sweep-curves`` and ``sweep-marks``."""
    plot = _line_plot(
        "sweep-figure",
        y_range=Range1d(start=0, end=1.02),
        x_axis_label="Severity (0 = clean)",
        y_axis_label="Surer than this share of ordinary cases",
    )
    plot.xaxis.ticker = SingleIntervalTicker(interval=1, num_minor_ticks=0)
    _lines(plot, "sweep-curves")
    _marks(plot, "sweep-marks", "x", "color", ("x", "y", "color", "size", "name"))
    plot.add_layout(Span(name="sweep-limit", location=0.2, dimension="width", line_dash="dashed"))
    return plot


def latent_space() -> figure:
    """What lies above the 3-D scatter, which the script draws: pins (source ``marks``) and the lasso."""
    plot = figure(
        name="latent-figure",
        sizing_mode="stretch_both",
        toolbar_location=None,
        tools="",
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1),
        min_border=0,
        outline_line_color=None,
        background_fill_alpha=0,
        border_fill_alpha=0,
    )
    plot.axis.visible = False
    plot.grid.visible = False
    marks = ColumnDataSource({k: [] for k in ("x", "y", "size", "color", "text")}, name="marks")
    plot.scatter(
        "x",
        "y",
        size="size",
        marker="circle",
        fill_color=None,
        line_color="color",
        line_width=2.5,
        source=marks,
    )
    plot.text(
        "x", "y", text="text", text_color="color", x_offset=10, y_offset=-8, source=marks,
        text_font_size="13px", text_font_style="bold",
    )  # fmt: skip
    lasso = PolyAnnotation(name="lasso", xs=[], ys=[], fill_alpha=0.12, line_width=2, line_dash="dashed")
    plot.add_layout(lasso)
    return plot


def items() -> dict[str, Any]:
    """Element id to the JSON of the figure that is embedded there."""
    figures = {
        "curves-plot": curves(),
        "latent-plot": latent_space(),
        "sweep-plot": corruption_sweep(),
    }
    return {target: json_item(plot, ID(target)) for target, plot in figures.items()}
