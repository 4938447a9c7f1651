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
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def fits_for(method: str | None) -> dict[str, Fit]:
    """Return the fits of the scores that apply to a method, by name.

    Args:
        method: as for :func:`monai_sf.scores.csfs_for`.

    Raises:
        ValueError: two scores have different fits of one name.
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
    """
    if fit.uses is not None and not arrays.keys() >= set(fit.uses.gives):
        arrays = {**arrays, **derived(fit.uses, arrays, fitted)}
    prefix = f"{fit.name}."
    own = {key.removeprefix(prefix): value for key, value in fitted.items() if key.startswith(prefix)}
    return fit(arrays, own)
