"""Outputs of a network that a user gives, as the arrays that results store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_sf.results.format import ARRAYS, ResultsError, some
from monai_sf.vocabulary.methods import METHODS, Method
from monai_sf.vocabulary.outputs import SMALLEST, class_logits, kind_of, share_tolerance
from monai_sf.vocabulary.registry import NAME_RULE, is_name, taken_names

Float = NDArray[np.float64]

#: Tolerance of a confidence outside [0, 1].
ROUNDING = 1e-6


def plain(values: Any) -> Any:
    """Return a torch tensor of any device and precision as a NumPy array; anything else unchanged."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def dtype_of(given: Any) -> str:
    """Return the dtype that the caller knows: a tensor's own, not that of :func:`plain`."""
    dtype = given.dtype if hasattr(given, "dtype") else np.asarray(given).dtype
    return str(dtype).removeprefix("torch.")


def numbers(name: str, values: Any) -> Float:
    """Return real numbers of any shape."""
    try:
        given = np.asarray(plain(values))
        if given.dtype.kind != "c":
            return given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{name} must be real numbers in an array ({error})") from error
    raise ResultsError(f"{name} must be real numbers, got dtype {given.dtype}")


def matrix(name: str, given: Any, n: int) -> Float:
    """Return real numbers (n, ...) with two axes."""
    values = numbers(name, given)
    if values.ndim != 2 or len(values) != n:
        raise ResultsError(f"{name} must be a matrix with {n} rows (one per case), got shape {values.shape}")
    return values


def features_of(name: str, given: Any, n: int) -> NDArray[np.float32]:
    """Return features (n, F); float32 is not copied, since they may be a memory map larger than memory."""
    try:
        values = given.detach().cpu().float().numpy() if hasattr(given, "detach") else np.asarray(given)
    except ValueError as error:
        raise ResultsError(f"{name} must be real numbers in an array ({error})") from error
    if values.dtype.kind not in "fiu":
        raise ResultsError(f"{name} must be real numbers, got dtype {values.dtype}")
    if values.ndim != 2 or len(values) != n:
        raise ResultsError(f"{name} must be a matrix with {n} rows (one per case), got shape {values.shape}")
    found: NDArray[np.float32] = values.astype(np.float32, copy=False)
    return found


def is_one_logit(given: Any) -> bool:
    """Return whether outputs are a binary classifier's single logit, (n,) or (n, 1)."""
    return np.ndim(given) == 1 or np.shape(given)[1:] == (1,)


def scores_of(logits: Any, probabilities: Any, n: int, where: str = "") -> Float:
    """Return logits (n, C) of at least two classes; ``where`` is the name of the argument."""
    if logits is None:
        name = where or "probabilities"
        shares = matrix(name, probabilities, n)
        if shares.shape[1] < 2:
            raise ResultsError("there must be at least two classes; one p means probabilities [1 - p, p]")
        return _log(name, shares)
    name = where or "logits"
    values = numbers(name, logits)
    column = values[:, None] if values.ndim == 1 else values
    return _class_logits(name, matrix(name, column, n), logits)


def samples_of(name: str, given: Any, shape: tuple[int, ...], are_probabilities: bool) -> Float:
    """Return log-probabilities (N, T, C) of repeated passes, with dropout or over views."""
    samples = numbers(name, given)
    if samples.ndim == 3 and samples.shape[2] and not are_probabilities:
        samples = _class_logits(name, samples, given)
    if samples.ndim != 3 or samples.shape[::2] != shape or not samples.shape[1]:
        axis = "V" if name == "tta_samples" else "T"
        raise ResultsError(
            f"{name} must be (N, {axis}, C) with N, C = {shape} and {axis} >= 1, got {samples.shape}"
        )
    return _log(name, samples) if are_probabilities else log_softmax_of(samples)


