"""AURC of every study and score with intervals, seeds merged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from monai_sf.report import words
from monai_sf.report.runs import Run, ShownScore
from monai_sf.scores import in_groups
from monai_sf.tables.judge import preferred_methods


def merged(scores: Sequence[ShownScore]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean AURC of several trainings, and its 95 % interval.

    The AURC varies with the cases and with the training. The trainings are tested on the same or overlapping
    cases, so that a mean over seeds is no more certain about other cases than one run is: this part is the
    root mean square of the runs' bootstrap intervals. The part of the training is Student's interval of the
    mean over runs. Each half of the interval is the root of the sum of the squares of both parts.

    Args:
        scores: one entry per run, at least one.

    Returns:
        The mean, and (low, high) in [0, 1]; None if a run has no interval, since its cases are of one group.
    """
    areas = np.array([j.aurc for j in scores])
    mean = float(areas.mean())
    intervals = [(j.aurc, j.aurc_interval) for j in scores if j.aurc_interval]
    if len(intervals) < len(areas):
        return mean, None
    training = 0.0
    if len(areas) > 1:
        runs = len(areas)
        training = float(scipy.stats.t.ppf(0.975, runs - 1) * areas.std(ddof=1) / math.sqrt(runs))

    def half(side: int) -> float:
        cases = [(bounds[side] - area) ** 2 for area, bounds in intervals]
        return math.sqrt(float(np.mean(cases)) + training**2)

    return mean, (max(mean - half(0), 0.0), min(mean + half(1), 1.0))


def study_table(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the AURC of every score on every uncorrupted test set of every study, for JSON.

    Returns:
        ``columns``: study, titles, name of the test set, smallest and largest number of cases, number of
        seeds, and the method that each score is read from; ``rows``: name of a score to one [AURC, low, high]
        per column, None without.
    """
    found: dict[tuple[str, str], list[tuple[Run, int]]] = {}
    for run in runs:
        for i, test_set in enumerate(run.sets):
            if test_set.corruption is None:
                found.setdefault((str(run.results.run["study"]), test_set.name), []).append((run, i))
    columns: list[dict[str, Any]] = [
        {
            "study": study,
            "studyTitle": words.study_title(members[0][0].results.run),
            "set": name,
            "title": words.set_title(members[0][0].sets[members[0][1]]),
            "counts": [bound(len(run.sets[i]) for run, i in members) for bound in (min, max)],
            "seeds": len({run.results.run["seed"] for run, _ in members}),
            "methods": preferred_methods([run.results for run, _ in members]),
        }
        for (study, name), members in found.items()
    ]
    rows = {
        csf: [
            _cell([run for run, _ in members], column["set"], csf, column["methods"])
            for members, column in zip(found.values(), columns, strict=True)
        ]
        for csf in in_groups(name for run in runs for name in run.csfs)
    }
    return {"columns": columns, "rows": rows}


def _cell(
    runs: Sequence[Run], test_set: str, csf: str, methods: Mapping[str, str]
) -> list[float | None] | None:
    scores = [
        run.shown[test_set, csf]
        for run in runs
        if csf in run.csfs and str(run.results.run["method"]) == methods[csf]
    ]
    if not scores:
        return None
    mean, interval = merged(scores)
    if math.isnan(mean):  # of new classes without ordinary cases
        return None
    return [mean, *(interval or (None, None))]
