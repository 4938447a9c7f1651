"""Descriptions of the runs and test sets that an average lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Maximum number of single gaps in a note; further ones are counted.
SPELT_OUT = 4

Place = tuple[int, int]


@dataclass(frozen=True)
class Gap:
    """Positions that a cell lacks in its grid of units and seeds.

    Attributes:
        missing: (unit, seed) positions without a value.
        odd: ((unit, seed) position, reason) of values that are undefined or not comparable.
    """

    missing: frozenset[Place]
    odd: frozenset[tuple[Place, str]]

    @classmethod
    def of(cls, values: NDArray[np.float64], why: Mapping[Place, str]) -> Gap:
        """Find the gaps of values (units, seeds), NaN where missing, with reasons for single positions."""
        empty = {(int(u), int(s)) for u, s in np.argwhere(np.isnan(values))}
        return cls(frozenset(empty - why.keys()), frozenset(why.items()))

    @classmethod
    def common(cls, gaps: Sequence[Gap]) -> Gap:
        """Return the gaps that all of them share."""
        if not gaps:
            return cls(frozenset(), frozenset())
        return cls(
            frozenset.intersection(*(gap.missing for gap in gaps)),
            frozenset.intersection(*(gap.odd for gap in gaps)),
        )


def describe(gap: Gap, units: Sequence[str], seeds: Sequence[int], *, joint: bool = False) -> str:
    """Describe a gap, such as "seeds 0, 1 of 0, 1, 2; texture missing"; empty without one.

    Args:
        gap: positions in units and seeds.
        units: their names; for a corruption its kind, a blank and the severity.
        seeds: the expected seeds.
        joint: whether the seeds share one value, as the members of an ensemble do.
    """
    parts = []
    there = [s for s in range(len(seeds)) if any((u, s) not in gap.missing for u in range(len(units)))]
    if len(there) < len(seeds):
        have = ", ".join(str(seeds[s]) for s in there) or "none"
        parts.append(f"seed{'s' * (len(there) != 1)} {have} of {', '.join(map(str, seeds))}")
    absent = [u for u in range(len(units)) if there and all((u, s) in gap.missing for s in there)]
    if absent:
        parts.append(f"{_joined([units[u] for u in absent], units)} missing")
    for s in there:
        single = [units[u] for u in range(len(units)) if (u, s) in gap.missing and u not in absent]
        if single:
            parts.append(f"{_joined(single, units)} without seed {seeds[s]}")
    which = ["" if joint else f", seed {seed}" for seed in seeds]
    odd = list(dict.fromkeys(f"{units[u]}{which[s]}: {why}" for (u, s), why in sorted(gap.odd)))
    parts += odd[:SPELT_OUT]
    if (more := len(odd) - SPELT_OUT) > 0:
        parts.append(f"and {more} more")
    return "; ".join(parts)


def _joined(absent: Sequence[str], units: Sequence[str]) -> str:
    """Join names of units; a corruption without any severity is named once."""
    names: list[str] = []
    for unit in absent:
        kind = unit.rpartition(" ")[0]
        family = [u for u in units if kind and u.rpartition(" ")[0] == kind]
        name = kind if family and set(family) <= set(absent) else unit
        if name not in names:
            names.append(name)
    return ", ".join(names)