def _class_logits(name: str, values: Float, given: Any) -> Float:
    if not values.shape[-1]:
        raise ResultsError(f"{name} must have at least one class, got shape {values.shape}")
    try:
        checked: Float = class_logits(
            values, name, kind_of(given if hasattr(given, "dtype") else np.asarray(given))
        )
    except ValueError as error:
        raise ResultsError(
            f"{error}: probabilities=... takes outputs, samples, and those of training and validation "
            "cases, as probabilities"
        ) from error
    return checked


def _log(name: str, probabilities: Float) -> Float:
    off = np.abs(probabilities.sum(axis=-1) - 1)
    wrong = (probabilities < 0).any(axis=-1) | ~(off <= share_tolerance(probabilities))
    if wrong.any():
        raise ResultsError(
            f"{name} must not be negative and add up to 1; {int(wrong.sum())} rows do not. Are they logits?"
        )
    logarithms: Float = np.log(np.maximum(probabilities, SMALLEST))
    return logarithms


# What follows does without torch what monai_sf.scores.samples does with it; a test compares them.
def log_softmax_of(logits: Float) -> Float:
    """Return log-probabilities (..., C) whose largest entry does not round to 0."""
    top = logits.argmax(axis=-1)[..., None]
    gaps = logits - np.take_along_axis(logits, top, axis=-1)
    others = np.exp(gaps)
    np.put_along_axis(others, top, 0.0, axis=-1)
    normalised: Float = gaps - np.log1p(others.sum(axis=-1, keepdims=True))
    return normalised


def mean_and_entropy(log_softmax: Float) -> tuple[Float, Float]:
    """Return log of mean softmax (N, C) and mean entropy (N,) of T passes' log-probabilities (T, N, C)."""
    shares = np.exp(log_softmax)
    mean = shares.mean(axis=0)
    sure, hardly = mean > 0.6, mean < 1e-290
    with np.errstate(divide="ignore"):
        log_mean = np.log(mean)
    log_mean[sure] = np.log1p(np.expm1(log_softmax[:, sure]).mean(axis=0))  # else sure cases tie at 0
    log_mean[hardly] = np.logaddexp.reduce(log_softmax[:, hardly], axis=0) - np.log(len(log_softmax))
    # an impossible class contributes nothing, whereas 0 * -inf would be NaN
    finite = np.maximum(log_softmax, np.finfo(np.float64).min)
    return log_mean, -np.einsum("tnc,tnc->n", shares, finite) / len(log_softmax)


def of_dropout(log_softmax: Float) -> dict[str, NDArray[Any]]:
    """Return what is stored of T dropout samples, from their log-probabilities (N, T, C)."""
    mean, entropy = mean_and_entropy(np.moveaxis(log_softmax, 1, 0))
    p = np.exp(log_softmax)
    # of a probability near 1, the distance from 1 is accurate, and has the same variance
    p = np.where(p.mean(axis=1, keepdims=True) > 0.5, np.expm1(log_softmax), p)
    predicted = mean.argmax(axis=1)[:, None, None]
    likelihood = np.take_along_axis(log_softmax, predicted, axis=2)[..., 0]
    with np.errstate(invalid="ignore"):  # -inf - -inf, where a sample rules the predicted class out
        spread = np.nan_to_num(likelihood.var(axis=1), nan=0.0)
    return {
        "mcd_log_softmax": mean.astype(np.float32),
        "mcd_entropy": entropy,
        "mcd_softmax_variance": p.var(axis=1).mean(axis=1),
        "mcd_waic": likelihood.mean(axis=1) - spread,
    }


def of_views(log_softmax: Float) -> dict[str, NDArray[Any]]:
    """Return what is stored of an image's V views, from their log-probabilities (N, V, C)."""
    mean, entropy = mean_and_entropy(np.moveaxis(log_softmax, 1, 0))
    return {"tta_log_softmax": mean.astype(np.float32), "tta_entropy": entropy}


