"""What an inference reads of evaluations: what they promise of one network, or of an ensemble of several."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray
from torch import nn

from monai_sf.files import sha256_of
from monai_sf.networks import GivenClassifier
from monai_sf.networks.checkpoints import check_checkpoint
from monai_sf.results import Results, ResultsError, load_results
from monai_sf.results.format import CALIBRATION, FITTED, PRECISION, RUN_FILE, read_run, with_advice
from monai_sf.results.reader import load_fitted
from monai_sf.scores import CSFS, fits_for
from monai_sf.tables.promises import in_words, stored_thresholds

logger = logging.getLogger(__name__)

#: From outputs on calibration cases, name of their test set, target risk and delta to those of every score,
#: see :func:`monai_sf.tables.thresholds`.
Thresholds: TypeAlias = Callable[[Results, str, float, float], Mapping[str, Any]]


@dataclass(frozen=True)
class Promise:
    """What is promised of the predictions that a score trusts, see :func:`monai_sf.tables.thresholds`.

    Attributes:
        threshold: on the scale of the CSF; predictions with a lower confidence are deferred. Infinity if no
            threshold can be promised, so that all are.
        target_risk: highest error rate to tolerate among trusted predictions.
        delta: probability with which the promises of all scores may fail.
        risk_bound: what the error rate is at most; None without a threshold.
        calibration_groups: number of the groups (patients) that the promise rests on.
        groups_needed: without a threshold, about how many it would take; None if no number would do.
        in_words: the same in a sentence.
    """

    threshold: float
    target_risk: float
    delta: float
    risk_bound: float | None
    calibration_groups: int
    groups_needed: int | None
    in_words: str


def stored_promise(evaluation: str | os.PathLike[str], csf: str) -> Promise:
    """Read below which confidence a prediction is deferred, and what is promised of the others.

    Args:
        evaluation: run.json of an evaluation, see :func:`monai_sf.tables.thresholds`.
        csf: name of a confidence score.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it was changed or damaged, or has no thresholds, or none for this score; names those that
            it has.
    """
    return _promise(_thresholds(evaluation, read_evaluation(evaluation)), csf, str(evaluation))


def ensemble_promise(run_dirs: Sequence[Path], method: str, csf: str, thresholds: Thresholds) -> Promise:
    """Return below which confidence a prediction of an ensemble is deferred, and what is promised.

    The threshold is chosen on the ensemble's outputs on the calibration cases, for target risk and delta of
    its evaluations.

    Args:
        run_dirs: folders of evaluated runs that differ in the seed only.
        method: their training method.
        csf: name of a confidence score of ensembles.
        thresholds: computes the thresholds of outputs.

    Raises:
        FileNotFoundError: a run has no evaluation.
        ValueError: a run is damaged or of another method or has no thresholds, its outputs on calibration
            cases are damaged or not there, the runs are no ensemble or were evaluated for other promises, or
            this score is none of theirs; names all such runs.
    """
    stored = {folder: read_evaluation(folder / "results" / RUN_FILE) for folder in run_dirs}
    if wrong := [f"{folder} ({run['method']})" for folder, run in stored.items() if run["method"] != method]:
        raise ValueError(f"the method is {method!r}, which these runs do not have: {', '.join(wrong)}")
    found = {folder: _thresholds(folder / "results" / RUN_FILE, run) for folder, run in stored.items()}
    if without := [str(folder) for folder, own in found.items() if own is None]:
        raise ValueError(f"evaluated without calibration cases, so without thresholds: {', '.join(without)}")
    promises = {
        folder: (float(own["target_risk"]), float(own["delta"]))
        for folder, own in found.items()
        if own is not None
    }
    if len(set(promises.values())) > 1:
        told = ", ".join(f"{folder} {risk} and {delta}" for folder, (risk, delta) in promises.items())
        raise ValueError(
            f"the runs of an ensemble must be evaluated with one target_risk and one delta, got {told}"
        )
    outputs = [_calibration(folder, run) for folder, run in stored.items()]
    try:
        ensemble = Results.ensemble(outputs)
    except ResultsError as error:
        seeds = ", ".join(f"seed {run['seed']} is {folder}" for folder, run in stored.items())
        raise ResultsError(f"{error} ({seeds})") from error
    risk, delta = promises[run_dirs[0]]
    promised = thresholds(ensemble, "calibration", risk, delta)
    return _promise(promised, csf, f"the ensemble of {len(outputs)} runs")


def _calibration(folder: Path, run: Mapping[str, Any]) -> Results:
    outputs, evaluation = folder / CALIBRATION, folder / "results" / RUN_FILE
    # A complete evaluation is not repeated, whatever is missing beside it.
    again = f"restore it, or remove {outputs} and {evaluation} and evaluate again"
    if not (outputs / RUN_FILE).is_file():
        raise ResultsError(
            f"{outputs}, which an ensemble's thresholds are chosen from, is not there: {again}"
        )
    try:
        found = load_results(outputs)
    except ResultsError as error:
        raise ResultsError(with_advice(error, again)) from error
    if sha256_of(outputs / RUN_FILE) != run.get("sha256", {}).get(CALIBRATION):
        raise ResultsError(f"{outputs} is not what {evaluation} was written with: {again}")
    return found


def _thresholds(evaluation: str | os.PathLike[str], run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        return stored_thresholds(run)
    except ResultsError as error:
        raise ResultsError(f"{evaluation}: {error}") from error


def _promise(stored: Mapping[str, Any] | None, csf: str, where: str) -> Promise:
    if stored is None:
        raise ValueError(
            f"{where} has no thresholds, since there were no calibration cases of two classes: evaluate with "
            "more cases, or set csf to null for predictions without a decision"
        )
    csfs = stored["csfs"]
    if csf not in csfs:
        raise ValueError(f"{where} has no threshold for csf {csf!r}; it has {sorted(csfs)}")
    threshold = csfs[csf]["threshold"]
    return Promise(
        threshold=math.inf if threshold is None else float(threshold),
        target_risk=float(stored["target_risk"]),
        delta=float(stored["delta"]),
        risk_bound=csfs[csf]["bound"],
        calibration_groups=stored["groups"],
        groups_needed=csfs[csf]["needed"],
        in_words=in_words(csf, stored),
    )


def read_evaluation(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return run.json of an evaluation; its errors name the file and what to do."""
    try:
        return read_run(Path(path))
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from error
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no evaluation at {path}, so there is no threshold: run the evaluation first, or set csf "
            "to null for predictions without a decision"
        ) from None


