"""The grid search: which values are tried, and which of them goes into the overlay config."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from monai_sf.bundle.keys import strings
from monai_sf.files import write_text

#: The study's ranges ("initial learning rate between 1e-3 and 1e-5 and weight decay between 0 and 1e-5"),
#: one value a decade. Bungert et al., MICCAI 2023, section 3.
GRID: Mapping[str, tuple[float, ...]] = {
    "learning_rate": (1e-3, 1e-4, 1e-5),
    "weight_decay": (0.0, 1e-6, 1e-5),
}


def points(search: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """All combinations of the values, the last key's varying fastest.

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
    texts = list(strings(config))
    unread = [key for key in search if not any(re.search(rf"@{key.partition('#')[0]}\b", t) for t in texts)]
    if unread:
        raise ValueError(
            f"the grid varies {', '.join(unread)}, which nothing in the config refers to, so that all trials "
            "would be the same: leave out the override that stands in its place (such as optimizer#lr), or "
            "vary that"
        )


def label(point: Mapping[str, float]) -> str:
    """A point as the name of its folder, such as ``learning_rate-0.001,weight_decay-0``."""
    return ",".join(f"{key}-{value:g}" for key, value in point.items())


def classifier_stages(config: Mapping[str, Any]) -> dict[str, Any]:
    """The override that leaves out what a trial need not train.

    Stages behind the classifier's (ConfidNet, fine-tuning of its encoder copy) do not change the classifier's
    validation accuracy, and would make a trial two thirds longer.

    Args:
        config: merged config of a training, with a list ``stages`` of :class:`monai_sf.engines.stages.Stage`.

    Returns:
        ``{"stages": ...}``, or nothing where the config has no such list or all of it is needed.
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
        accuracies: name of the trial to its validation accuracy in [0, 1]; None where it diverged.
        overlay: the YAML file to write; the CSV file has the same name with the ending ``.csv``.

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
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*trials[best], "validation_accuracy", "chosen"])
    for name, point in trials.items():
        accuracy = accuracies[name]
        writer.writerow(
            [*point.values(), "diverged" if accuracy is None else repr(accuracy), int(name == best)]
        )
    write_text(overlay.with_suffix(".csv"), table.getvalue())
    reason = (
        f"# Chosen among {len(trials)} by validation accuracy ({finished[best]:.4f}); "
        f"{overlay.with_suffix('.csv').name} has them all.\n"
    )
    write_text(overlay, reason + yaml.safe_dump(dict(trials[best])))
    return dict(trials[best])
