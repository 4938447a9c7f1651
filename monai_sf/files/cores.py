"""How many things may be done at once."""

from __future__ import annotations

import os


def usable_cores(at_most: int | None = 8) -> int:
    """Return the number of cores this process may use, within a batch system's limit and ``at_most``.

    Examples:
        >>> from monai_sf.datasets import usable_cores
        >>> 1 <= usable_cores() <= 8, usable_cores(at_most=1)
        (True, 1)
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if at_most is None else min(usable, at_most)
