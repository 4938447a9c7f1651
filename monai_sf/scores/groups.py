"""What a score needs besides one pass of the network, by which tables and pages group their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monai_sf.scores.csf import CSFS
from monai_sf.scores.of_the_paper import PAPER

#: Kind of score to its heading, in the order of the rows.
GROUPS: Mapping[str, str] = {
    "paper": "scores of the paper",
    "outputs": "from the outputs of one pass",
    "samples": "from repeated passes (dropout, augmented views)",
    "fitted": "fitted to training or validation cases",
    "runs": "from several trainings",
    "given": "given with the results",
}
_PAPER = frozenset(csf.name for csf in PAPER)
_SAMPLED = ("mcd_", "tta_")


def group_of(name: str) -> str:
    """Return the kind of a score, a key of `GROUPS`; one that is not registered is given.

    Args:
        name: of the score.

    Examples:
        >>> from monai_sf.scores import group_of
        >>> for name in ("MSR", "Energy", "MCD-MI", "MDS", "DE-MSR", "Dr. Who"):
        ...     print(f"{name:8} {group_of(name)}")
        MSR      paper
        Energy   outputs
        MCD-MI   samples
        MDS      fitted
        DE-MSR   runs
        Dr. Who  given
    """
    if name in _PAPER:
        return "paper"
    if name not in CSFS:
        return "given"
    csf = CSFS[name]
    if any(array.startswith("ensemble_") for array in csf.stored):
        return "runs"
    if csf.fit is not None and any(array.startswith(("training_", "validation_")) for array in csf.fit.needs):
        return "fitted"
    return "samples" if any(array.startswith(_SAMPLED) for array in csf.stored) else "outputs"


def in_groups(names: Iterable[str]) -> list[str]:
    """Return scores in the order of rows: by `GROUPS`, then as in `CSFS`; given ones stay in their order.

    Args:
        names: of scores; repeated ones count once.

    Examples:
        >>> from monai_sf.scores import in_groups
        >>> in_groups(["Reader", "MDS", "Energy", "PE", "MSR"])
        ['MSR', 'PE', 'Energy', 'MDS', 'Reader']
    """
    groups, known = list(GROUPS), list(CSFS)

    def place(name: str) -> tuple[int, int]:
        return groups.index(group_of(name)), known.index(name) if name in CSFS else 0

    return sorted(dict.fromkeys(names), key=place)
