"""Single images under all corruptions and severities, with the output of every score.

Bungert et al., "Understanding Silent Failures in Medical Image Classification", MICCAI 2023, section 2: "For
corruption shifts, we further allow investigating the predictions on a fixed input image over varying
intensity levels."
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_sf.report.packing import Packer
from monai_sf.report.runs import Run, shown_answers, shown_labels
from monai_sf.report.thumbnails import Sheets
from monai_sf.report.working_points import first_step, reaches_promise

#: Number of images per run.
CASES = 10


def chosen_cases(run: Run, seed: int) -> NDArray[np.int64]:
    """Choose images to show under all corruptions.

    First come images that are classified correctly when clean and wrongly when corrupted, the most
    confidently wrong ones first; at least a fifth are drawn at random, for comparison.

    Returns:
        (k,) int64 rows of the case table, k at most :data:`CASES`; empty
        without an iid set or without corrupted sets.
    """
    corrupted = [s for s in run.sets if s.corruption]
    if run.sets[0].kind != "iid" or not corrupted:
        return np.zeros(0, np.int64)
    common = run.sets[0].rows
    for test_set in corrupted:
        common = np.intersect1d(common, test_set.rows)
    csf = run.csfs[0]
    clean = run.shown[run.sets[0].name, csf].detection.failed[_positions(run.sets[0].rows, common)]
    worst = np.full(len(common), -np.inf)
    for test_set in corrupted:
        found = run.shown[test_set.name, csf].detection
        where = _positions(test_set.rows, common)
        wrong = found.failed[where] & ~clean
        worst[wrong] = np.maximum(worst[wrong], found.confidence[where][wrong])
    fooled = np.flatnonzero(np.isfinite(worst))
    fooled = fooled[np.argsort(-worst[fooled], kind="stable")][: CASES - CASES // 5]
    others = np.setdiff1d(np.arange(len(common)), fooled)
    drawn = np.random.default_rng(seed).permutation(others)[: CASES - len(fooled)]
    chosen: NDArray[np.int64] = common[np.concatenate([fooled, np.sort(drawn)])]
    return chosen


def sweep(
    run: Run, packer: Packer, sheets: Sheets, seed: int, with_images: bool, hide: Callable[[int], str]
) -> dict[str, Any] | None:
    """Return the chosen images for JSON: (image, test set) pictures, predictions, confidences and ranks.

    The rank is the share of reference cases with at most this confidence, so that scores on different scales
    share one plot. ``hide`` turns a row into the id that the page may show.
    """
    rows = chosen_cases(run, seed)
    if not len(rows):
        return None
    shown = [i for i, s in enumerate(run.sets) if i == 0 or s.kind == "corruption"]
    where = {i: _positions(run.sets[i].rows, rows) for i in shown}
    thumbs = [
        [
            sheets.add(run.sets[i].arrays["images"][where[i][k]])
            if with_images and "images" in run.sets[i].arrays
            else -1
            for i in shown
        ]
        for k in range(len(rows))
    ]
    return {
        "ids": [hide(row) for row in rows],
        "sets": shown,
        "label": packer.add(shown_labels(run.results)[rows], "uint16"),
        "error": None if run.results.is_classification else packer.add(_errors(run, where), "float32"),
        "thumb": packer.add(thumbs, "int32"),
        "csfs": {name: _csf(run, name, where, packer) for name in run.csfs},
    }


def _errors(run: Run, where: dict[int, NDArray[np.int64]]) -> NDArray[np.float64]:
    found = [run.shown[run.sets[i].name, run.csfs[0]].detection.error[at] for i, at in where.items()]
    errors: NDArray[np.float64] = np.stack(found, axis=1)
    return errors


def _csf(run: Run, name: str, where: dict[int, NDArray[np.int64]], packer: Packer) -> dict[str, Any]:
    reference = np.sort(run.shown[run.sets[0].name, name].detection.confidence)
    found = {i: run.shown[run.sets[i].name, name].detection for i in where}
    confidence = np.stack([found[i].confidence[at] for i, at in where.items()], axis=1)
    prediction = np.stack([shown_answers(found[i])[at] for i, at in where.items()], axis=1)
    rank = np.searchsorted(reference, confidence, side="right") / len(reference)
    return {
        "confidence": packer.add(confidence, "float32"),
        "prediction": packer.add(prediction, "uint16"),
        "rank": packer.add(rank, "float32"),
        "step": packer.add(first_step(confidence, run.thresholds[name]), "uint8"),
        "promised": packer.add(reaches_promise(confidence, run.thresholds[name]), "uint8"),
    }


def _positions(rows: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the wanted rows in a test set that holds all of them."""
    order = np.argsort(rows, kind="stable")
    positions: NDArray[np.int64] = order[np.searchsorted(rows[order], wanted)]
    return positions
