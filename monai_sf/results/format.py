"""The format of a results folder, shared by writer and reader."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_sf.results.case_table import not_utf8
from monai_sf.vocabulary.reference import REFERENCE_ARRAYS
from monai_sf.vocabulary.registry import NAME_RULE, is_name

#: What ``run.json`` says that it is.
FORMAT = "monai_sf.results"
#: The only version that is read; it rises whenever earlier results can no longer be.
FORMAT_VERSION = 2

#: Files of a results folder; the arrays of a test set are in :func:`slug` of its name.
RUN_FILE, TABLE_FILE, COLUMNS_FILE = "run.json", "cases.csv", "columns.json"
SET_FILE, ROWS_FILE = "test_set.json", "rows.npy"

#: Folders beside the results of a run, and values of the key ``role`` of their run.json: outputs on the
#: training, validation and calibration cases, which are not reported.
TRAINING, VALIDATION, CALIBRATION = "training", "validation", "calibration"
NOT_REPORTED = (TRAINING, VALIDATION, CALIBRATION)

#: Optional key of run.json: the run's own scores, name to the array that holds the confidences.
SCORES = "scores"

#: Optional key of run.json, and its default: without classes, a case with a larger error is a failure.
FAILURE, FAILURE_ABOVE = "failure_above", 0.5

#: Key of run.json, true where the logits are the logarithms of given probabilities, which do not tell the
#: constant that all logits of a case share.
LOG_PROBABILITIES = "logits_are_log_probabilities"

#: Key of run.json: the precision of the passes, "float32", "tf32", "bfloat16" or "float16"; what follows the
#: logits is computed in float32 and float64.
PRECISION = "precision"

#: Keys that run.json always has.
RUN_KEYS = ("dataset", "study", "method", "seed", "class_names", "data_kind")

#: Per-case arrays of a test set: the shape after the axis of cases, and the meaning. Heads and scores of
#: other packages may have further ones, numbers of any shape.
ARRAYS: Mapping[str, tuple[str, str]] = {
    "logits": ("C", "class logits of one pass without dropout"),
    "features": ("F", "the backbone's features, the latent space; float32, or float16 of corrupted images"),
    "mcd_log_softmax": ("C", "log of the mean softmax over T dropout samples"),
    "mcd_entropy": ("", "mean over T dropout samples of the softmax entropy, in nats"),
    "mcd_softmax_variance": ("", "variance over T dropout samples of the softmax, averaged over the classes"),
    "mcd_waic": ("", "mean minus variance over T dropout samples of log p of the class that they predict"),
    "tta_log_softmax": ("C", "log of the mean softmax over the image and its augmented views"),
    "tta_entropy": ("", "mean over the image and its augmented views of the softmax entropy, in nats"),
    "ensemble_log_softmax": ("C", "log of the mean softmax of the networks of an ensemble"),
    "ensemble_entropy": ("", "mean over these networks of the softmax entropy, in nats"),
    "confidence_logit": ("", "learned confidence before its sigmoid (ConfidNet, DeVries)"),
    "reservation_logit": ("", "logit of the reservation class (Deep Gamblers)"),
    "errors": ("", "error of the answer in [0, 1], in place of logits where there are no classes"),
    "images": ("H,W[,3]", "uint8 thumbnails, grey or RGB, as the classifier saw the image"),
}
#: Those that may be minus infinity, the logarithm of a probability of zero.
LOGARITHMS = frozenset({"mcd_log_softmax", "mcd_waic", "tta_log_softmax", "ensemble_log_softmax"})
ARRAY_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: Files of a test set other than arrays.
_TAKEN = ("rows", "done")

#: Folders of the arrays of a run that belong to no case; no test set has a folder of such a name.
FITTED, REFERENCE = "_fitted", "_reference"
FITTED_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\.[a-z][a-z0-9_]{0,63}")

#: Folder of replaced results, which no table or report may read.
SET_ASIDE = "set_aside"

AGAIN = "remove the folder and run the evaluation again"


class ResultsError(ValueError):
    """A results folder is incomplete, damaged, of another version, or holds impossible values.

    The message names what is wrong, where, and what to do.

    Examples:
        >>> from monai_sf.results import Results, ResultsError
        >>> try:
        ...     logits = [[2.0, 0], [0.5, float("nan")]]
        ...     Results.from_arrays(logits, [0, 1], case_ids=["a", "b"])
        ... except ResultsError as error:
        ...     print(error)
        test set iid: logits is NaN or infinite for 1 cases: b
    """


def slug(name: str) -> str:
    """Return the folder of a test set: safe on every system, and unique per name.

    A name of lower-case letters, digits, ``-`` and ``_`` is its own folder; any other is reduced to these and
    ten digits of its hash are appended, so that ``Site`` and ``site`` differ on any file system.
    """
    if _PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name):
        return name
    left = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "set"
    return f"{left}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
#: Names of devices on Windows, and the pattern of a folder with a hash.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)|.*-[0-9a-f]{10}")


def seal(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of run.json with its own hash as ``digest``, which reveals later changes."""
    content = {key: value for key, value in run.items() if key != "digest"}
    plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return {**plain, "digest": hashlib.sha256(text.encode()).hexdigest()}


