"""Do the probabilities of a classifier mean what they say? Reliability, ECE, Brier score and NLL.

That is another question than whether a confidence finds the wrong answers, see docs/guides/metrics.md. The
probabilities are the softmax of the network's logits, or the mean softmax of an ensemble.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch.nn.functional import mse_loss, nll_loss, one_hot

from monai_sf.results import Results, ResultsError
from monai_sf.scores.functions import as_float64, normalized
from monai_sf.scores.of_logits import TEMPERATURE, temperature_of
from monai_sf.tables.judge import fitted_scores

#: Bins of equal width, as in Guo et al., so that the expected calibration error can be compared with others'.
BINS = 15

#: Numbers of a block of cases, whose float64 probabilities are in memory at once.
_BLOCK = 2**21

Float = NDArray[np.float64]


class Reliability(NamedTuple):
    """How far probabilities are from the shares of correct answers.

    Attributes:
        cases: number of cases n.
        ece: expected calibration error in [0, 1], the mean over the cases of the distance between confidence
            and accuracy of their bin (Naeini et al., AAAI 2015; Guo et al., ICML 2017, equation 3).
        brier: Brier score in [0, 2], the mean over the cases of the squared distance between the
            probabilities and the one-hot label, summed over the classes (Brier, 1950). Other definitions
            for two classes are half of it.
        nll: mean negative log-likelihood of the labels in nats; infinite if some label has probability 0.
        confidence: (15,) mean probability of the predicted class in each of 15 bins of it, NaN without a
            case.
        accuracy: (15,) share of correct answers in each bin, NaN without a case.
        counts: (15,) number of cases in each bin.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import Reliability, reliability
        >>> results = Results.from_arrays([[4.0, 0], [3, 0], [0, 3], [2, 0]], [0, 0, 0, 1])
        >>> before: Reliability = reliability(results, "iid").before
        >>> # answers of a probability above 13/15 and above 14/15
        >>> before.counts[-2:].tolist()
        [1, 3]
        >>> before.confidence[-1:].round(2).tolist(), before.accuracy[-1:].round(2).tolist()
        ([0.96], [0.67])
    """

    cases: int
    ece: float
    brier: float
    nll: float
    confidence: Float
    accuracy: Float
    counts: NDArray[np.int64]


class Probabilities(NamedTuple):
    """Reliability of a run on a test set, with and without the temperature of its scores T-MSR and T-PE.

    Attributes:
        before: of the probabilities as the network gives them.
        after: of its logits divided by the temperature; None where none is fitted, and for ensembles.
        temperature: fitted to validation cases; None where ``after`` is.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import Probabilities, reliability
        >>> logits, labels = [[4.0, 0], [3, 0], [0, 3], [2, 0]], [0, 0, 0, 1]
        >>> results = Results.from_arrays(
        ...     logits, labels, validation={"logits": logits, "labels": labels}
        ... )
        >>> found: Probabilities = reliability(results, "iid")
        >>> # the network was overconfident
        >>> found.temperature > 1, found.after.nll < found.before.nll
        (True, True)
    """

    before: Reliability
    after: Reliability | None
    temperature: float | None


def reliability(results: Results, test_set: str) -> Probabilities | None:
    """Return how reliable the probabilities of a run are on a test set.

    Cases whose label is none of the classes have no likelihood and are left out. Logits that are the
    logarithms of given probabilities are as good as any: the constant that they lack changes no softmax.

    Args:
        results: the results of a run.
        test_set: name of one of its test sets.

    Returns:
        None without classes, or without a case whose label is one of them.

    Raises:
        ResultsError: there is no such test set; a fitted temperature is no positive number.

    Examples:
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import reliability
        >>> results = Results.from_arrays([[4.0, 0], [3, 0], [0, 3], [2, 0]], [0, 0, 0, 1])
        >>> found = reliability(results, "iid").before
        >>> round(found.ece, 2), round(found.brier, 2), round(found.nll, 2)
        (0.44, 0.84, 1.31)
    """
    if test_set not in results.test_sets:
        raise ResultsError(f"test_set must be one of {sorted(results.test_sets)}, got {test_set!r}")
    if not results.is_classification:
        return None
    labels = results.labels_of(test_set)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return None
    arrays = results.test_sets[test_set].arrays
    name = "logits" if "logits" in arrays else "ensemble_log_softmax"
    before = _reliability(arrays[name], labels, known, 1.0)
    fitted = fitted_scores(results).arrays.get(f"{TEMPERATURE.name}.temperature")
    if fitted is None or name != "logits":
        return Probabilities(before, None, None)
    temperature = temperature_of(fitted)
    if math.isnan(temperature):
        raise ResultsError(f"the fitted temperature must be one positive number, got {fitted.tolist()}")
    return Probabilities(before, _reliability(arrays[name], labels, known, temperature), temperature)


def _reliability(
    logits: NDArray[np.floating], labels: NDArray[np.int64], known: NDArray[np.int64], temperature: float
) -> Reliability:
    parts = []
    for chosen in np.array_split(known, -(-len(known) * logits.shape[1] // _BLOCK)):
        log_p = normalized(as_float64(logits[chosen], "logits") / temperature)
        own = torch.from_numpy(labels[chosen]).long()
        top, answer = log_p.max(dim=1)
        squares = mse_loss(log_p.exp(), one_hot(own, log_p.shape[1]).double(), reduction="none").sum(dim=1)
        surprise = nll_loss(log_p, own, reduction="none")
        parts.append(torch.stack([top.exp(), (answer == own).double(), squares, surprise]))
    top, right, squares, surprise = torch.cat(parts, dim=1).numpy()
    (confidence, accuracy), _, places = scipy.stats.binned_statistic(top, [top, right], "mean", BINS, (0, 1))
    counts = np.bincount(places - 1, minlength=BINS)
    filled = counts > 0
    ece = float(np.average(np.abs(confidence - accuracy)[filled], weights=counts[filled]))
    return Reliability(
        len(known), ece, float(squares.mean()), float(surprise.mean()), confidence, accuracy, counts
    )
