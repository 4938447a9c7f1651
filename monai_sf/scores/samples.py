"""Repeated passes over a case, with dropout or over views, as pure functions of all their logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_sf.scores.functions import ArrayLike, entropy_of_log_probabilities, logits_of, normalized


def mean_log_softmax(sample_logits: ArrayLike) -> Tensor:
    """Return the log of the softmax averaged over samples, accurate near 0 and minus infinity.

    Gal & Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.

    Args:
        sample_logits: (T, ..., C), one leading entry per pass.

    Returns:
        (..., C) float64, <= 0. Of dropout samples, its largest entry is the log of MCD-MSR, and its argmax
        the MC-dropout prediction.

    Raises:
        ValueError: there is no pass, or as `log_softmax`.

    Examples:
        Two passes over one case that contradict each other: their mean is undecided.

        >>> import torch
        >>> from monai_sf.scores import mean_log_softmax
        >>> sample_logits = torch.tensor([[[4.0, 0.0]], [[0.0, 4.0]]])
        >>> mean_log_softmax(sample_logits).exp().round(decimals=2).tolist()
        [[0.5, 0.5]]
    """
    return _mean(_log_softmax(sample_logits))


def expected_entropy(sample_logits: ArrayLike) -> Tensor:
    """Return the mean softmax entropy over samples (MCD-EE), the aleatoric part of the uncertainty.

    Args:
        sample_logits: (T, ..., C), one leading entry per pass.

    Returns:
        (...) float64 in [0, log C], nats; higher = less sure.

    Raises:
        ValueError: as `mean_log_softmax`.

    Examples:
        Two passes over two cases. On the first, the passes agree that the answer is open; on the second
        each is sure, and they contradict each other. The mean entropy sees the first kind of uncertainty
        only.

        >>> import torch
        >>> from monai_sf.scores import expected_entropy
        >>> first, second = [[0.0, 0.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]
        >>> sample_logits = torch.tensor([first, second])
        >>> expected_entropy(sample_logits).round(decimals=2).tolist()
        [0.69, 0.09]
    """
    return entropy_of_log_probabilities(_log_softmax(sample_logits)).mean(dim=0)


def mutual_information(sample_logits: ArrayLike) -> Tensor:
    """Return the entropy of the mean softmax minus the mean entropy (MCD-MI, BALD), the epistemic part.

    Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning", 2011.

    Args:
        sample_logits: (T, ..., C), one leading entry per pass.

    Returns:
        (...) float64 in [0, log C], nats; higher = less sure.

    Raises:
        ValueError: as `mean_log_softmax`.

    Examples:
        Two passes over two cases. On the first, the passes agree that the answer is open; on the second
        each is sure, and they contradict each other. The mutual information sees the second kind of
        uncertainty only.

        >>> import torch
        >>> from monai_sf.scores import mutual_information
        >>> first, second = [[0.0, 0.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]
        >>> sample_logits = torch.tensor([first, second])
        >>> mutual_information(sample_logits).round(decimals=2).tolist()
        [0.0, 0.6]
    """
    log_p = _log_softmax(sample_logits)
    information = entropy_of_log_probabilities(_mean(log_p)) - entropy_of_log_probabilities(log_p).mean(dim=0)
    return information.clamp(min=0)  # non-negative by Jensen's inequality, except for rounding


def softmax_variance(sample_logits: ArrayLike) -> Tensor:
    """Return the variance of the softmax over samples, averaged over the classes (MCD-SV).

    ``1/C sum_c (1/T sum_t p_tc^2 - mean_t(p_tc)^2)``: Smith & Gal, "Understanding Measures of Uncertainty for
    Adversarial Example Detection", UAI 2018, who show that it approximates the mutual information. FD-Shifts,
    the code of the paper's benchmark, averages the standard deviation in place of the variance: the same
    ranking for two classes, not for more.

    Args:
        sample_logits: (T, ..., C), one leading entry per pass.

    Returns:
        (...) float64 in [0, 1/4], exact down to 1e-300, where a float32 is 0; higher = less sure.

    Raises:
        ValueError: as `mean_log_softmax`.

    Examples:
        Two passes that agree on the first case, and contradict each other on the second:

        >>> import torch
        >>> from monai_sf.scores import softmax_variance
        >>> first, second = [[4.0, 0.0], [4.0, 0.0]], [[4.0, 0.0], [0.0, 4.0]]
        >>> sample_logits = torch.tensor([first, second])
        >>> softmax_variance(sample_logits).round(decimals=3).tolist()
        [0.0, 0.232]
    """
    return _variance(_log_softmax(sample_logits))


def waic(sample_logits: ArrayLike) -> Tensor:
    """Return the mean minus the variance over samples of the log-probability of the predicted class.

    Choi, Jang & Alemi, "WAIC, but Why? Generative Ensembles for Robust Anomaly Detection", 2018, have
    ``E[log p(x)] - Var[log p(x)]`` of generative models; the likelihood of a classifier is the probability of
    the class that it predicts, the argmax of the mean softmax. FD-Shifts, the code of the paper's benchmark,
    has the mean probability minus its standard deviation, not their logarithms, and takes all standard
    deviations from its first case (``np.take`` without an axis).

    Args:
        sample_logits: (T, ..., C), one leading entry per pass.

    Returns:
        (...) float64, <= 0, minus infinity if a sample rules the predicted class out; higher = more sure.

    Raises:
        ValueError: as `mean_log_softmax`.

    Examples:
        Two passes that agree on the first case, and contradict each other on the second:

        >>> import torch
        >>> from monai_sf.scores import waic
        >>> first, second = [[4.0, 0.0], [4.0, 0.0]], [[4.0, 0.0], [0.0, 4.0]]
        >>> sample_logits = torch.tensor([first, second])
        >>> waic(sample_logits).round(decimals=2).tolist()
        [-0.02, -6.02]
    """
    log_p = _log_softmax(sample_logits)
    return _waic(log_p, _mean(log_p))


def dropout_arrays(sample_logits: ArrayLike) -> dict[str, Tensor]:
    """Return all that is stored of dropout samples, on their device.

    Args:
        sample_logits: (T, N, C).

    Returns:
        ``mcd_log_softmax`` (N, C) float32, and (N,) float64 ``mcd_entropy``, ``mcd_softmax_variance`` and
        ``mcd_waic``: see `mean_log_softmax`, `expected_entropy`, `softmax_variance` and `waic`.

    Raises:
        ValueError: as `mean_log_softmax`.

    Examples:
        Fifty passes over three cases become the arrays of the scores that begin with MCD:

        >>> import torch
        >>> from monai_sf.scores import CSFS, dropout_arrays
        >>> samples = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0))
        >>> arrays = dropout_arrays(samples)
        >>> {name: tuple(array.shape) for name, array in arrays.items()}
        {'mcd_log_softmax': (3, 4), 'mcd_entropy': (3,), 'mcd_softmax_variance': (3,), 'mcd_waic': (3,)}
        >>> CSFS["MCD-MI"](arrays).shape
        torch.Size([3])
    """
    return dropout_arrays_of(_log_softmax(sample_logits))


def dropout_arrays_of(log_p: Tensor) -> dict[str, Tensor]:
    """Return what :func:`dropout_arrays` returns, from log-probabilities (T, N, C) float64, unchecked.

    A check has to read values, and waits for their device.
    """
    mean = _mean(log_p)
    return {
        "mcd_log_softmax": mean.float(),
        "mcd_entropy": entropy_of_log_probabilities(log_p).mean(dim=0),
        "mcd_softmax_variance": _variance(log_p),
        "mcd_waic": _waic(log_p, mean),
    }


def view_arrays(view_logits: ArrayLike) -> dict[str, Tensor]:
    """Return all that is stored of an image's views (test-time augmentation), on their device.

    Args:
        view_logits: (V, N, C), one leading entry per view; the image itself is one.

    Returns:
        ``tta_log_softmax`` (N, C) float32 and ``tta_entropy`` (N,) float64: see `mean_log_softmax` and
        `expected_entropy`.

    Raises:
        ValueError: as `mean_log_softmax`.

    Examples:
        An image and its mirror image, about which a network is of two minds:

        >>> import torch
        >>> from monai_sf.scores import CSFS, view_arrays
        >>> arrays = view_arrays(torch.tensor([[[4.0, 0.0]], [[1.0, 2.0]]]))
        >>> list(arrays)
        ['tta_log_softmax', 'tta_entropy']
        >>> CSFS["TTA-MSR"](arrays).exp().round(decimals=2).tolist()
        [0.63]
    """
    mean, entropy = mean_and_entropy_of(_log_softmax(view_logits))
    return {"tta_log_softmax": mean, "tta_entropy": entropy}


def mean_and_entropy_of(log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log of the mean softmax (N, C) float32 and the mean entropy (N,) float64 of several passes.

    Args:
        log_p: log-probabilities (V, N, C) float64, unchecked: a check waits for their device.
    """
    return _mean(log_p).float(), entropy_of_log_probabilities(log_p).mean(dim=0)