def with_advice(error: Exception, advice: str) -> str:
    """Return the message of an error about a damaged folder, with other advice than to remove that folder."""
    text = str(error)
    return text.replace(AGAIN, advice) if AGAIN in text else f"{text}; {advice}"


def read_run(file: Path) -> dict[str, Any]:
    """Return the content of a run.json, after verifying that the evaluation wrote it.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it is damaged, was changed, or is of another format version.
    """
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{RUN_FILE} is not JSON ({error}): {AGAIN}") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise ResultsError(f"{RUN_FILE} is not a results file of monai_sf")
    if run.get("format_version") != FORMAT_VERSION:
        raise ResultsError(
            f"results of format version {run.get('format_version')}, this monai_sf reads version "
            f"{FORMAT_VERSION}: {AGAIN}"
        )
    if missing := [key for key in (*RUN_KEYS, "test_sets", "files", "digest") if key not in run]:
        raise ResultsError(f"{RUN_FILE} lacks the keys {missing}")
    if seal(run)["digest"] != run["digest"]:
        raise ResultsError(f"{RUN_FILE} was changed after the evaluation: {AGAIN}")
    return run


def check_run(run: Mapping[str, Any]) -> None:
    """Refuse a description of a run with values of the wrong type; names all of them."""
    wrong = [
        f"{key} {run[key]!r:.80} (expected {'an integer' if kind is int else 'a text'})"
        for key, kind in {
            **dict.fromkeys(("dataset", "study", "method", "data_kind"), str),
            "seed": int,
        }.items()
        if key in run and (not isinstance(run[key], kind) or isinstance(run[key], bool))
    ]
    members = run.get("members", [0, 0])
    if not isinstance(members, (list, tuple)) or len(members) < 2 or any(type(m) is not int for m in members):
        wrong.append(f"members {members!r:.80} (expected the seeds of at least two networks)")
    names = run.get("class_names")
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        wrong.append(f"class_names {names!r:.80} (expected a list of texts)")
    elif halves := not_utf8(names):
        wrong.append(f"class_names {', '.join(halves)} (not UTF-8)")
    own = run.get(SCORES, {})
    if not isinstance(own, Mapping) or not all(
        is_name(name) and isinstance(array, str) and ARRAY_NAME.fullmatch(array)
        for name, array in own.items()
    ):
        wrong.append(
            f"{SCORES} {own!r:.80} (expected names of scores, which {NAME_RULE}, to names of arrays)"
        )
    above = run.get(FAILURE, FAILURE_ABOVE)
    if not isinstance(above, (int, float)) or isinstance(above, bool) or not 0 <= above < 1:
        wrong.append(f"{FAILURE} {above!r:.80} (expected a number in [0, 1))")
    if wrong:
        raise ResultsError(f"the run's description has {'; '.join(wrong)}")


