"""Results from the arrays of any model, for users that have outputs but not this package's evaluation."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from monai_sf.files.images import named, open_image, open_picture, tile
from monai_sf.results.format import ARRAYS, ResultsError, check_run, check_text, some
from monai_sf.results.test_set import TestSet
from monai_sf.vocabulary.ids import canonical_ids, case_notes, group_cases, is_absent
from monai_sf.vocabulary.methods import METHODS, Method
from monai_sf.vocabulary.outputs import class_logits, kind_of, refuse_other_order, share_tolerance
from monai_sf.vocabulary.shifts import TARGET_KINDS, corruption_of, is_corruption_name

Float = NDArray[np.float64]

_logger = logging.getLogger(__name__)

#: Probabilities are clipped below at this: float32 must be able to hold their logarithm.
SMALLEST = 1e-37
#: Tolerance of a confidence outside [0, 1].
ROUNDING = 1e-6
THUMBNAIL = 64
#: Columns of the case table that are made from the other arguments.
_OWN_COLUMNS = ("case_id", "label", "label_name")
#: Allowed values of some arguments.
_DATA_KINDS = ("real", "rendered", "phantom")


def parts_from_arrays(
    logits: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    probabilities: ArrayLike | None = None,
    features: ArrayLike | None = None,
    images: ArrayLike | Sequence[str] | None = None,
    mcd_samples: ArrayLike | None = None,
    learned_confidence: ArrayLike | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    case_ids: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    columns: Mapping[str, Sequence[Any]] | pd.DataFrame | None = None,
    class_names: Sequence[str] | None = None,
    dataset: str = "dataset",
    study: str | None = None,
    method: str | None = None,
    seed: int = 0,
    data_kind: str = "real",
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, TestSet]]:
    """Build the results of a classifier on N images of one or several test sets.

    Numbers may be NumPy arrays, torch tensors, lists, or pandas columns. Cases are matched by position, not
    by the index of a Series or table; the same index in another order is refused.

    Args:
        logits: (N, C) class logits, or the single logit (N, 1) or (N,) of a binary classifier, that of class
            1; None when ``probabilities`` are given.
        labels: (N,) integers in 0..C-1.
        probabilities: (N, C) in place of logits, rows that sum to 1 within their precision, such as two
            digits or bfloat16.
        features: (N, F), the latent space; without them the report has no map.
        images: (N, H, W) or (N, H, W, 3) uint8; or N paths of image files, or N uint8 arrays of different
            sizes, which are shrunk to 64 pixels.
        mcd_samples: (N, T, C) of T passes with dropout, C as in the logits: logits, or probabilities if those
            are given.
        learned_confidence: (N,) in [0, 1], of ConfidNet or DeVries, or one minus the reservation of Deep
            Gamblers; state which with ``method``.
        arrays: further arrays that registered scores of other packages need, by name, (N, ...) numbers.
        case_ids: N ids. One id may occur once in every domain: a case and its corrupted versions.
        domains: N names of test sets: "iid" for the domain of training, "corruption-<kind>-<1 to 5>" for a
            corrupted one, any other text for a target domain. By default all are "iid".
        kinds: name of a target domain to "acquisition" (the default) or "manifestation".
        columns: further columns of the case table, N entries each, such as ``group`` (the patient). Patients
            are compared by the rule of :mod:`monai_sf.vocabulary.ids`, regardless of spelling, and a case
            without one (None, NaN, "unknown", ...) is its own group. Merged and missing ids are logged.
        class_names: C different names, by default "class 0" and so on.
        dataset: name of the data, for the reader.
        study: name of the study, by default that of the target domain, or "iid" without one.
        method: "classifier", "confidnet", "deepgamblers", "devries" or another one that is registered
            (:func:`monai_sf.scores.register_method`); by default "confidnet" with a learned confidence and
            else "classifier".
        seed: of the training, to distinguish runs.
        data_kind: "real", "rendered" or "phantom".

    Raises:
        ResultsError: an argument is missing, has another length than ``labels``, or holds impossible values.
    """
    if labels is None:
        raise ResultsError("labels are missing: give (N,) integers")
    if (logits is None) == (probabilities is None):
        raise ResultsError("give either logits or probabilities")
    method = method or ("confidnet" if learned_confidence is not None else "classifier")
    _among("method", method, tuple(METHODS))
    _among("data_kind", data_kind, _DATA_KINDS)
    trained = METHODS[method]
    _check_order(
        columns,
        labels=labels,
        logits=logits,
        probabilities=probabilities,
        features=features,
        learned_confidence=learned_confidence,
        case_ids=case_ids,
        domains=domains,
        **{f"arrays[{name!r}]": values for name, values in ({} if arrays is None else arrays).items()},
    )
    truth = np.asarray(_plain(labels))
    if truth.ndim != 1 or not np.issubdtype(truth.dtype, np.integer):
        raise ResultsError(
            f"labels must be (N,) integers, got shape {truth.shape} and dtype {_dtype(labels)}"
        )
    n = len(truth)
    given_probabilities = probabilities is not None
    scores = _scores(logits, probabilities, n)
    outputs: dict[str, NDArray[Any]] = {"logits": scores.astype(np.float32)}
    if features is not None:
        outputs["features"] = _matrix("features", features, n).astype(np.float32)
    if images is not None:
        outputs["images"] = _images(images, n)
    if mcd_samples is not None:
        outputs |= _reduced(_samples(mcd_samples, scores.shape, given_probabilities))
    if learned_confidence is not None:
        sure = _logit(_numbers("learned_confidence", learned_confidence), n)
        outputs |= _learned(sure, outputs["logits"], trained)
    outputs |= _others({} if arrays is None else arrays, n)
    _check_heads(trained, outputs)
    names = list(class_names) if class_names is not None else [f"class {c}" for c in range(scores.shape[1])]
    check_run({"class_names": [str(name) for name in names]})
    if len(names) != scores.shape[1]:
        raise ResultsError(f"class_names must hold {scores.shape[1]} names, got {len(names)}")
    where = [str(d) for d in _listed("domains", domains, n, ["iid"] * n)]
    named_cases = _listed("case_ids", case_ids, n, [str(i) for i in range(n)])
    if unnamed := sum(map(is_absent, named_cases)):
        raise ResultsError(f"case_ids: {unnamed} of {n} are empty or NaN; name every case, or leave them out")
    ids = [str(i) for i in named_cases]
    extra = _columns(columns)
    own = [name for name in _OWN_COLUMNS if name in extra]
    if own:
        raise ResultsError(
            f"columns must not hold {own}, made from case_ids, labels and class_names; rename or drop them"
        )
    cases, rows = _cases(ids, truth, names, extra, n)
    targets = [d for d in dict.fromkeys(where) if d != "iid" and corruption_of(d) is None]
    run = {
        "dataset": dataset,
        "study": study or (targets[0] if targets else "iid"),
        "method": method,
        "seed": seed,
        "class_names": [str(name) for name in names],
        "data_kind": data_kind,
    }
    return run, cases, _test_sets(where, rows, outputs, dict({} if kinds is None else kinds))


def _among(name: str, value: str | None, known: Sequence[str | None]) -> None:
    if value not in known:
        raise ResultsError(f"{name} must be one of {[k for k in known if k]}, got {value!r}")


def _check_order(columns: Mapping[str, Any] | pd.DataFrame | None, **arguments: Any) -> None:
    more = (
        {"columns": columns}
        if isinstance(columns, pd.DataFrame)
        else dict({} if columns is None else columns)
    )
    try:
        refuse_other_order({**arguments, **{str(name): values for name, values in more.items()}})
    except ValueError as error:
        raise ResultsError(str(error)) from error


def _plain(values: Any) -> Any:
    """Return a torch tensor of any device and precision as a NumPy array; anything else unchanged."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def _dtype(given: Any) -> str:
    """Return the dtype that the caller knows: a tensor's own, not that of :func:`_plain`."""
    dtype = given.dtype if hasattr(given, "dtype") else np.asarray(given).dtype
    return str(dtype).removeprefix("torch.")


