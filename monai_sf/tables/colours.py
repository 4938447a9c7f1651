"""Colours that people with any colour vision tell apart, for tables and figures."""

from __future__ import annotations

from collections.abc import Sequence

#: From the best to the worst of a column. One hue that darkens, so lightness alone says it all, and black
#: text keeps a contrast of 5.5 to 1 or more on each.
LIGHTEST, DARKEST = (247, 251, 255), (91, 155, 208)
STEPS = 20

#: One look a score: colour after Okabe & Ito (2008), dashes as a second cue, and a marker as a third.
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


def shade_rgb(shade: float) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a shade from 0 (best) to 1 (worst), in :data:`STEPS` steps."""
    t = round(shade * STEPS) / STEPS
    red, green, blue = (round(a + (b - a) * t) for a, b in zip(LIGHTEST, DARKEST, strict=True))
    return red, green, blue


def look(position: int) -> tuple[str, tuple[int, tuple[float, ...]], str]:
    """Colour, dashes and marker of the score at a position; after nine they begin again with other dashes."""
    colour, dashes, _ = LOOKS[position % len(LOOKS)]
    turn = position // len(LOOKS)
    marker = LOOKS[(position + 4 * turn) % len(LOOKS)][2]
    return colour, ((0, (2 + turn, 1)) if turn else dashes), marker
