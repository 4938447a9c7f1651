"""Checks of a classifier's outputs before a score or a metric: logits, and not classes or probabilities.

They take NumPy arrays and torch tensors; nothing here imports torch. Clear mistakes are refused. Logits are
not refused by coincidence: that rows of logits are non-negative and sum to 1 by chance must be less likely
than `CHANCE`, so a batch of one is hardly ever refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

# A float64 NumPy array or torch tensor: only functions that both spell alike are used.
Array = Any

#: What a model's numbers are: one per class, or one for the second of two classes.
OutputKind: TypeAlias = Literal["logits", "softmax", "logit", "sigmoid"]

#: Upper bound on the probability of mistaking logits for something else.
CHANCE = 1e-9
#: Probabilities are clipped below at this: float32 must be able to hold their logarithm.
SMALLEST = 1e-37
#: Integers in a column of floats are classes, and values in [0, 1] squashed, from this number on.
ENOUGH = 16

_STEPS = (0.1, 0.01, 0.001)


def kind_of(values: Any) -> str:
    """Return "bool", "int" or "float" (anything else), by the values' original dtype."""
    name = str(getattr(values, "dtype", "")).lower()
    return "bool" if "bool" in name else "int" if "int" in name else "float"


def class_logits(logits: Array, name: str, kind: str) -> Array:
    """Return class logits of at least two classes; a binary classifier's single logit z is [-z/2, z/2].

    Args:
        logits: (..., C) float64; the last axis is that of the classes.
        name: for messages.
        kind: of their original dtype, see `kind_of`.

    Raises:
        ValueError: they are classes, decisions or probabilities instead, as far as that can be detected.
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
    # NaN is not counted: it remains NaN and is refused where cases are ranked.
    bad = int(((values > 1e-3).any(-1) | (abs((math.e**values).sum(-1) - 1) > 0.1)).sum())
    if bad:
        raise ValueError(
            f"{name} must be logarithms of probabilities that add up to 1, as log_softmax gives them; "
            f"{bad} of {math.prod(values.shape[:-1])} rows are not"
        )


def share_tolerance(shares: Array) -> float:
    """Return how far from 1 rows of shares (..., C) may sum, by the precision of their values."""
    if _fit_in_half_precision(shares):
        return 2.0**-6
    step = next((s for s in _STEPS if bool((abs(shares / s - (shares / s).round()) < 1e-4).all())), 0.0)
    return max(1e-3, min(0.5, int(shares.shape[-1]) * step / 2))


def check_labels(labels: Array, cases: int, classes: int, name: str) -> Array:
    """Return labels as (n,), integers in 0..C-1.

    Args:
        labels: (n,) or (n, 1) of any real dtype; bool for two classes.
        cases: n.
        classes: C.
        name: for messages.

    Raises:
        ValueError: another shape, fractions, NaN, or classes outside 0..C-1.
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
    """Raise ValueError if pandas columns hold the same index in another order.

    Cases are matched by position, so entries at the same position must belong to the same case.
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
    """Return whether the values are classes, wrongly with probability `CHANCE` at most; never if constant."""
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
        # The probability that a row of logits comes this close to 1: small, unless all rows are similar.
        chance = max(off, precision) / max(min(1.0, _spread(shares)), precision)
        if chance < 1 and chance**rows < CHANCE and off <= share_tolerance(shares):
            return True
    return False


def _spread(values: Array) -> float:
    """Return the standard deviation of a class's values over the cases, averaged over the classes."""
    rows = values.reshape(-1, values.shape[-1])
    return float((((rows - rows.mean(0)) ** 2).mean(0) ** 0.5).mean())


def _fit_in_half_precision(values: Array) -> bool:
    """Return whether 11 bits hold every value, as of float16 and bfloat16, even after a later cast."""
    shifted = values * (2.0**42 + 1)  # Veltkamp's splitting
    return bool((shifted - (shifted - values) == values).all())