def sha256_of_given(network: nn.Module) -> str | None:
    """Return the SHA-256 of a given network, which has no checkpoint; None for a trained one."""
    return network.sha256 if isinstance(network, GivenClassifier) else None


def fitted_scores(
    evaluation: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    method: str,
    csf: str | None,
    *,
    given: str | None = None,
) -> dict[str, NDArray[Any]]:
    """Return what the scores of a network were fitted to by its evaluation; that they are missing is logged.

    Args:
        evaluation: run.json of the evaluation.
        checkpoint: the network's file.
        method: its training method.
        csf: the score that decides, which cannot do without; or None.
        given: see :func:`sha256_of_given`.

    Returns:
        ``<fit>.<array>`` to the array.

    Raises:
        FileNotFoundError: there is no evaluation, and a score decides.
        ValueError: a file is damaged or was changed, or that of the deciding score is missing.
    """
    fits = fits_for(method)
    left_out = f"scores that are fitted ({', '.join(fits)}) are left out"
    if not fits:
        return {}
    if csf is None and not Path(evaluation).is_file():
        logger.warning("no evaluation at %s: %s", evaluation, left_out)
        return {}
    run, folder = read_evaluation(evaluation), Path(evaluation).parent
    if run.get("sha256", {}).get("checkpoint") != (given or check_checkpoint(checkpoint)):
        what = "model than the given one" if given else f"checkpoint than {checkpoint}"
        logger.warning("%s is of another %s: %s", evaluation, what, left_out)
        return {}
    decides = CSFS[csf].fit if csf is not None else None
    listed = any(name.startswith(f"{FITTED}/") for name in run["files"])
    if decides is None and listed and not (folder / FITTED).exists():
        logger.warning("there is no folder %s: %s", folder / FITTED, left_out)
        return {}
    return load_fitted(folder, run)


def check_evaluation(
    evaluation: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    class_names: Sequence[str],
    *,
    given: str | None = None,
    precision: str = "float32",
) -> None:
    """Refuse thresholds that were chosen for another network, for other classes or in another precision.

    Args:
        evaluation: run.json of an evaluation.
        checkpoint: the network's file.
        class_names: names of the C classes.
        given: see :func:`sha256_of_given`.
        precision: of the passes of this inference.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: they do not belong together, or the checkpoint was damaged or replaced.
    """
    run = read_evaluation(evaluation)
    found = check_checkpoint(checkpoint) if given is None else given
    what = str(checkpoint) if given is None else "the given model"
    if (evaluated := run.get("sha256", {}).get("checkpoint")) != found:
        raise ValueError(
            f"the thresholds in {evaluation} were chosen for another checkpoint ({str(evaluated)[:12]}...) "
            f"than {what} ({found[:12]}...): evaluate this one, "
            "give the evaluation that belongs to it, or "
            "set csf to null for predictions without a decision"
        )
    if (chosen := run.get(PRECISION, "float32")) != precision:
        raise ValueError(
            f"the thresholds in {evaluation} were chosen from passes in {chosen}, the passes here are in "
            f"{precision}: set evaluation_precision to {chosen}, or csf to null for predictions without a "
            "decision"
        )
    known = [str(name) for name in run.get("class_names", class_names)]
    named = [  # a class without a case or without a name is called by its number
        (name, there)
        for i, (name, there) in enumerate(zip(class_names, known, strict=False))
        if name != there and f"class {i}" not in (name, there)
    ]
    if named or len(known) != len(class_names):
        raise ValueError(
            f"class_names are {list(class_names)[:10]}, those of {evaluation} {known[:10]}: give them in the "
            "order of the training"
        )
