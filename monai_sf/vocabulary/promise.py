"""The rule for a promise of at most so many errors among trusted predictions."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_promise(target_risk: Any, delta: Any) -> None:
    """Refuse a target risk or delta that promises nothing.

    Raises:
        ValueError: one is no number between 0 and 1; names both, with what they mean.
    """
    promise = {"target_risk": target_risk, "delta": delta}
    wrong = [
        f"{name} {value!r}"
        for name, value in promise.items()
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not 0 < value < 1
    ]
    if wrong:
        raise ValueError(
            "target_risk (the share of errors to tolerate among trusted predictions) and delta (the "
            "probability with which the promise may fail) must lie between 0 and 1, exclusively: got "
            f"{' and '.join(wrong)}"
        )
