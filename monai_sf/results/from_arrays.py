"""Results from the arrays of any model, for users that have outputs but not this package's evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.results.format import LOG_PROBABILITIES, ResultsError, check_run
from monai_sf.results.given_images import images_of
from monai_sf.results.given_numbers import (
    check_heads,
    dtype_of,
    features_of,
    is_one_logit,
    learned_of,
    of_dropout,
    of_views,
    others_of,
    plain,
    samples_of,
    scores_of,
)
from monai_sf.results.given_reference import reference_of
from monai_sf.results.given_run import check_order, check_words, parts_of
from monai_sf.results.test_set import TestSet
from monai_sf.vocabulary.methods import METHODS, Method


def parts_from_arrays(
    logits: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    probabilities: ArrayLike | None = None,
    features: ArrayLike | None = None,
    images: ArrayLike | Sequence[str] | None = None,
    mcd_samples: ArrayLike | None = None,
    tta_samples: ArrayLike | None = None,
    learned_confidence: ArrayLike | None = None,
    scores: Mapping[str, ArrayLike] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
    training: Mapping[str, ArrayLike] | None = None,
    validation: Mapping[str, ArrayLike] | None = None,
    last_layer: tuple[ArrayLike, ArrayLike] | None = None,
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
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, TestSet], dict[str, Any], dict[str, Any]]:
    """Return the arguments of :class:`monai_sf.results.Results` for its method ``from_arrays``.

    That method says what every argument is.

    Raises:
        ResultsError: an argument is missing, has another length than ``labels``, or holds impossible values.
    """
    if labels is None:
        raise ResultsError("labels are missing: give (N,) integers")
    if (logits is None) == (probabilities is None):
        raise ResultsError("give either logits or probabilities")
    method = method or ("confidnet" if learned_confidence is not None else "classifier")
    arrays = {} if arrays is None else arrays
    scores = {} if scores is None else scores
    check_words(method, data_kind)
    trained = METHODS[method] if method in METHODS else Method(method)
    check_order(
        columns,
        labels=labels,
        logits=logits,
        probabilities=probabilities,
        features=features,
        learned_confidence=learned_confidence,
        case_ids=case_ids,
        domains=domains,
        **{f"arrays[{name!r}]": values for name, values in arrays.items()},
        **{f"scores[{name!r}]": values for name, values in scores.items()},
    )
    truth = np.asarray(plain(labels))
    if truth.ndim != 1 or not np.issubdtype(truth.dtype, np.integer):
        raise ResultsError(
            f"labels must be (N,) integers, got shape {truth.shape} and dtype {dtype_of(labels)}"
        )
    n = len(truth)
    given = scores_of(logits, probabilities, n)
    outputs: dict[str, NDArray[Any]] = {"logits": given.astype(np.float32)}
    if features is not None:
        outputs["features"] = features_of("features", features, n)
    form = "probabilities" if logits is None else "logit" if is_one_logit(logits) else "logits"
    reference = reference_of(training, validation, last_layer, outputs, form)
    if images is not None:
        outputs["images"] = images_of(images, n)
    if mcd_samples is not None:
        samples = samples_of("mcd_samples", mcd_samples, given.shape, probabilities is not None)
        outputs |= of_dropout(samples)
    if tta_samples is not None:
        samples = samples_of("tta_samples", tta_samples, given.shape, probabilities is not None)
        outputs |= of_views(samples)
    if learned_confidence is not None:
        outputs |= learned_of(learned_confidence, outputs["logits"], trained)
    outputs |= others_of(arrays, n)
    check_heads(trained, outputs)
    names = [f"class {c}" for c in range(given.shape[1])]
    if class_names is not None:
        names = [str(name) for name in class_names]
    check_run({"class_names": names})
    if len(names) != given.shape[1]:
        raise ResultsError(f"class_names must hold {given.shape[1]} names, got {len(names)}")
    run, cases, test_sets = parts_of(
        outputs,
        n,
        labels=truth,
        class_names=names,
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
    )
    if form == "probabilities":
        run[LOG_PROBABILITIES] = True
    return run, cases, test_sets, {}, reference
