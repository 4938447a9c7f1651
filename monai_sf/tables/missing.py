"""What an average lacks, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Single gaps that a note spells out; what comes after is counted.
SPELT_OUT = 4

Place = tuple[int, int]


@dataclass(frozen=True)
class Gap:
    """What a cell lacks of its grid of units and seeds.

    Attributes:
        missing: (unit, seed) positions without a value.
        odd: ((unit, seed) position, reason) of what was run and is not defined, or not comparable.
    """

    missing: frozenset[Place]
    odd: frozenset[tuple[Place, str]]

    @classmethod
    def of(cls, values: NDArray[np.float64], why: Mapping[Place, str]) -> Gap:
        """From the values (units, seeds), NaN where there is none, and the reasons for single positions."""
        empty = {(int(u), int(s)) for u, s in np.argwhere(np.isnan(values))}
        return cls(frozenset(empty - why.keys()), frozenset(why.items()))

    @classmethod
    def common(cls, gaps: Sequence[Gap]) -> Gap:
        """What all of them lack."""
        if not gaps:
            return cls(frozenset(), frozenset())
        return cls(
            frozenset.intersection(*(gap.missing for gap in gaps)),
            frozenset.intersection(*(gap.odd for gap in gaps)),
        )


def describe(gap: Gap, units: Sequence[str], seeds: Sequence[int]) -> str:
    """The gap in words, such as "seeds 0, 1 of 0, 1, 2; texture missing"; empty without one.

    Args:
        gap: positions in units and seeds.
        units: what each unit is called; for a corruption its kind, a blank and the severity.
        seeds: the seeds that are expected.
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
    parts += _some([f"{units[u]}, seed {seeds[s]}: {why}" for (u, s), why in sorted(gap.odd)])
    return "; ".join(parts)


def _some(texts: Sequence[str]) -> list[str]:
    more = len(texts) - SPELT_OUT
    return [*texts[:SPELT_OUT], f"and {more} more"] if more > 0 else list(texts)


def _joined(absent: Sequence[str], units: Sequence[str]) -> str:
    """Names of units; a corruption that lacks every severity is named once."""
    names: list[str] = []
    for unit in absent:
        kind = unit.rpartition(" ")[0]
        family = [u for u in units if kind and u.rpartition(" ")[0] == kind]
        name = kind if family and set(family) <= set(absent) else unit
        if name not in names:
            names.append(name)
    return ", ".join(names)
