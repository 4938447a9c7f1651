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
    """Build the results of a classifier on N images of one or several test sets.

    Numbers may be NumPy arrays, torch tensors, lists, or pandas columns. Cases are matched by position, not
    by the index of a Series or table; the same index in another order is refused.

    Args:
        logits: (N, C) class logits, or the single logit (N, 1) or (N,) of a binary classifier, that of class
            1; None when ``probabilities`` are given.
        labels: (N,) integers in 0..C-1; see ``kinds`` for cases of other classes.
        probabilities: (N, C) in place of logits, rows that sum to 1 within their precision, such as two
            digits or bfloat16.
        features: (N, F), the latent space; without them the report has no map. They may be a memory map;
            float32 is not copied, so do not change it afterwards. The same holds for images.
        images: (N, H, W) or (N, H, W, 3) uint8; or N paths of image files, or N uint8 arrays of different
            sizes, which are shrunk to 64 pixels.
        mcd_samples: (N, T, C) of T passes with dropout, C as in the logits: logits, or probabilities if those
            are given.
        tta_samples: (N, V, C) of V passes over augmented views, in the same way; one of them is that of the
            image itself.
        learned_confidence: (N,) in [0, 1], of ConfidNet or DeVries, or one minus the reservation of Deep
            Gamblers; state which with ``method``.
        scores: further scores of any kind: name to confidences (N,), finite, higher = more sure. They are
            rows of tables and reports beside the registered ones, whose names they must not have.
        arrays: further arrays that registered scores of other packages need, by name, (N, ...) numbers.
        training: ``features`` (n, F), ``logits`` or ``probabilities`` (n, C) as for the test cases, and
            ``labels`` (n,) of the training cases, on clean images without augmentation or dropout: whatever
            of it there is. The scores that are fitted to training cases (``docs/reference/scores.md``) appear
            with it.
            Features are not copied, as above.
        validation: the same of the validation cases.
        last_layer: weight (C, F) and bias (C,) of the linear layer from the features to the logits. A
            layer that does not give the logits is refused.
        case_ids: N ids. One id may occur once in every domain: a case and its corrupted versions.
        domains: N names of test sets: "iid" for the domain of training, "corruption-<kind>-<1 to 5>" for a
            corrupted one, any other text for a target domain. By default all are "iid".
        kinds: name of a target domain to "acquisition" (the default), "manifestation" or "new_class": cases
            of none of the classes, with labels outside 0..C-1 (such as -1), on which every answer is wrong.
        columns: further columns of the case table, N entries each, such as ``group`` (the patient). Patients
            are compared by the rule of :mod:`monai_sf.vocabulary.ids`, regardless of spelling, and a case
            without one (None, NaN, "unknown", ...) is its own group. Merged and missing ids are logged.
        class_names: C different names, by default "class 0" and so on.
        dataset: name of the data, for the reader.
        study: name of the study, by default that of the target domain, or "iid" without one.
        method: how the network was trained: "classifier", "confidnet", "deepgamblers", "devries", another
            one that is registered (:func:`monai_sf.scores.register_method`), or any other name, for which
            every score applies that the arrays allow. By default "confidnet" with a learned confidence and
            else "classifier".
        seed: of the training, to distinguish runs.
        data_kind: "real", "rendered" or "phantom".

    Returns:
        The arguments of :class:`~.results.Results`.

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
