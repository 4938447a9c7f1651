"""Colours that people with any colour vision tell apart, for tables, figures and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Of pages, as custom properties of CSS, on a light and on a dark screen.
PAGE: Mapping[str, Mapping[str, str]] = {
    "light": {
        **{"paper": "#f6f5f2", "card": "#ffffff", "ink": "#16202b", "ink-2": "#536170", "line": "#dcdcd6"},
        **{"accent": "#0b5d8f", "banner": "#ffd24a"},
    },
    "dark": {
        **{"paper": "#10151b", "card": "#19212a", "ink": "#e9edf1", "ink-2": "#a3b0bd", "line": "#303b46"},
        **{"accent": "#7cc3ee", "banner": "#f0b429"},
    },
}

#: Colours of the report's scripts. ``categories`` are after Okabe & Ito (2008); ``outcomes`` are those of a
#: case, each with a shape and its size as a second cue; ``levels`` of confidence are sampled from cividis,
#: increasing in lightness.
REPORT: Mapping[str, Any] = {
    "categories": {
        "light": ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#444444", "#8B5A2B"],
        "dark": ["#4FA8E0", "#FF8A3D", "#2CC79A", "#E39CC4", "#E8B93C", "#9AD4F5", "#C8C8C8", "#C99866"],
    },
    "outcomes": [
        {"name": "Trusted, correct", "shape": "circle", "size": 0.75, "light": "#9AA3AE", "dark": "#66707D"},
        {"name": "False alarm", "shape": "ring", "size": 0.95, "light": "#B8860B", "dark": "#E8B93C"},
        {"name": "Detected failure", "shape": "diamond", "size": 1.25, "light": "#0072B2", "dark": "#4FA8E0"},
        {"name": "Silent failure", "shape": "cross", "size": 1.7, "light": "#D1330A", "dark": "#FF6B3D"},
    ],
    "levels": [
        *("#00224E", "#1A386F", "#434E6C", "#61656F", "#7D7C78", "#9B9476", "#BCAE6C", "#DEC958", "#FEE838"),
    ],
}

#: From the best to the worst of a column. A single hue that darkens, so lightness alone is enough, and black
#: text has a contrast of at least 5.5 to 1 on each.
LIGHTEST, DARKEST = (247, 251, 255), (91, 155, 208)
STEPS = 20

#: One style per score: colour after Okabe & Ito (2008), dashes as a second cue, and a marker as a third.
LOOKS: Sequence[tuple[str, tuple[int, tuple[float, ...]], str]] = (
    ("#000000", (0, ()), "o"),
    ("#7a7a7a", (0, (5, 2)), "s"),
    ("#0072b2", (0, ()), "^"),
    ("#56b4e9", (0, (5, 2)), "v"),
    ("#009e73", (0, (1, 1.2)), "D"),
    ("#d55e00", (0, (7, 2, 1.5, 2)), "p"),
    ("#cc79a7", (0, ()), "*"),
    ("#a0418a", (0, (3, 1.5)), "<"),
    ("#e69f00", (0, (7, 2, 1.5, 2, 1.5, 2)), ">"),
)


def page_style() -> str:
    """Return the CSS rules that define the colours of :data:`PAGE`."""
    light, dark = (
        " ".join(f"--{name}: {colour};" for name, colour in PAGE[scheme].items()) for scheme in PAGE
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def shade_rgb(shade: float) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of a shade from 0 (best) to 1 (worst), in :data:`STEPS` steps."""
    t = round(shade * STEPS) / STEPS
    red, green, blue = (round(a + (b - a) * t) for a, b in zip(LIGHTEST, DARKEST, strict=True))
    return red, green, blue


def look(position: int) -> tuple[str, tuple[int, tuple[float, ...]], str]:
    """Return colour, dashes and marker of the score at a position; colours repeat after nine."""
    colour, dashes, _ = LOOKS[position % len(LOOKS)]
    turn = position // len(LOOKS)
    marker = LOOKS[(position + 4 * turn) % len(LOOKS)][2]
    return colour, ((0, (2 + turn, 1)) if turn else dashes), marker