def check_text(columns: Iterable[tuple[Hashable, Sequence[Any] | pd.Series[Any]]]) -> None:
    """Refuse text that cannot be written as UTF-8, in names or cells of a case table."""
    for column, values in columns:
        if halves := not_utf8([column]) or not_utf8(values):
            raise ResultsError(
                f"column {column!a} of the case table has text that is not UTF-8, as names of files in "
                f"another encoding are: {some(halves)}; rename them"
            )


def check_rank(test_set: str, name: str, array: NDArray[Any]) -> None:
    """Refuse an array with an invalid name, or with a shape or dtype other than in :data:`ARRAYS`."""
    if not isinstance(name, str) or not ARRAY_NAME.fullmatch(name) or name in _TAKEN:
        raise ResultsError(
            f"test set {test_set}: an array must be one of {', '.join(ARRAYS)}, or have another name of "
            f"lower-case letters, digits and _, got {name!r:.80}"
        )
    if array.dtype.kind not in "fiu" or not array.ndim:
        raise ResultsError(f"test set {test_set}: {name} has dtype {array.dtype}, expected numbers")
    if name not in ARRAYS:
        return
    ranks = {"": (1,), "C": (2,), "F": (2,), "H,W[,3]": (3, 4)}[ARRAYS[name][0]]
    if array.ndim not in ranks or (
        name == "images" and (array.dtype != np.uint8 or array.shape[3:] not in ((), (3,)))
    ):
        raise ResultsError(
            f"test set {test_set}: {name} has shape {array.shape} and dtype {array.dtype}, "
            f"expected (n{',' + ARRAYS[name][0] if ARRAYS[name][0] else ''}): {ARRAYS[name][1]}"
        )


def check_shared(
    fitted: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]], classes: int
) -> None:
    """Refuse arrays of a run with unknown names, of anything but numbers, or of other numbers of classes."""
    odd = [name for name in fitted if not isinstance(name, str) or not FITTED_NAME.fullmatch(name)]
    odd += [name for name in reference if name not in REFERENCE_ARRAYS]
    if odd:
        raise ResultsError(
            f"fitted arrays must be named <fit>.<array>, reference arrays {', '.join(REFERENCE_ARRAYS)}; got "
            f"{some(sorted(map(repr, odd)))}"
        )
    wrong = [
        f"{name} {array.dtype}"
        for name, array in {**fitted, **reference}.items()
        if array.dtype.kind not in "fiu"
    ]
    for name, array in reference.items():
        axes = REFERENCE_ARRAYS[name][0].split(",")
        sizes = dict(zip(axes, array.shape, strict=False))
        if array.ndim != len(axes) or sizes.get("C", classes) != classes:
            wrong.append(f"{name} {array.shape}, expected ({', '.join(axes)}) with C = {classes}")
    if wrong:
        raise ResultsError(
            f"fitted and reference arrays must be numbers of their shapes, got {'; '.join(wrong)}"
        )


def some(values: Sequence[Any] | pd.Series[Any], count: int = 10) -> str:
    """Return the first values, for an error message."""
    shown = ", ".join(str(v) for v in list(values)[:count])
    return shown + (f", ... ({len(values) - count} more)" if len(values) > count else "")


def load_array(path: Path, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """Map an array of plain values; nothing is unpickled, and the file is never written.

    Args:
        path: the file.
        mode: "r" for a read-only array; "c" for one that may be changed in memory, as torch wants it.

    Raises:
        ValueError: the file is not an array, or its length does not match its header.
        OSError: it cannot be read.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (EOFError, SyntaxError, TypeError, OverflowError) as error:  # from a damaged header
        raise ValueError(f"{path.name} is not an array ({error})") from error
    if not isinstance(array, np.memmap) or path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"{path.name} is longer or shorter than its header says")
    return array