def _numbers(name: str, values: Any) -> Float:
    try:
        given = np.asarray(_plain(values))
        if given.dtype.kind != "c":
            return given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{name} must be real numbers in an array ({error})") from error
    raise ResultsError(f"{name} must be real numbers, got dtype {given.dtype}")


def _scores(logits: Any, probabilities: Any, n: int) -> Float:
    """Return logits (n, C) of at least two classes."""
    if logits is None:
        shares = _matrix("probabilities", probabilities, n)
        if shares.shape[1] < 2:
            raise ResultsError("there must be at least two classes; one p means probabilities [1 - p, p]")
        return _log("probabilities", shares)
    values = _numbers("logits", logits)
    column = values[:, None] if values.ndim == 1 else values
    return _class_logits("logits", _matrix("logits", column, n), logits)


def _samples(given: Any, shape: tuple[int, ...], are_probabilities: bool) -> Float:
    """Return log-probabilities (N, T, C) of dropout samples."""
    samples = _numbers("mcd_samples", given)
    if samples.ndim == 3 and samples.shape[2] and not are_probabilities:
        samples = _class_logits("mcd_samples", samples, given)
    if samples.ndim != 3 or samples.shape[::2] != shape or not samples.shape[1]:
        raise ResultsError(
            f"mcd_samples must be (N, T, C) with N, C = {shape} and T >= 1, got {samples.shape}"
        )
    return _log("mcd_samples", samples) if are_probabilities else _log_softmax(samples)


