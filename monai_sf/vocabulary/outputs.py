"""What a classifier puts out, told from what looks like it: the one check before a score or a metric.

Arrays of NumPy and tensors of torch alike; nothing here imports torch. What can be told for sure is refused.
Logits are never refused for looking odd once: that rows of logits are not negative and add up to 1 by chance
must be less likely than `CHANCE`, so a batch of one tells little.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

# A float64 array of NumPy or tensor of torch: only what both spell alike is used.
Array = Any

#: Logits look like something else by chance less often than this.
CHANCE = 1e-9
#: Whole numbers in a column of floats are classes from this many cases on.
ENOUGH = 16

_STEPS = (0.1, 0.01, 0.001)


def kind_of(values: Any) -> str:
    """Return "bool", "int" or "float" (anything else), by the dtype that values came with."""
    name = str(getattr(values, "dtype", "")).lower()
    return "bool" if "bool" in name else "int" if "int" in name else "float"


def class_logits(logits: Array, name: str, kind: str) -> Array:
    """Return class logits of at least two classes; the one logit z of a binary classifier is [-z/2, z/2].

    Args:
        logits: (..., C) float64; the last axis is that of the classes.
        name: for messages.
        kind: of the dtype they came with, see `kind_of`.

    Raises:
        ValueError: they are classes, decisions or probabilities instead, as far as that can be told.
    """
    refuse_what_is_no_logit(logits, name, kind)
    if logits.shape[-1] > 1:
        return logits
    two = logits[..., [0, 0]] / 2
    two[..., 0] = -two[..., 0]
    return two


def refuse_what_is_no_logit(logits: Array, name: str, kind: str) -> None:
    """Raise ValueError for classes, decisions and probabilities; arguments as for `class_logits`."""
    if kind == "bool":
        raise ValueError(f"{name} are True and False, decisions: give the network's output before that")
    classes = logits.shape[-1]
    one = classes == 1 or logits.ndim == 1
    if (kind == "int" and one) or (classes == 1 and _are_whole(logits)):
        raise ValueError(
            f"{name} are whole numbers, one per case: they are classes after argmax or rounding, whose "
            "confidence is lost. Give the network's output before that"
        )
    if classes > 1 and _are_shares(logits):
        raise ValueError(
            f"{name} are not negative and add up to 1 (or 100): they are probabilities or one-hot classes. "
            "Give the network's output before the softmax; the logarithm of probabilities will do"
        )
    n = math.prod(logits.shape)
    if n >= ENOUGH and bool(((logits >= 0) & (logits <= 1)).all()) and _differ(logits):
        warnings.warn(
            f"all {n} values of {name} lie in [0, 1], as after a sigmoid: if so, scores and errors are "
            "wrong. Give the network's output before it",
            UserWarning,
            stacklevel=4,
        )


def refuse_what_is_no_log_probability(values: Array, name: str) -> None:
    """Raise ValueError unless (..., C) float64 values are the logarithms of C >= 2 shares."""
    if values.shape[-1] < 2:
        raise ValueError(f"{name} must hold at least 2 classes, got {values.shape[-1]}")
    # NaN is not counted: it stays NaN and is refused where a case must have a rank.
    bad = int(((values > 1e-3).any(-1) | (abs((math.e**values).sum(-1) - 1) > 0.1)).sum())
    if bad:
        raise ValueError(
            f"{name} must be logarithms of probabilities that add up to 1, as log_softmax gives them; "
            f"{bad} of {math.prod(values.shape[:-1])} rows are not"
        )


def share_tolerance(shares: Array) -> float:
    """How far from 1 rows of shares (..., C) may add up, by the precision that their values have."""
    if _fit_in_half_precision(shares):
        return 2.0**-6
    step = next((s for s in _STEPS if bool((abs(shares / s - (shares / s).round()) < 1e-4).all())), 0.0)
    return max(1e-3, min(0.5, int(shares.shape[-1]) * step / 2))


def check_labels(labels: Array, cases: int, classes: int, name: str) -> Array:
    """Return labels as (n,), whole numbers in 0..C-1.

    Args:
        labels: (n,) or (n, 1) of any real dtype; bool for two classes.
        cases: n.
        classes: C.
        name: for messages.

    Raises:
        ValueError: another shape, fractions, NaN, or classes that the classifier does not have.
    """
    flat = labels.reshape(-1)
    if len(flat) != cases or (cases and labels.shape[0] != cases):
        hint = "; one-hot labels? Give their argmax" if tuple(labels.shape) == (cases, classes) else ""
        raise ValueError(f"{name} must hold one class for each of {cases} cases, got {len(flat)}{hint}")
    if kind_of(labels) == "bool":
        if classes > 2:
            raise ValueError(f"{name} must be classes in 0..{classes - 1}, got True and False")
        return flat
    wrong = ~((flat >= 0) & (flat < classes) & (flat == flat // 1))
    if bool(wrong.any()):
        found = sorted({float(value) for value in flat[wrong].tolist()})
        shown = ", ".join(f"{value:g}" for value in found[:10]) + (", ..." if len(found) > 10 else "")
        raise ValueError(
            f"{name} must be whole numbers in 0..{classes - 1}, the classes that the logits have; "
            f"{int(wrong.sum())} of {cases} are not: {shown}"
        )
    return flat


def refuse_other_order(inputs: Mapping[str, Any]) -> None:
    """Raise ValueError where columns of pandas hold the same index in another order.

    Cases are told apart by position, so that what stands at one position must be one case.
    """
    indexes = {name: values.index for name, values in inputs.items() if hasattr(values, "iloc")}
    for name, index in indexes.items():
        first, before = next(iter(indexes.items()))
        if len(index) == len(before) and not index.equals(before) and set(index) == set(before):
            raise ValueError(
                f"{first} and {name} have the same index in another order: which rows belong together? Bring "
                f"them into one order with .loc, or give .to_numpy() where the positions are right"
            )


def _are_whole(column: Array) -> bool:
    """Whether the values are classes, by chance of `CHANCE` at most; a constant column says nothing."""
    if math.prod(column.shape) < ENOUGH or not bool(((column >= 0) & (column == column // 1)).all()):
        return False
    # Half precision has no fractions among large numbers.
    return _differ(column) and not bool((column >= 64).all())


def _differ(values: Array) -> bool:
    return bool((values != values.reshape(-1)[0]).any())


def _are_shares(values: Array) -> bool:
    rows = math.prod(values.shape[:-1])
    if rows < 2 or not bool((values >= 0).all()):
        return False
    precision = 2.0**-8 if _fit_in_half_precision(values) else 2.0**-23
    for whole in (1.0, 100.0):
        shares = values / whole
        off = float(abs(shares.sum(-1) - 1).max())
        # How often a row of logits would come this close to 1: seldom, unless all rows are much the same.
        chance = max(off, precision) / max(min(1.0, _spread(shares)), precision)
        if chance < 1 and chance**rows < CHANCE and off <= share_tolerance(shares):
            return True
    return False


def _spread(values: Array) -> float:
    """Standard deviation of a class's values over the cases, averaged over the classes."""
    rows = values.reshape(-1, values.shape[-1])
    return float((((rows - rows.mean(0)) ** 2).mean(0) ** 0.5).mean())


def _fit_in_half_precision(values: Array) -> bool:
    """Whether 11 bits hold every value, as those of float16 and bfloat16, also where they were cast later."""
    shifted = values * (2.0**42 + 1)  # Veltkamp's splitting
    return bool((shifted - (shifted - values) == values).all())
