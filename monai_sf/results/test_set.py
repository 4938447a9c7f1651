"""The outputs of one run on one test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_sf.results.case_table import not_utf8
from monai_sf.results.format import ResultsError, check_rank
from monai_sf.vocabulary.shifts import KINDS


@dataclass(frozen=True)
class TestSet:
    """The outputs of one run on one test set.

    Attributes:
        name: unique within the run; any text that is not blank.
        kind: one of :data:`KINDS`.
        rows: (n,) int64, position of every entry in ``Results.cases``.
        arrays: name (see :data:`ARRAYS`, or another) to an array of n entries; ``logits`` are required, or an
            ensemble's ``ensemble_log_softmax``, or ``errors`` without classes.
        corruption: kind of corruption, None for clean images.
        severity: 1 to 5 for a corruption, 0 for clean images.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.results import TestSet
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
        >>> how = {"corruption": "gaussian_noise", "severity": 2}
        >>> noisy = TestSet(
        ...     "noise", "corruption", np.array([4, 7]), {"logits": logits}, **how
        ... )
        >>> len(noisy), noisy.rows.tolist()  # the cases 4 and 7 of the case table
        (2, [4, 7])
    """

    __test__ = False  # not a pytest class

    name: str
    kind: str
    rows: NDArray[np.int64]
    arrays: Mapping[str, NDArray[Any]]
    corruption: str | None = None
    severity: int = 0

    def __post_init__(self) -> None:
        """Check all that needs no case table.

        Raises:
            ResultsError: unknown kind, a blank name, arrays of invalid names or other lengths.
        """
        if not isinstance(self.name, str) or not self.name.strip() or not_utf8([self.name]):
            raise ResultsError(f"the name of a test set must be a text that is not blank, got {self.name!a}")
        if self.kind not in KINDS:
            raise ResultsError(f"test set {self.name}: kind must be one of {KINDS}, got {self.kind!r}")
        if not (self.kind == "corruption") == (self.corruption is not None) == (self.severity != 0):
            raise ResultsError(
                f"test set {self.name}: kind {self.kind!r}, corruption {self.corruption!r} and severity "
                f"{self.severity} do not fit together"
            )
        if self.rows.ndim != 1 or (self.rows.size and self.rows.dtype.kind not in "iu"):
            raise ResultsError(
                f"test set {self.name}: rows must be (n,) integers, got {self.rows.dtype} {self.rows.shape}"
            )
        outputs = {"logits", "ensemble_log_softmax"} & self.arrays.keys()
        if bool(outputs) == ("errors" in self.arrays):
            both = "both logits and errors" if outputs else "no logits"
            raise ResultsError(f"test set {self.name}: {both} among its arrays {sorted(self.arrays)}")
        for name, array in self.arrays.items():
            check_rank(self.name, name, array)
            if len(array) != len(self.rows):
                raise ResultsError(
                    f"test set {self.name}: {name} has {len(array)} entries, rows has {len(self.rows)}"
                )

    def __len__(self) -> int:
        return len(self.rows)