def learned_of(
    given: ArrayLike, logits: NDArray[np.float32], method: Method
) -> dict[str, NDArray[np.float32]]:
    """Return the output of the method's head, float32, for a learned confidence (N,) in [0, 1]."""
    confidence = numbers("learned_confidence", given)
    if confidence.shape != (n := len(logits),):
        raise ResultsError(f"learned_confidence must be ({n},) (one per case), got shape {confidence.shape}")
    # a sigmoid or one minus a share, rounded
    outside = confidence[~((confidence >= -ROUNDING) & (confidence <= 1 + ROUNDING))]
    if len(outside):
        raise ResultsError(
            f"learned_confidence must be in [0, 1]; {len(outside)} values are not: "
            f"{some([float(value) for value in outside])}"
        )
    inner = np.clip(confidence, SMALLEST, 1 - np.finfo(np.float64).eps / 2)
    log_odds = np.log(inner) - np.log1p(-inner)
    if "reservation_logit" in method.heads:  # odds of the reservation against all classes together
        classes = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
        return {"reservation_logit": (classes - log_odds).astype(np.float32)}
    if "confidence_logit" in method.heads:
        return {"confidence_logit": log_odds.astype(np.float32)}
    able = [
        one.name for one in METHODS.values() if {"confidence_logit", "reservation_logit"} & set(one.heads)
    ]
    raise ResultsError(f"method {method.name!r} has no learned_confidence: name one of {able}")


def others_of(given: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[Any]]:
    """Return the arrays that scores of other packages need, float32."""
    if own := [name for name in given if name in ARRAYS]:
        raise ResultsError(f"arrays must not hold {own}, which come from other arguments")
    found = {name: numbers(f"arrays[{name!r}]", values).astype(np.float32) for name, values in given.items()}
    if short := {name: values.shape for name, values in found.items() if values.shape[:1] != (n,)}:
        raise ResultsError(f"arrays must have {n} entries (one per case), got the shapes {short}")
    return found


def own_scores_of(
    given: Mapping[str, ArrayLike], ids: Sequence[str]
) -> tuple[dict[str, str], dict[str, Float]]:
    """Return the names of scores with those of their arrays, and the arrays, (N,) float64: float32 may tie.

    Args:
        given: name to confidences (N,).
        ids: of the N cases, for messages.

    Raises:
        ResultsError: names that are no names or those of registered scores, other shapes, or NaN or infinite
            confidences; names all of them.
    """
    faults = []
    names: dict[str, str] = {}
    arrays: dict[str, Float] = {}
    taken = taken_names("monai_sf.scores")
    for number, (name, confidences) in enumerate(given.items(), 1):
        if not is_name(name):
            faults.append(f"the name of a score must {NAME_RULE}, got {name!r}")
        elif name in taken:
            faults.append(f"{name} is the name of a registered score, or reserved: give yours another name")
        try:
            values = numbers(f"scores[{name!r}]", confidences)
        except ResultsError as error:
            faults.append(str(error))
            continue
        if values.shape != (len(ids),):
            faults.append(f"scores[{name!r}] must be ({len(ids)},), got shape {values.shape}")
        elif (bad := ~np.isfinite(values)).any():
            cases = some([ids[i] for i in np.flatnonzero(bad).tolist()])
            faults.append(f"scores[{name!r}] is NaN or infinite for {bad.sum()} cases: {cases}")
        names[name] = f"score_{number}"
        arrays[names[name]] = values
    if faults:
        raise ResultsError("; ".join(faults))
    return names, arrays


def check_heads(method: Method, there: Mapping[str, Any]) -> None:
    """Refuse a run without the arrays of its method's own scores."""
    if method.scores is None or not (missing := [head for head in method.heads if head not in there]):
        return
    if set(missing) <= ARRAYS.keys():
        raise ResultsError(f"method {method.name!r} needs its learned_confidence, which is missing")
    raise ResultsError(f"method {method.name!r} needs its arrays {missing}, which are missing")
