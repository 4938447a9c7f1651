"""Outputs on training and validation cases that a user gives, as the reference that scores are fitted to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_sf.results.format import ResultsError, some
from monai_sf.results.given_numbers import (
    Float,
    dtype_of,
    features_of,
    is_one_logit,
    numbers,
    plain,
    scores_of,
)
from monai_sf.vocabulary.outputs import refuse_other_order

#: What the mappings of training and validation cases may hold.
_KINDS = ("features", "logits", "probabilities", "labels")
#: Number of cases of each part on which the last layer is tried.
_TRIED = 1000
#: A difference between the given logits and those of the last layer, relative to the largest logit, that is
#: warned about (more than float16 rounds), and one that is refused (more than bfloat16 does).
_WARNED, _REFUSED = 2.0**-10, 2.0**-6


def reference_of(
    training: Mapping[str, ArrayLike] | None,
    validation: Mapping[str, ArrayLike] | None,
    last_layer: tuple[ArrayLike, ArrayLike] | None,
    tested: Mapping[str, NDArray[Any]],
    form: str,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of :data:`monai_sf.vocabulary.reference.REFERENCE_ARRAYS` that are given, checked.

    Features stay as they are if they are float32, memory maps included; they are neither copied nor read.

    Args:
        training: features (n, F), logits or probabilities (n, C), labels (n,) of training cases; any of them.
        validation: the same of validation cases.
        last_layer: weight (C, F) and bias (C,) of the layer from features to logits.
        tested: logits (N, C) and, if given, features (N, F) of the test cases.
        form: in which the test cases' outputs were given: "logits", "logit" (a single one) or
            "probabilities".

    Raises:
        ResultsError: something does not fit together, or is no such thing; names all of it.
    """
    found: dict[str, NDArray[Any]] = {}
    faults: list[str] = []
    for part, given in (("training", training), ("validation", validation)):
        if given is not None:
            arrays, wrong = _part(part, given, tested, form)
            found |= arrays
            faults += wrong
    if last_layer is not None:
        arrays, wrong = _last_layer(last_layer, tested, form)
        if not wrong:
            wrong = _tried({**arrays, **found}, tested)
        found |= arrays
        faults += wrong
    if faults:
        raise ResultsError("; ".join(faults))
    return found