def _class_logits(name: str, values: Float, given: Any) -> Float:
    if not values.shape[-1]:
        raise ResultsError(f"{name} must have at least one class, got shape {values.shape}")
    try:
        checked: Float = class_logits(
            values, name, kind_of(given if hasattr(given, "dtype") else np.asarray(given))
        )
    except ValueError as error:
        raise ResultsError(
            f"{error}: probabilities=... takes scores and mcd_samples as probabilities"
        ) from error
    return checked


def _matrix(name: str, given: Any, n: int) -> Float:
    values = _numbers(name, given)
    if values.ndim != 2 or len(values) != n:
        raise ResultsError(f"{name} must be a matrix with {n} rows (as labels), got shape {values.shape}")
    return values


def _columns(given: Mapping[str, Sequence[Any]] | pd.DataFrame | None) -> dict[str, list[Any]]:
    """Return columns by name, their entries by position."""
    if given is None:
        return {}
    pairs = [(str(name), _entries(values)) for name, values in given.items()]
    twice = sorted({name for name, count in Counter(name for name, _ in pairs).items() if count > 1})
    if twice:
        raise ResultsError(f"columns must have different names; these occur twice: {twice}")
    return dict(pairs)


def _entries(values: Any) -> list[Any]:
    """Return the entries of a sequence, with Python numbers for tensors of one value."""
    return [
        entry.item() if hasattr(entry, "detach") and entry.ndim == 0 else entry for entry in _plain(values)
    ]


def _listed(name: str, given: Sequence[Any] | None, n: int, default: list[str]) -> list[Any]:
    values = default if given is None else _entries(given)
    if len(values) != n:
        raise ResultsError(f"{name} must have {n} entries (as labels), got {len(values)}")
    return values


def _log(name: str, probabilities: Float) -> Float:
    off = np.abs(probabilities.sum(axis=-1) - 1)
    wrong = (probabilities < 0).any(axis=-1) | ~(off <= share_tolerance(probabilities))
    if wrong.any():
        raise ResultsError(
            f"{name} must not be negative and add up to 1; {int(wrong.sum())} rows do not. Are they logits?"
        )
    logarithms: Float = np.log(np.maximum(probabilities, SMALLEST))
    return logarithms


# The two that follow do without torch what monai_sf.scores does with it; a test compares them.
def _log_softmax(logits: Float) -> Float:
    top = logits.argmax(axis=-1)[..., None]
    gaps = logits - np.take_along_axis(logits, top, axis=-1)
    others = np.exp(gaps)
    np.put_along_axis(others, top, 0.0, axis=-1)
    normalised: Float = gaps - np.log1p(others.sum(axis=-1, keepdims=True))
    return normalised


