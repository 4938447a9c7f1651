"""Whether millions of texts all differ, without a set of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["all_differ"]


def all_differ(parts: Iterable[Sequence[str] | None]) -> bool:
    """Return whether texts, which come in parts, all differ; False if in doubt, or where a part is None.

    Their hashes are compared, of eight bytes each, for a set of millions of texts takes a gigabyte.
    """
    hashes = [np.zeros(0, np.int64)]
    for part in parts:
        if part is None:
            return False
        hashes.append(np.fromiter(map(hash, part), np.int64, len(part)))
    found = np.concatenate(hashes)
    found.sort()
    return not (found[1:] == found[:-1]).any()
