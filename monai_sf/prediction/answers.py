"""The answer for one image, and many of them as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from monai_sf.prediction.scoring import Scored


@dataclass(frozen=True)
class Answer:
    """The answer for one image.

    Attributes:
        case_id: of the image.
        prediction: number of the predicted class.
        name: of this class.
        probabilities: of all classes.
        confidences: name of every applicable score to its value, NaN where it is undefined.
        deferred: whether the image should go to a reader; None if no score decides.
    """

    case_id: str
    prediction: int
    name: str
    probabilities: Sequence[float]
    confidences: Mapping[str, float]
    deferred: bool | None

    def row(self) -> dict[str, Any]:
        """Return the cells of a table."""
        decision = {} if self.deferred is None else {"defer": self.deferred}
        named = {"case_id": self.case_id, "prediction": self.prediction, "class": self.name}
        return {**named, **self.confidences, **decision}

    def entry(self) -> dict[str, Any]:
        """Return the entry of a JSON document."""
        return {
            "case_id": self.case_id,
            "prediction": self.prediction,
            "class": self.name,
            "probabilities": list(self.probabilities),
            "confidences": dict(self.confidences),
            "deferred_to_a_reader": self.deferred,
        }


def answers_of(
    ids: Sequence[str], found: Scored, class_names: Sequence[str], *, decides: bool
) -> list[Answer]:
    """Return the answers for some cases.

    Args:
        ids: of the M cases with an answer.
        found: their scores.
        class_names: of the C classes.
        decides: whether a score decides what is deferred.
    """
    names = list(found.confidences)
    columns = [found.confidences[name].tolist() for name in names]
    rows = zip(
        ids,
        found.classes.tolist(),
        found.probabilities,
        zip(*columns, strict=True) if names else [()] * len(ids),
        found.deferred.tolist(),
        strict=True,
    )
    return [
        Answer(
            case_id,
            label,
            class_names[label],
            probabilities,
            dict(zip(names, values, strict=True)),
            deferred if decides else None,
        )
        for case_id, label, probabilities, values, deferred in rows
    ]


def table_of(answers: Iterable[Answer]) -> pd.DataFrame:
    """Return the answers as a table, one row per image."""
    return pd.DataFrame([answer.row() for answer in answers])
