"""Thresholds on confidence with a promise: above them, at most so many answers are wrong."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

from monai_sf.metrics import cases_for_guarantee, selective_threshold
from monai_sf.results import Results, ResultsError
from monai_sf.tables.judge import available_csfs, deciding_score, failure_detection
from monai_sf.vocabulary.ids import group_cases
from monai_sf.vocabulary.promise import check_promise

logger = logging.getLogger(__name__)

_ABOUT = ("target_risk", "delta", "cases", "groups", "csfs")
_POINT = ("threshold", "coverage", "risk", "bound", "delta", "needed")


def thresholds(results: Results, test_set: str, target_risk: float, delta: float) -> dict[str, Any]:
    """Return the promised confidence threshold of every CSF of a run.

    Of the cases with a confidence at or above it, at most the share ``target_risk`` is wrong. That holds for
    cases of the same population, with a probability of 1 - ``delta`` for all scores together, so that a
    reader may choose the score afterwards. The score that decides by default, which was fixed before, has
    half of ``delta``; the others share the rest. See :func:`monai_sf.metrics.selective_threshold`.

    Args:
        results: outputs on cases that nothing else was chosen by: the calibration cases.
        test_set: name of their test set.
        target_risk: highest error rate to tolerate among trusted predictions, in (0, 1).
        delta: probability with which a promise may fail, in (0, 1).

    Returns:
        ``target_risk``, ``delta``, the numbers of ``cases`` and of their ``groups`` (patients), and ``csfs``:
        name to ``threshold`` (on the scale of the CSF; None if none can be promised, so that every case is
        deferred), ``coverage`` (share of trusted cases, 0 without a threshold), ``risk`` (their error rate)
        and ``bound`` (what it is at most), which are None without a threshold, the score's ``delta``, and
        ``needed``: without a threshold, about how many groups it would take, None if no number would do.
        Coverage and risk are those of one case per group, on which the bound rests. A score that is
        undefined for some case is left out, with a warning in the log.

    Raises:
        ResultsError: there is no such test set.
        ValueError: ``target_risk`` or ``delta`` is out of range.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.results import Results
        >>> from monai_sf.tables import thresholds
        >>> logits = np.zeros((400, 2))
        >>> # predicts class 0, more and more surely
        >>> logits[:, 0] = np.linspace(0, 8, 400)
        >>> # and is wrong in the 40 least sure cases
        >>> labels = np.where(np.arange(400) < 40, 1, 0)
        >>> calibration = Results.from_arrays(logits, labels)
        >>> found = thresholds(calibration, "iid", target_risk=0.05, delta=0.1)
        >>> promised = found["csfs"]["MSR"]
        >>> (
        ...     round(promised["threshold"], 2),
        ...     promised["coverage"],
        ...     round(promised["bound"], 3),
        ... )
        (-0.42, 0.92, 0.049)
    """
    check_promise(target_risk, delta)
    target_risk, delta = float(target_risk), float(delta)  # as JSON can hold them
    if test_set not in results.test_sets:
        raise ResultsError(f"test_set must be one of {sorted(results.test_sets)}, got {test_set!r}")
    table = results.cases_of(test_set)
    groups = group_cases(table.get("group"), table["case_id"])
    csfs = {}
    for csf, share in _shares_of(results, delta):
        try:
            found = failure_detection(results, test_set, csf)
        except ResultsError as error:
            logger.warning("no threshold: %s", error)
            continue
        cases = (found.confidence, found.failed.astype(float))
        wanted: dict[str, Any] = {"target_risk": target_risk, "delta": share, "groups": groups}
        promised = selective_threshold(*cases, **wanted)
        csfs[csf] = {
            "threshold": None if promised is None else promised.threshold,
            "coverage": 0.0 if promised is None else promised.coverage,
            "risk": None if promised is None else promised.empirical_risk,
            "bound": None if promised is None else promised.risk_bound,
            "delta": share,
            "needed": None if promised is not None else cases_for_guarantee(*cases, **wanted),
        }
    about = {"target_risk": target_risk, "delta": delta, "cases": len(table), "groups": len(groups)}
    if without := [name for name, point in csfs.items() if point["threshold"] is None]:
        logger.warning(
            "no threshold promises at most %g %% errors, so that every case is deferred: %s",
            100 * target_risk,
            "; ".join(f"{name} ({_needed(csfs[name], about)})" for name in without),
        )
    return {**about, "csfs": csfs}


def stored_thresholds(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return ``thresholds`` of a run.json, as :func:`thresholds` returned them; None for a run without.

    Raises:
        ResultsError: they are damaged, or of another version.
    """
    stored = run.get("thresholds")
    if stored is None or _is_ours(stored):
        return stored
    raise ResultsError(
        f"the thresholds in run.json must have {', '.join(_ABOUT)}, and of each score {', '.join(_POINT)}: "
        "they are not those of this version, evaluate the run again"
    )


def _is_ours(stored: Any) -> bool:
    if not isinstance(stored, Mapping) or set(stored) != {*_ABOUT}:
        return False
    try:
        check_promise(stored["target_risk"], stored["delta"])
    except ValueError:
        return False
    points = stored["csfs"].values() if isinstance(stored["csfs"], Mapping) else [None]
    return all(map(_is_count, (stored["cases"], stored["groups"]))) and all(map(_is_point, points))


def _is_point(point: Any) -> bool:
    if not isinstance(point, Mapping) or set(point) != {*_POINT}:
        return False
    shares = [point[name] for name in ("coverage", "delta", "risk", "bound")]
    return (
        (point["threshold"] is None or _is_number(point["threshold"]))
        and (point["needed"] is None or _is_count(point["needed"]))
        and all(_is_number(share) and 0 <= share <= 1 for share in shares if share is not None)
        and None not in (shares if point["threshold"] is not None else shares[:2])
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 2**63)


def in_words(csf: str, stored: Mapping[str, Any]) -> str:
    """Return what is promised of the predictions that a score trusts, or why nothing is.

    Args:
        csf: name of the score.
        stored: what :func:`thresholds` returned.
    """
    point, most = stored["csfs"][csf], f"at most {100 * stored['target_risk']:g} %"
    if point["threshold"] is None:
        return (
            f"every image is deferred, since no threshold of {csf} can promise {most} errors among trusted "
            f"predictions with a probability of {100 * (1 - stored['delta']):g} %: {_needed(point, stored)}"
        )
    return (
        f"of the predictions with {csf} at or above its threshold {most} are wrong, with a probability of "
        f"{100 * (1 - stored['delta']):g} % for all scores together, on cases of the population of the "
        f"{stored['groups']:,} groups of calibration cases"
    )


def _needed(point: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    there = f"there are {about['groups']:,} groups of calibration cases"
    if point["needed"] is None:
        return f"{there}, and more would not do: its surest answers are wrong too often"
    return f"{there}, and it would take about {point['needed']:,}"


def _shares_of(results: Results, delta: float) -> Iterator[tuple[str, float]]:
    """Yield every score of a run and the probability with which its promise may fail; they sum to delta."""
    names = available_csfs(results)
    decides = deciding_score(results)
    for name in names:
        if len(names) == 1:
            yield name, delta
        elif decides not in names:
            yield name, delta / len(names)
        else:
            yield name, delta / 2 if name == decides else delta / 2 / (len(names) - 1)