def _reduced(log_softmax: Float) -> dict[str, NDArray[Any]]:
    """Return mean softmax and mean entropy over T samples of (N, T, C) log-probabilities."""
    mean = np.logaddexp.reduce(log_softmax, axis=1) - np.log(log_softmax.shape[1])
    near_one = np.log1p(np.expm1(log_softmax).mean(axis=1))
    mean = np.where(mean > -0.5, near_one, mean)  # else confident cases would tie at 0
    entropy = -(np.exp(log_softmax) * log_softmax).sum(axis=2).mean(axis=1)
    return {"mcd_log_softmax": mean.astype(np.float32), "mcd_entropy": entropy.astype(np.float32)}


def _logit(confidence: Float, n: int) -> Float:
    if confidence.shape != (n,):
        raise ResultsError(f"learned_confidence must be ({n},) (as labels), got shape {confidence.shape}")
    # a sigmoid or one minus a share, rounded
    outside = confidence[~((confidence >= -ROUNDING) & (confidence <= 1 + ROUNDING))]
    if len(outside):
        raise ResultsError(
            f"learned_confidence must be in [0, 1]; {len(outside)} values are not: "
            f"{some([float(value) for value in outside])}"
        )
    inner = np.clip(confidence, SMALLEST, 1 - np.finfo(np.float64).eps / 2)
    logits: Float = np.log(inner) - np.log1p(-inner)
    return logits


def _learned(sure: Float, logits: NDArray[np.float32], method: Method) -> dict[str, NDArray[np.float32]]:
    """Return the output of the method's head for a learned confidence, from its log-odds (N,)."""
    if "reservation_logit" in method.heads:  # odds of the reservation against all classes together
        classes = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
        return {"reservation_logit": (classes - sure).astype(np.float32)}
    if "confidence_logit" in method.heads:
        return {"confidence_logit": sure.astype(np.float32)}
    able = [
        one.name for one in METHODS.values() if {"confidence_logit", "reservation_logit"} & set(one.heads)
    ]
    raise ResultsError(f"method {method.name!r} has no learned_confidence: name one of {able}")


def _others(given: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[Any]]:
    """Return the arrays that scores of other packages need, float32."""
    if own := [name for name in given if name in ARRAYS]:
        raise ResultsError(f"arrays must not hold {own}, which come from other arguments")
    found = {name: _numbers(f"arrays[{name!r}]", values).astype(np.float32) for name, values in given.items()}
    if short := {name: values.shape for name, values in found.items() if values.shape[:1] != (n,)}:
        raise ResultsError(f"arrays must have {n} entries (as labels), got the shapes {short}")
    return found


def _check_heads(method: Method, there: Mapping[str, Any]) -> None:
    """Refuse a run without the arrays of its method's own scores."""
    if method.scores is None or not (missing := [head for head in method.heads if head not in there]):
        return
    if set(missing) <= ARRAYS.keys():
        raise ResultsError(f"method {method.name!r} needs its learned_confidence, which is missing")
    raise ResultsError(f"method {method.name!r} needs its arrays {missing}, which are missing")


def _images(images: ArrayLike | Sequence[Any], n: int) -> NDArray[np.uint8]:
    plain = _plain(images)
    if isinstance(plain, np.ndarray) and plain.dtype.kind not in "OUS":
        if plain.dtype != np.uint8 or len(plain) != n or plain.ndim not in (3, 4) or not plain.size:
            raise ResultsError(
                f"images must be uint8, ({n}, H, W) or ({n}, H, W, 3), got {_dtype(images)} {plain.shape}"
            )
        return plain
    shown: list[NDArray[np.uint8]] = []
    faults: list[str] = []
    for i, image in enumerate(_listed("images", plain, n, [])):
        try:
            shown.append(_thumbnail(i, image))
        except ResultsError as error:
            faults.append(str(error))
    if faults:
        lines = faults[:10] + ([f"and {len(faults) - 10} more"] if len(faults) > 10 else [])
        raise ResultsError(f"{len(faults)} of {n} images cannot be shown:\n  " + "\n  ".join(lines))
    return np.stack(shown)


