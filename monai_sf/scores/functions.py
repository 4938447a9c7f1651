"""Confidence scores as pure functions of a network's output; `monai_sf.scores` lists them by name."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from monai_sf.vocabulary.outputs import class_logits, kind_of, refuse_what_is_no_log_probability

ArrayLike: TypeAlias = "Tensor | np.ndarray[Any, Any]"


def log_softmax(logits: ArrayLike) -> Tensor:
    """Return log-probabilities whose largest entry does not round to 0.

    The usual ``x - logsumexp(x)`` loses the largest entry's distance from 0 once the other classes together
    have less than 1e-16. Here that entry is ``-log1p(sum of exp(-gap))`` over the gaps to the other classes.

    Args:
        logits: (..., C), any real numbers; ``-inf`` for an excluded class.

    Returns:
        (..., C) float64, natural logarithms, <= 0; a single logit z is treated as [-z/2, z/2], C = 2.

    Raises:
        ValueError: they are classes, decisions or probabilities instead of logits, as far as that can be
            detected, or not real numbers (..., C).

    Warns:
        UserWarning: all of them lie in [0, 1], as after a sigmoid.

    Examples:
        PyTorch's log-probabilities of sure cases round to 0, also in float64, so that they tie:

        >>> import torch
        >>> from monai_sf.scores import log_softmax
        >>> logits = torch.tensor([[40.0, 0.0], [50.0, 0.0]], dtype=torch.float64)
        >>> torch.log_softmax(logits, dim=-1)[:, 0]
        tensor([0., 0.], dtype=torch.float64)
        >>> log_softmax(logits)[:, 0]
        tensor([-4.2484e-18, -1.9287e-22], dtype=torch.float64)
    """
    return normalized(logits_of(logits, "logits"))


def normalized(x: Tensor) -> Tensor:
    """Return the log-probabilities (..., C) of checked float64 logits (..., C), see `log_softmax`."""
    top = x.argmax(dim=-1, keepdim=True)
    gaps = x - x.gather(-1, top)
    others = gaps.exp().scatter(-1, top, 0.0).sum(dim=-1, keepdim=True)
    return gaps - others.log1p()


def maximum_softmax_response(logits: ArrayLike) -> Tensor:
    """Return the probability of the predicted class (MSR).

    Hendrycks & Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", ICLR 2017.
    To rank cases, use ``CSFS["MSR"]``: this probability is 1.0 for every logit gap above 37.

    Args:
        logits: (..., C).

    Returns:
        (...) float64 in [1/C, 1].

    Raises:
        ValueError: as `log_softmax`.

    Examples:
        The first case is surer; the second cannot tell two classes apart:

        >>> import torch
        >>> from monai_sf.scores import maximum_softmax_response
        >>> logits = torch.tensor([[3.0, 0.0, 0.0], [3.0, 3.0, 0.0]])
        >>> maximum_softmax_response(logits).round(decimals=2).tolist()
        [0.91, 0.49]
    """
    return log_softmax(logits).amax(dim=-1).exp()


def predictive_entropy(logits: ArrayLike) -> Tensor:
    """Return the entropy of the softmax (PE), ``-sum p log p``.

    Log-probabilities are their own logits, so the entropy of the mean of dropout samples (MCD-PE) is
    ``predictive_entropy(mean_log_softmax(sample_logits))``.

    Args:
        logits: (..., C).

    Returns:
        (...) float64 in [0, log C], nats; higher = less sure.

    Raises:
        ValueError: as `log_softmax`.

    Examples:
        The first case is surer; the second knows nothing, and its entropy is log 3:

        >>> import torch
        >>> from monai_sf.scores import predictive_entropy
        >>> logits = torch.tensor([[3.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
        >>> predictive_entropy(logits).round(decimals=2).tolist()
        [0.37, 1.1]
    """
    return entropy_of_log_probabilities(log_softmax(logits))


def deep_gamblers_confidence(logits: ArrayLike, reservation_logit: ArrayLike) -> Tensor:
    """Return the log of ``1 - p_reservation`` (DG-RES), with the softmax over all C + 1 outputs.

    Liu et al., "Deep Gamblers: Learning to Abstain with Portfolio Theory", NeurIPS 2019.

    Args:
        logits: (..., C), the class logits.
        reservation_logit: (...), the logit of the extra output that means "I do not bet".

    Returns:
        (...) float64, <= 0; its exponential is the probability that the network does not abstain.

    Raises:
        ValueError: as `log_softmax`, there are less than two classes, or the shapes do not fit together.

    Examples:
        Both cases are as sure of their class, but the network would rather not bet on the second:

        >>> import torch
        >>> from monai_sf.scores import deep_gamblers_confidence
        >>> logits = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
        >>> reservation = torch.tensor([-2.0, 4.0])
        >>> confidence = deep_gamblers_confidence(logits, reservation)
        >>> confidence.exp().round(decimals=2).tolist()
        [0.99, 0.28]
    """
    classes = logits_of(logits, "logits", binary=False)
    reservation = as_float64(reservation_logit, "reservation_logit")
    if classes.shape[:-1] != reservation.shape:
        raise ValueError(
            f"reservation_logit must have shape {tuple(classes.shape[:-1])}, that of logits without its last "
            f"axis, got {tuple(reservation.shape)}"
        )
    return logsigmoid(classes.logsumexp(dim=-1) - reservation.to(classes.device))


def learned_confidence(confidence_logit: ArrayLike) -> Tensor:
    """Return the log of a learned confidence (ConfidNet, DeVries): ``log sigmoid``.

    Corbière et al., "Addressing Failure Prediction by Learning Model Confidence", NeurIPS 2019; DeVries &
    Taylor, "Learning Confidence for Out-of-Distribution Detection in Neural Networks", 2018.

    Args:
        confidence_logit: (...), the output before its sigmoid.

    Returns:
        (...) float64, <= 0.

    Raises:
        ValueError: as `as_float64`.

    Examples:
        A head that gave 3 and -1 states confidences of 95 and 27 %:

        >>> import torch
        >>> from monai_sf.scores import learned_confidence
        >>> confidence = learned_confidence(torch.tensor([3.0, -1.0]))
        >>> confidence.exp().round(decimals=2).tolist()
        [0.95, 0.27]
    """
    return logsigmoid(as_float64(confidence_logit, "confidence_logit"))


def max_logit(logits: ArrayLike) -> Tensor:
    """Return the largest logit.

    Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.

    Args:
        logits: (..., C).

    Returns:
        (...) float64, unbounded.

    Raises:
        ValueError: as `log_softmax`.

    Examples:
        Both cases have the same probabilities; the first has the larger logits, which a softmax does not
        show:

        >>> import torch
        >>> from monai_sf.scores import max_logit, maximum_softmax_response
        >>> logits = torch.tensor([[9.0, 6.0], [3.0, 0.0]])
        >>> max_logit(logits).tolist()
        [9.0, 3.0]
        >>> maximum_softmax_response(logits).round(decimals=2).tolist()
        [0.95, 0.95]
    """
    return logits_of(logits, "logits").amax(dim=-1)


def energy(logits: ArrayLike) -> Tensor:
    """Return the negative free energy at temperature 1, ``log sum exp(logits)``; higher = more sure.

    Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020.

    Args:
        logits: (..., C).

    Returns:
        (...) float64, unbounded.

    Raises:
        ValueError: as `log_softmax`.

    Examples:
        It follows the largest logit, and is larger where several classes are likely:

        >>> import torch
        >>> from monai_sf.scores import energy
        >>> logits = torch.tensor([[9.0, 6.0], [3.0, 0.0], [3.0, 3.0]])
        >>> energy(logits).round(decimals=2).tolist()
        [9.05, 3.05, 3.69]
    """
    return logits_of(logits, "logits").logsumexp(dim=-1)


def logit_margin(logits: ArrayLike) -> Tensor:
    """Return the distance between the two largest logits, the log of the ratio of their probabilities.

    It is the margin of the logits, since that of the probabilities is 1.0 for every confident case.

    Args:
        logits: (..., C).

    Returns:
        (...) float64, >= 0.

    Raises:
        ValueError: as `log_softmax`.

    Examples:
        Between the two likeliest classes of each case:

        >>> import torch
        >>> from monai_sf.scores import logit_margin
        >>> logit_margin(torch.tensor([[3.0, 1.0, 0.0], [3.0, 3.0, 0.0]])).tolist()
        [2.0, 0.0]
    """
    first, second = logits_of(logits, "logits").topk(2, dim=-1).values.unbind(dim=-1)
    return first - second


def max_logit_p_norm(logits: ArrayLike, *, p: float = 5.0) -> Tensor:
    """Return the largest centred logit over the p-norm of the centred logits (MaxLogit-pNorm).

    Cattelan & Silva, "How to Fix a Broken Confidence Estimator", UAI 2024. The authors choose p on held-out
    data among small integers, with the softmax response as a fallback; do so if such data exist. With two
    classes the centred logits are (d, -d), so the score is constant and uninformative.

    Args:
        logits: (..., C).
        p: Order of the norm, > 0.

    Returns:
        (...) float64 in [0, 1]; 0 where all logits are equal.

    Raises:
        ValueError: p is not positive, or as `log_softmax`.

    Examples:
        It tells a clear winner from two rivals, and does not depend on the size of the logits:

        >>> import torch
        >>> from monai_sf.scores import max_logit_p_norm
        >>> logits = torch.tensor([[3.0, 0.0, 0.0], [30.0, 0.0, 0.0], [3.0, 3.0, 0.0]])
        >>> max_logit_p_norm(logits).round(decimals=2).tolist()
        [0.99, 0.99, 0.49]
    """
    if not p > 0:
        raise ValueError(f"p must be > 0, got {p}")
    x = logits_of(logits, "logits")
    centred = x - x.mean(dim=-1, keepdim=True)
    # Scaled by the largest magnitude first, so that the powers neither overflow nor underflow.
    scale = centred.abs().amax(dim=-1, keepdim=True)
    scaled = centred / torch.where(scale > 0, scale, torch.ones_like(scale))
    norm = torch.linalg.vector_norm(scaled, ord=p, dim=-1)
    return scaled.amax(dim=-1) / torch.where(norm > 0, norm, torch.ones_like(norm))


def as_float64(values: ArrayLike, name: str) -> Tensor:
    """Return the values as a float64 tensor on their device.

    Args:
        values: of any shape and real dtype, read-only memory maps included.
        name: of the array, for messages.

    Raises:
        ValueError: they are complex numbers, text or objects, or rows of different lengths.

    Examples:
        For scores of one's own, which may get arrays of any real type:

        >>> import numpy as np
        >>> from monai_sf.scores import as_float64
        >>> as_float64(np.array([1, 2], np.int8), "grades")
        tensor([1., 2.], dtype=torch.float64)
        >>> as_float64(np.array(["sure", "unsure"]), "grades")
        Traceback (most recent call last):
        ValueError: grades must be real, got <U6
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise ValueError(f"{name} must be real, got {values.dtype}")
        return values.to(torch.float64)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, with rows of one length ({error})") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real, got {array.dtype}")
    # A copy, since torch cannot wrap a read-only memory map.
    return torch.from_numpy(np.array(array, dtype=np.float64))


def logits_of(values: ArrayLike, name: str, *, binary: bool = True) -> Tensor:
    """Return float64 class logits (..., C), checked by `monai_sf.vocabulary.outputs.class_logits`; C >= 2."""
    x = _with_classes(values, name)
    if not binary and x.shape[-1] < 2:
        raise ValueError(f"{name} must have at least 2 classes here, got {x.shape[-1]}")
    checked: Tensor = class_logits(x, name, kind_of(values))
    return checked


def log_probabilities_of(values: ArrayLike, name: str) -> Tensor:
    """Return checked log-probabilities (..., C), float64, C >= 2."""
    x = _with_classes(values, name)
    refuse_what_is_no_log_probability(x, name)
    return x


def _with_classes(values: ArrayLike, name: str) -> Tensor:
    tensor = as_float64(values, name)
    if tensor.ndim == 0 or tensor.shape[-1] == 0:
        raise ValueError(
            f"{name} must have a last axis of at least one class, got shape {tuple(tensor.shape)}"
        )
    return tensor


def entropy_of_log_probabilities(log_p: Tensor) -> Tensor:
    """Return the entropy (...) in nats of log-probabilities (..., C)."""
    # An impossible class contributes nothing, whereas 0 * -inf would be NaN.
    return -torch.where(log_p == -math.inf, 0.0, log_p.exp() * log_p).sum(dim=-1)
