"""Fitting of scores to a run's reference, and the per-case arrays that they derive from it.

What was fitted is a flat mapping, ``<fit>.<array>`` to an array of numbers, as results store it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.scores.csf import CSFS, Arrays, Fit
from monai_sf.scores.functions import ArrayLike
from monai_sf.scores.reference import Reference
from monai_sf.scores.registry import applies_to


@dataclass(frozen=True)
class FittedScores:
    """What the scores of a run were fitted to.

    Attributes:
        arrays: ``<fit>.<array>`` to the array.
        failed: name of a fit that the reference does not allow to the reason.

    Examples:
        Features that do not vary within their class have no covariance, and a fit says so:

        >>> import numpy as np
        >>> from monai_sf.scores import fit_scores
        >>> features, labels = np.ones((4, 2)), np.array([0, 0, 1, 1])
        >>> reference = {"training_features": features, "training_labels": labels}
        >>> fitted = fit_scores(reference, method=None)
        >>> fitted.failed["gaussian"]
        'the features of the training cases do not vary within the classes'
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def fits_for(method: str | None) -> dict[str, Fit]:
    """Return the fits of the scores that apply to a method, by name.

    Args:
        method: as for :func:`monai_sf.scores.csfs_for`.

    Raises:
        ValueError: two scores have different fits of one name.

    Examples:
        What the networks of a method are fitted to, and what it takes:

        >>> from monai_sf.scores import fits_for
        >>> fits = fits_for("confidnet")
        >>> fits["temperature"].needs
        ('validation_logits', 'validation_labels')
        >>> fits["gaussian"].needs, fits["gaussian"].gives
        (('training_features', 'training_labels'), ('mahalanobis_distance', 'relative_mahalanobis_distance'))
        >>> fits_for("devries")
        {}
    """
    found: dict[str, Fit] = {}
    for csf in CSFS.values():
        if csf.fit is None or not applies_to(csf, method):
            continue
        if found.setdefault(csf.fit.name, csf.fit) is not csf.fit:
            raise ValueError(f"{csf.name} and another score have different fits named {csf.fit.name!r}")
    return found


def fit_scores(reference: Mapping[str, ArrayLike], method: str | None) -> FittedScores:
    """Fit every score of a method that the reference has the arrays for; one that fails stops no other.

    Args:
        reference: see :data:`monai_sf.vocabulary.reference.REFERENCE_ARRAYS`.
        method: as for :func:`monai_sf.scores.csfs_for`.

    Raises:
        ValueError: shapes in the reference do not fit together.

    Examples:
        The Mahalanobis distance (MDS) of a case beside the training cases of one class, and of one far from
        both:

        >>> import numpy as np
        >>> from monai_sf.scores import CSFS, derived, fit_scores
        >>> features = np.array([[0.0, 0], [1, 0], [0, 1], [8, 8], [9, 8], [8, 9]])
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> reference = {"training_features": features, "training_labels": labels}
        >>> fitted = fit_scores(reference, method=None)
        >>> cases = {"features": np.array([[0.5, 0.5], [4.0, 4.0]])}
        >>> arrays = derived(CSFS["MDS"].fit, cases, fitted.arrays)
        >>> CSFS["MDS"](arrays).round(decimals=1).tolist()
        [-0.5, -242.0]
    """
    given = Reference(reference)
    arrays: dict[str, NDArray[Any]] = {}
    failed: dict[str, str] = {}
    for name, fit in fits_for(method).items():
        if not fit.is_possible_with(given):
            continue
        try:
            arrays |= {f"{name}.{key}": value for key, value in _checked(given.shared(fit.fit)).items()}
        except ValueError as error:
            failed[name] = str(error)
        except Exception as error:  # of linear algebra, out of memory, or a mistake in another package
            failed[name] = f"{type(error).__name__}: {error}"
    return FittedScores(arrays, failed)


def _checked(fitted: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    found = {
        name: value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        for name, value in fitted.items()
    }
    if bad := [name for name, value in found.items() if not np.isfinite(value).all()]:
        raise ValueError(f"{', '.join(bad)} of the fit would hold NaN or infinity")
    return found


def derivable(available: Iterable[str], fitted: Iterable[str]) -> frozenset[str]:
    """Return the names of the arrays that can be derived.

    Args:
        available: names of the stored per-case arrays.
        fitted: names of the fitted arrays, ``<fit>.<array>``.

    Examples:
        What can be derived from features if temperature and covariance were fitted; the former takes
        logits, too:

        >>> from monai_sf.scores import derivable
        >>> fitted = ["temperature.temperature", "gaussian.mean"]
        >>> sorted(derivable(["features"], fitted))
        ['mahalanobis_distance', 'relative_mahalanobis_distance']
        >>> sorted(derivable(["features", "logits"], fitted))
        ['mahalanobis_distance', 'relative_mahalanobis_distance', 'scaled_entropy', 'scaled_log_response']
    """
    there, known = set(available), {name.partition(".")[0] for name in fitted}
    fits = {csf.fit.name: csf.fit for csf in CSFS.values() if csf.fit is not None}
    return frozenset(
        name
        for fit in fits.values()
        if known.issuperset({fit.name, (fit.uses or fit).name}) and there.issuperset(fit.reads)
        for name in fit.gives
    )


def derived(fit: Fit, arrays: Arrays, fitted: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return the per-case arrays of one fit.

    Args:
        fit: of a score.
        arrays: stored per-case arrays, at least those that it reads, of N cases each; those of the fit that
            it uses are derived, too, unless they are among them.
        fitted: the fitted arrays of all scores.

    Examples:
        One of four validation cases is predicted wrongly, so a softmax response of 0.98 promises too much;
        with the temperature of these cases it is 3/4:

        >>> import numpy as np
        >>> from monai_sf.scores import CSFS, derived, fit_scores
        >>> logits = np.array([[4.0, 0], [4, 0], [0, 4], [4, 0]])
        >>> labels = np.array([0, 0, 1, 1])
        >>> reference = {"validation_logits": logits, "validation_labels": labels}
        >>> fitted = fit_scores(reference, method=None)
        >>> case = {"logits": logits[:1]}
        >>> arrays = derived(CSFS["T-MSR"].fit, case, fitted.arrays)
        >>> CSFS["MSR"](case).exp().round(decimals=2).tolist()
        [0.98]
        >>> CSFS["T-MSR"](arrays).exp().round(decimals=2).tolist()
        [0.75]
    """
    if fit.uses is not None and not arrays.keys() >= set(fit.uses.gives):
        arrays = {**arrays, **derived(fit.uses, arrays, fitted)}
    prefix = f"{fit.name}."
    own = {key.removeprefix(prefix): value for key, value in fitted.items() if key.startswith(prefix)}
    return fit(arrays, own)
