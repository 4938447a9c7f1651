"""The grid search: which values are tried, and which of them the overlay config gets."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from monai_sf.bundle.keys import texts
from monai_sf.files import write_text

#: The study's ranges ("initial learning rate between 1e-3 and 1e-5 and weight decay between 0 and 1e-5"),
#: one value per decade. Bungert et al., MICCAI 2023, section 3.
GRID: Mapping[str, tuple[float, ...]] = {
    "learning_rate": (1e-3, 1e-4, 1e-5),
    "weight_decay": (0.0, 1e-6, 1e-5),
}


def points(search: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Return all combinations of the values; the last key varies fastest.

    Raises:
        ValueError: there is no key, or a key has no values.
    """
    if not search or not all(search.values()):
        raise ValueError(
            f"the grid must name config keys and the values to try, got {dict(search)}; "
            f"the study's is {dict(GRID)}"
        )
    return [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]


def check_read(search: Mapping[str, Sequence[float]], config: Mapping[str, Any]) -> None:
    """Refuse a grid whose trials would all be the same training.

    Args:
        search: config key to the values to try.
        config: merged config of a training, expressions as written.

    Raises:
        ValueError: nothing refers to a key, such as ``learning_rate`` where ``optimizer#lr`` is fixed.
    """
    found = [text for _, text in texts(config)]
    unread = [key for key in search if not any(re.search(rf"@{key.partition('#')[0]}\b", t) for t in found)]
    if unread:
        raise ValueError(
            f"the grid varies {', '.join(unread)}, which nothing in the config refers to, so that all trials "
            "would be the same: leave out the override that replaces it (such as optimizer#lr), or vary that"
        )


def label(point: Mapping[str, float]) -> str:
    """Return the name of a point's folder, such as ``learning_rate-0.001,weight_decay-0``."""
    return ",".join(f"{key}-{value:g}" for key, value in point.items())


def classifier_stages(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the override that leaves out the stages that a trial need not train.

    Stages after the classifier's (ConfidNet, fine-tuning of its encoder copy) do not change the classifier's
    validation accuracy, and would make a trial two thirds longer.

    Args:
        config: merged config of a training, with a list ``stages`` of :class:`monai_sf.engines.stages.Stage`.

    Returns:
        ``{"stages": ...}``, or an empty dictionary if there is no such list or a trial needs all of it.
    """
    stages = config.get("stages")
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        return {}
    needed = [stage for stage in stages if {"backbone", "head"} & set(stage.get("trains", ("backbone",)))]
    return {"stages": needed} if 0 < len(needed) < len(stages) else {}


def choose(
    trials: Mapping[str, Mapping[str, float]], accuracies: Mapping[str, float | None], overlay: Path
) -> dict[str, float]:
    """Write the best point as an overlay config, and all trials as a CSV file beside it.

    Args:
        trials: name of the trial to its point.
        accuracies: name of the trial to its validation accuracy in [0, 1]; None if it diverged.
        overlay: the YAML file to write; the CSV file has the same name with the suffix ``.csv``.

    Returns:
        The point with the highest accuracy, the first of equals.

    Raises:
        ValueError: every trial diverged.
        OSError: a file cannot be written.
    """
    finished = {name: value for name in trials if (value := accuracies[name]) is not None}
    if not finished:
        raise ValueError(f"all {len(trials)} trials diverged: {', '.join(trials)}")
    best = max(finished, key=lambda name: finished[name])
    table = pd.DataFrame(list(trials.values()), dtype=object)
    table["validation_accuracy"] = [str(finished.get(name, "diverged")) for name in trials]
    table["chosen"] = [int(name == best) for name in trials]
    write_text(overlay.with_suffix(".csv"), table.to_csv(index=False))
    reason = (
        f"# Chosen among {len(trials)} trials by validation accuracy ({finished[best]:.4f}); "
        f"{overlay.with_suffix('.csv').name} lists all of them.\n"
    )
    write_text(overlay, reason + yaml.safe_dump(dict(trials[best])))
    return dict(trials[best])
