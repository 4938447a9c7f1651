"""What a folder of results may hold, known to who writes one and to who reads one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FORMAT = "monai_sf.results"
FORMAT_VERSION = 1

#: Kinds of a test set; ``corruption`` sets are the iid cases, corrupted.
KINDS = ("iid", "corruption", "acquisition", "manifestation")

#: Names of test sets, which are names of folders on any system: ``Hospital Clínic`` is one.
TEST_SET_NAME = re.compile(r"[^\W_][^/\\:*?\"<>|\x00-\x1f\x7f]*(?<![ .])")

#: Per-case arrays that a test set may hold: the shape after the cases' axis, and the meaning.
ARRAYS: Mapping[str, tuple[str, str]] = {
    "logits": ("C", "class logits of one pass without dropout"),
    "features": ("F", "the backbone's features, the latent space"),
    "mcd_log_softmax": ("C", "log of the mean softmax over T dropout samples"),
    "mcd_entropy": ("", "mean over T dropout samples of the softmax entropy, in nats"),
    "confidence_logit": ("", "learned confidence before its sigmoid (ConfidNet, DeVries)"),
    "reservation_logit": ("", "logit of the reservation class (Deep Gamblers)"),
    "images": ("H,W[,3]", "uint8 thumbnails, grey or RGB, as the classifier saw the image"),
}


class ResultsError(ValueError):
    """A results folder is incomplete, damaged, of another version, or holds impossible values."""


def check_names(names: Sequence[str]) -> None:
    """Refuse test sets whose names cannot be those of folders; all offenders are named."""
    odd = [name for name in names if not TEST_SET_NAME.fullmatch(name)]
    if odd:
        raise ResultsError(
            f"test sets cannot be called {odd}: a name becomes a folder's. It starts with a letter or digit, "
            'does not end with a space or dot, and has none of / \\ : * ? " < > |'
        )


def check_rank(test_set: str, name: str, array: NDArray[Any]) -> None:
    """Refuse an array whose shape or dtype is not that of :data:`ARRAYS`."""
    ranks = {"": (1,), "C": (2,), "F": (2,), "H,W[,3]": (3, 4)}[ARRAYS[name][0]]
    if array.ndim not in ranks or (
        name == "images" and (array.dtype != np.uint8 or array.shape[3:] not in ((), (3,)))
    ):
        raise ResultsError(
            f"test set {test_set}: {name} has shape {array.shape} and dtype {array.dtype}, "
            f"expected (n{',' + ARRAYS[name][0] if ARRAYS[name][0] else ''}): {ARRAYS[name][1]}"
        )


def some(values: Sequence[Any] | pd.Series[Any], count: int = 10) -> str:
    """The first values, for an error message."""
    shown = ", ".join(str(v) for v in list(values)[:count])
    return shown + (f", ... ({len(values) - count} more)" if len(values) > count else "")


def load_array(path: Path) -> NDArray[Any]:
    """Map an array of plain values, read-only; nothing is unpickled."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
