"""Checks of the arguments of random transforms, which list all that is wrong at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Range = tuple[float, float]
"""Lowest and highest value."""


class Problems:
    """What is wrong with the arguments of a transform.

    Args:
        owner: name of the transform.

    Examples:
        >>> from monai_sf.transforms.arguments import Problems
        >>> problems = Problems("BatchRandRotate")
        >>> problems.probability("prob", 2), problems.symmetric("range_x", 0.5)
        (0.0, (-0.5, 0.5))
        >>> problems.complain()
        Traceback (most recent call last):
        ValueError: BatchRandRotate: prob must be a number in [0, 1], got 2
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.found: list[str] = []

    def complain(self) -> None:
        """Raise ValueError if anything was wrong."""
        if self.found:
            raise ValueError(f"{self.owner}: {'; '.join(self.found)}")

    def add(self, name: str, meaning: str, value: Any) -> None:
        """Note that an argument is not what it must be."""
        self.found.append(f"{name} must be {meaning}, got {value!r}")

    def probability(self, name: str, value: Any) -> float:
        """Return a number in [0, 1]."""
        if _is_number(value) and 0 <= value <= 1:
            return float(value)
        self.add(name, "a number in [0, 1]", value)
        return 0.0

    def limits(self, name: str, value: Any, *, above: float = -math.inf) -> Range:
        """Return a range from two numbers in any order, all greater than `above`."""
        if _is_pair(value) and all(_is_number(one) and one > above for one in value):
            return float(min(value)), float(max(value))
        least = f" above {above:g}" if math.isfinite(above) else ""
        self.add(name, f"two numbers{least}", value)
        return 1.0, 1.0

    def symmetric(self, name: str, value: Any) -> Range:
        """Return a range from two numbers, or from one, x, that from -x to x."""
        return self.limits(name, (-value, value) if _is_number(value) else value)

    def size(self, name: str, value: Any) -> tuple[int, int]:
        """Return rows and columns, from one positive integer or two."""
        pair = value if _is_pair(value) else (value, value)
        if all(is_integer(one) and one > 0 for one in pair):
            return int(pair[0]), int(pair[1])
        self.add(name, "a positive integer or two of them (rows, columns)", value)
        return 1, 1


def is_integer(value: Any) -> bool:
    """Return whether an argument is an integer of Python or NumPy, and no truth value."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