def _thumbnail(index: int, given: Any) -> NDArray[np.uint8]:
    """Return one image, an array or a file's path, as a square of 64 pixels with its proportions kept."""
    image = _plain(given)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not image.size or image.ndim < 2 or image.shape[2:] not in ((), (3,)):
            raise ResultsError(
                f"images[{index}] must be uint8, (H, W) or (H, W, 3), got {_dtype(given)} {image.shape}"
            )
        return tile(Image.fromarray(image), THUMBNAIL)
    if not isinstance(image, (str, os.PathLike)):
        raise ResultsError(f"images[{index}] must be an array or the path of a file, got {image!r:.80}")
    try:
        with named(image), open_image(image) as file:
            return tile(open_picture(file, mode="RGB"), THUMBNAIL)
    except OSError as error:
        raise ResultsError(f"images[{index}]: {error}") from error


def _cases(
    ids: list[str], labels: NDArray[Any], names: list[str], columns: Mapping[str, Sequence[Any]], n: int
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return the case table, one row per id, and the row of every entry."""
    rows, unique = pd.factorize(pd.Series(ids, dtype=object))
    first = np.zeros(len(unique), np.int64)
    first[rows[::-1]] = np.arange(n)[::-1]
    unlike = sorted({ids[i] for i in np.flatnonzero(labels != labels[first[rows]])})
    if unlike:
        raise ResultsError(f"labels differ between entries of one case id: {', '.join(unlike[:10])}")
    chosen = labels[first].astype(np.int64)
    valid = (chosen >= 0) & (chosen < len(names))
    table: dict[str, Any] = {
        "case_id": unique,
        "label": chosen,
        "label_name": [str(names[c]) if ok else "" for c, ok in zip(chosen, valid, strict=True)],
    }
    for name, values in columns.items():
        listed = _listed(f"column {name}", list(values), n, [])
        chosen_entries = _first_known(listed, ids, rows, first) if name == "group" else first
        table[str(name)] = [listed[i] for i in chosen_entries]
    check_text(table.items())  # before pandas raises its own error
    _check_ids(unique.tolist(), table.get("group"))
    return pd.DataFrame(table), rows.astype(np.int64)


def _first_known(
    groups: list[Any], ids: list[str], rows: NDArray[np.intp], first: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return each case's entry that names its group; its other entries must name the same, or none."""
    found = canonical_ids(groups)
    entry = first.copy()
    known = np.flatnonzero([one is not None for one in found])[::-1]
    entry[rows[known]] = known
    if unlike := sorted({ids[i] for i in known if found[i] != found[entry[rows[i]]]}):
        raise ResultsError(f"column group differs between entries of one case id: {', '.join(unlike[:10])}")
    return entry


def _check_ids(case_ids: Sequence[str], groups: Sequence[Any] | None) -> None:
    """Refuse a placeholder as id of most patients, and log the notes on the ids."""
    found = group_cases(groups, case_ids)
    try:
        found.check()
    except ValueError as error:
        raise ResultsError(f"column group: {error}") from error
    for note in (*found.notes, *case_notes(case_ids)):
        _logger.warning("%s", note)


def _test_sets(
    where: list[str], rows: NDArray[np.int64], arrays: Mapping[str, NDArray[Any]], kinds: dict[str, str]
) -> dict[str, TestSet]:
    unknown = sorted({kind for kind in kinds.values() if kind not in TARGET_KINDS})
    if unknown:
        raise ResultsError(f"kinds must be among {TARGET_KINDS}, got {unknown}")
    targets = {d for d in where if d != "iid" and corruption_of(d) is None}
    absent = sorted(set(kinds) - targets)
    if absent:
        raise ResultsError(f"kinds must name target domains, {sorted(targets)}; {absent} are not")
    odd = sorted(d for d in targets if is_corruption_name(d))
    if odd:
        raise ResultsError(f'corrupted domains must be "corruption-<kind>-<1 to 5>", got {odd}')
    domain = np.array(where, object)
    sets = {}
    for name in dict.fromkeys(where):
        members = np.flatnonzero(domain == name)
        corrupted = corruption_of(name)
        kind = "iid" if name == "iid" else "corruption" if corrupted else kinds.get(name, "acquisition")
        sets[name] = TestSet(
            name,
            kind,
            rows[members],
            {key: values[members] for key, values in arrays.items()},
            *(corrupted or (None, 0)),
        )
    return sets