def _part(
    part: str, given: Any, tested: Mapping[str, NDArray[Any]], form: str
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the arrays of the training or validation cases by their names in the reference, and faults."""
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        return {}, [f"{part} must be a dictionary of arrays by {', '.join(_KINDS)}, got a {kind}"]
    there = {name: values for name, values in given.items() if values is not None}
    if not there or (odd := sorted(map(str, there.keys() - set(_KINDS)))):
        got = ", ".join(odd) if there else "nothing"
        return {}, [f"{part} must hold some of {', '.join(_KINDS)}, got {got}"]
    wanted = "probabilities" if form == "probabilities" else "logits"
    if other := [name for name in ("logits", "probabilities") if name in there and name != wanted]:
        return {}, [f"{part} holds {other[0]}, but the test cases have {wanted}: give both in one form"]
    try:
        shapes = {name: np.shape(values) for name, values in there.items()}
    except ValueError as error:
        return {}, [f"{part} must hold arrays ({error})"]
    if len({shape[:1] for shape in shapes.values()}) > 1 or () in shapes.values():
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        return {}, [f"{part} arrays must have one entry for each of the same cases, got {listed}"]
    (n,) = shapes[next(iter(shapes))][:1]
    if not n:
        return {}, [f"{part} holds no case"]
    classes = tested["logits"].shape[1]
    found: dict[str, NDArray[Any]] = {}
    faults: list[str] = []
    try:
        refuse_other_order({f"{part}[{name!r}]": values for name, values in there.items()})
    except ValueError as error:
        faults.append(str(error))
    for name, values in there.items():
        where = f"{part}[{name!r}]"
        try:
            if name == "features":
                found[f"{part}_features"] = _features(where, values, n, tested)
            elif name == "labels":
                found[f"{part}_labels"] = _labels(where, values, classes)
            else:
                found[f"{part}_logits"] = _logits(where, values, n, classes, form)
        except ResultsError as error:
            faults.append(str(error))
    return found, faults


def _features(where: str, given: Any, n: int, tested: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    if "features" not in tested:
        raise ResultsError(f"{where} are of no use without features of the test cases: give these, too")
    found = features_of(where, given, n)
    if found.shape[1] != (width := tested["features"].shape[1]):
        raise ResultsError(f"{where} must be (n, {width}), as those of the test cases, got {found.shape}")
    return found


def _labels(where: str, given: Any, classes: int) -> NDArray[Any]:
    found: NDArray[Any] = np.asarray(plain(given))
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ResultsError(f"{where} must be (n,) integers, got shape {found.shape} and {dtype_of(given)}")
    if (wrong := (found < 0) | (found >= classes)).any():
        values = some(np.unique(found[wrong]).tolist())
        raise ResultsError(f"{where} must be in 0..{classes - 1}; {wrong.sum()} are not: {values}")
    return found.astype(np.int64)


def _logits(where: str, given: Any, n: int, classes: int, form: str) -> NDArray[np.float32]:
    if form != "probabilities" and is_one_logit(given) != (form == "logit"):
        expected = "a single logit" if form == "logit" else f"{classes} logits"
        raise ResultsError(f"{where} must have {expected} per case, as the test cases, got {np.shape(given)}")
    logits, probabilities = (None, given) if form == "probabilities" else (given, None)
    found = scores_of(logits, probabilities, n, where)
    if found.shape[1] != classes:
        raise ResultsError(f"{where} must be (n, {classes}), as those of the test cases, got {found.shape}")
    if bad := int((~np.isfinite(found)).any(axis=1).sum()):
        raise ResultsError(f"{where} are NaN or infinite for {bad} of {n} cases")
    return found.astype(np.float32)


def _last_layer(
    given: Sequence[ArrayLike], tested: Mapping[str, NDArray[Any]], form: str
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return weight and bias of the layer that gives the class logits, and faults."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return {}, ["last_layer must be a pair, weight (C, F) and bias (C,)"]
    if form == "probabilities":
        return {}, ["last_layer gives logits, which probabilities do not tell: give logits in their place"]
    if "features" not in tested:
        return {}, ["last_layer is of no use without the features that go into it: give these, too"]
    try:
        weight, bias = [numbers(f"last_layer[{i}]", values) for i, values in enumerate(given)]
    except ResultsError as error:
        return {}, [str(error)]
    single = form == "logit"
    classes, width = 1 if single else tested["logits"].shape[1], tested["features"].shape[1]
    if single:
        weight, bias = np.atleast_2d(weight), np.atleast_1d(bias)
    if weight.shape != (classes, width) or bias.shape != (classes,):
        turned = " (transpose it)" if weight.shape == (width, classes) else ""
        return {}, [
            f"last_layer must be a weight ({classes}, {width}) and a bias ({classes},), got "
            f"{weight.shape}{turned} and {bias.shape}"
        ]
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return {}, ["last_layer holds NaN or infinity"]
    if single:  # as vocabulary.outputs.class_logits
        weight, bias = (np.concatenate([-values, values]) / 2 for values in (weight, bias))
    return {"last_layer_weight": weight, "last_layer_bias": bias}, []


def _tried(found: Mapping[str, NDArray[Any]], tested: Mapping[str, NDArray[Any]]) -> list[str]:
    """Compare the layer's logits with the given ones, and return faults; warn about small differences."""
    weight, bias = found["last_layer_weight"], found["last_layer_bias"]
    pairs = {"test": (tested["features"], tested["logits"])}
    for part in ("training", "validation"):
        if f"{part}_features" in found and f"{part}_logits" in found:
            pairs[part] = found[f"{part}_features"], found[f"{part}_logits"]
    faults = []
    for part, (features, logits) in pairs.items():
        some_rows = np.unique(np.linspace(0, len(features) - 1, min(len(features), _TRIED)).astype(np.int64))
        inputs: Float = np.asarray(features[some_rows], np.float64)
        usable = np.isfinite(inputs).all(axis=1)
        outputs: Float = np.asarray(logits[some_rows], np.float64)[usable]
        if not len(outputs):
            continue
        largest = float(np.abs(inputs[usable] @ weight.T + bias - outputs).max())
        relative = largest / max(float(np.abs(outputs).max()), 1e-30)
        text = (
            f"last_layer does not give the logits of the {part} cases from their features: they differ by up "
            f"to {largest:.3g}, and reach {np.abs(outputs).max():.3g}"
        )
        if relative > _REFUSED:
            faults.append(f"{text}; is it the layer after these features, its weight not transposed?")
        elif relative > _WARNED:
            warnings.warn(f"{text}; was one of them rounded?", UserWarning, stacklevel=5)
    return faults
