"""Who answers: networks and evaluations by their hashes, and what decides about deferring."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_sf.prediction.evaluations import read_evaluation
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
        target_risk: that the threshold was chosen for; None without an evaluation.
        class_names: of the C classes.
    """

    algorithm: str
    networks_sha256: tuple[str, ...]
    evaluations_sha256: tuple[str, ...]
    image_kinds: tuple[str, ...]
    method: str
    csf: str | None
    threshold: float
    target_risk: float | None
    class_names: tuple[str, ...]


def algorithm_of(
    pairs: Sequence[tuple[str, str | os.PathLike[str]]],
    *,
    method: str,
    csf: str | None,
    threshold: float,
    class_names: Sequence[str],
) -> Algorithm:
    """Return what the networks of an inference are.

    Args:
        pairs: SHA-256, of its checkpoint or as a given model, and run.json of the evaluation of each network;
            an evaluation that is not there, or is one of another network, is left out.
        method: of the training.
        csf: the score that decides, or None.
        threshold: of it, on its own scale.
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
    risk = first.get("thresholds", {}).get("target_risk")
    return Algorithm(
        " ".join([*(str(first[key]) for key in ("dataset", "study") if key in first), method]),
        networks,
        tuple(str(run["digest"]) for run in runs),
        tuple(map(str, first.get("image_kinds", ()))),
        method,
        csf,
        threshold if csf is None else CSFS[csf].shown(threshold),
        None if risk is None else float(risk),
        tuple(class_names),
    )
