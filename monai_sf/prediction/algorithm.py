"""Who answers: networks and evaluations by their hashes, and what decides about deferring."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_sf.prediction.evaluations import Promise, read_evaluation
from monai_sf.scores import CSFS


@dataclass(frozen=True)
class Algorithm:
    """What answers depend on besides the image and the version of this software.

    Attributes:
        algorithm: name, of dataset, study and method, as far as they are known.
        networks_sha256: SHA-256 of each checkpoint, or of the given model.
        evaluations_sha256: digest, in run.json, of each evaluation that belongs to a checkpoint.
        image_kinds: of the images of the training, where an evaluation says them.
        method: of the training.
        csf: the confidence score that decides, or None.
        threshold: below which a prediction is deferred, on the scale that the confidence is shown on;
            infinite if all are, NaN if none decides.
        class_names: of the C classes.
        target_risk: highest error rate to tolerate among trusted predictions; None if no score decides, as
            are the others.
        delta: probability with which the promises of all scores may fail.
        risk_bound: what the error rate of trusted predictions is at most; None if all are deferred.
        calibration_groups: number of the groups (patients) that the promise rests on.
        groups_needed: about how many it would take, where all are deferred; None if no number would do.
        promise: the same in a sentence; empty if no score decides.
    """

    algorithm: str
    networks_sha256: tuple[str, ...]
    evaluations_sha256: tuple[str, ...]
    image_kinds: tuple[str, ...]
    method: str
    csf: str | None
    threshold: float
    class_names: tuple[str, ...]
    target_risk: float | None = None
    delta: float | None = None
    risk_bound: float | None = None
    calibration_groups: int | None = None
    groups_needed: int | None = None
    promise: str = ""


def algorithm_of(
    pairs: Sequence[tuple[str, str | os.PathLike[str]]],
    *,
    method: str,
    csf: str | None,
    promise: Promise | None,
    class_names: Sequence[str],
) -> Algorithm:
    """Return what the networks of an inference are.

    Args:
        pairs: SHA-256, of its checkpoint or as a given model, and run.json of the evaluation of each network;
            an evaluation that is not there, or is one of another network, is left out.
        method: of the training.
        csf: the score that decides, or None.
        promise: of this score.
        class_names: of the C classes.

    Raises:
        ValueError: a file is damaged.
    """
    networks = tuple(network for network, _ in pairs)
    runs = [
        run
        for (_, evaluation), network in zip(pairs, networks, strict=True)
        if Path(evaluation).is_file()
        and (run := read_evaluation(evaluation)).get("sha256", {}).get("checkpoint") == network
    ]
    first = runs[0] if runs else {}
    about: dict[str, Any] = {}
    if promise is not None:
        about = {name: value for name, value in asdict(promise).items() if name != "threshold"}
        about["promise"] = about.pop("in_words")
    return Algorithm(
        " ".join([*(str(first[key]) for key in ("dataset", "study") if key in first), method]),
        networks,
        tuple(str(run["digest"]) for run in runs),
        tuple(map(str, first.get("image_kinds", ()))),
        method,
        csf,
        math.nan if csf is None or promise is None else CSFS[csf].shown(promise.threshold),
        tuple(class_names),
        **about,
    )
