"""Results from confidences and errors alone, for what is no classification, such as segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.results.format import FAILURE_ABOVE, ResultsError, some
from monai_sf.results.given_cases import listed
from monai_sf.results.given_images import images_of
from monai_sf.results.given_numbers import ROUNDING, Float, features_of, numbers
from monai_sf.results.given_run import check_order, check_words, parts_of
from monai_sf.results.test_set import TestSet

#: Name of a single score.
CONFIDENCE = "confidence"


def parts_from_scores(
    confidences: ArrayLike | Mapping[str, ArrayLike],
    errors: ArrayLike,
    *,
    features: ArrayLike | None = None,
    images: ArrayLike | Sequence[str] | None = None,
    case_ids: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    columns: Mapping[str, Sequence[Any]] | pd.DataFrame | None = None,
    dataset: str = "dataset",
    study: str | None = None,
    method: str = "model",
    seed: int = 0,
    data_kind: str = "real",
    failure_above: float = FAILURE_ABOVE,
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, TestSet]]:
    """Return the arguments of :class:`monai_sf.results.Results` for its method ``from_scores``.

    That method says what every argument is.

    Raises:
        ResultsError: an argument has another length than ``errors``, or holds impossible values.
    """
    check_words(method, data_kind)
    scores = confidences if isinstance(confidences, Mapping) else {CONFIDENCE: confidences}
    if not scores:
        raise ResultsError("confidences must hold at least one score")
    check_order(
        columns,
        errors=errors,
        features=features,
        case_ids=case_ids,
        domains=domains,
        **{f"confidences[{name!r}]": values for name, values in scores.items()},
    )
    found = numbers("errors", errors)
    if found.ndim != 1:
        raise ResultsError(f"errors must be (N,), got shape {found.shape}")
    n = len(found)
    outputs: dict[str, NDArray[Any]] = {"errors": _in_range(found, case_ids)}
    if features is not None:
        outputs["features"] = features_of("features", features, n)
    if images is not None:
        outputs["images"] = images_of(images, n)
    return parts_of(
        outputs,
        n,
        labels=None,
        class_names=(),
        scores=scores,
        case_ids=case_ids,
        domains=domains,
        kinds=kinds,
        columns=columns,
        study=study,
        dataset=dataset,
        method=method,
        seed=seed,
        data_kind=data_kind,
        failure_above=failure_above,
    )


def _in_range(errors: Float, case_ids: Sequence[str] | None) -> Float:
    """Return errors in [0, 1], float64, since float32 may tie or move beyond ``failure_above``."""
    wrong = ~((errors >= -ROUNDING) & (errors <= 1 + ROUNDING))
    if wrong.any():
        ids = range(len(errors)) if case_ids is None else listed("case_ids", case_ids, len(errors))
        which = some([f"case {ids[i]} {errors[i]:g}" for i in np.flatnonzero(wrong).tolist()])
        raise ResultsError(f"errors must be in [0, 1], as 1 - Dice is; {wrong.sum()} are not: {which}")
    clipped: Float = np.clip(errors, 0.0, 1.0)
    return clipped