def _log_softmax(sample_logits: ArrayLike) -> Tensor:
    samples = logits_of(sample_logits, "sample_logits")
    if samples.ndim < 2 or samples.shape[0] == 0:
        raise ValueError(
            f"sample_logits must be (T, ..., C) with at least one sample, got shape {tuple(samples.shape)}"
        )
    return normalized(samples)


def _mean(log_p: Tensor) -> Tensor:
    mean = log_p.logsumexp(dim=0) - math.log(log_p.shape[0])
    near_one = log_p.expm1().mean(dim=0).log1p()
    return torch.where(mean > -0.5, near_one, mean)


def _variance(log_p: Tensor) -> Tensor:
    p = log_p.exp()
    # Of a probability near 1, the distance from 1 is accurate, and has the same variance.
    p = torch.where(p.mean(dim=0) > 0.5, log_p.expm1(), p)
    return p.var(dim=0, correction=0).mean(dim=-1)


def _waic(log_p: Tensor, mean: Tensor) -> Tensor:
    predicted = mean.argmax(dim=-1, keepdim=True).expand(log_p.shape[0], *mean.shape[:-1], 1)
    likelihood = log_p.gather(-1, predicted)[..., 0]
    expected = likelihood.mean(dim=0)
    found = expected - likelihood.var(dim=0, correction=0)
    return torch.where(expected == -math.inf, expected, found)
