"""Evaluation of a trained classifier on all test sets of its study, as a MONAI engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.engines import PrepareBatchExtraInput, SupervisedEvaluator

from monai_sf.data import TestBatches, as_unit
from monai_sf.data.records import splits_of
from monai_sf.engines import tracking
from monai_sf.engines.fitting import fit_to_outputs, needs_training_cases
from monai_sf.engines.test_sets import OpenSets, PlannedSet, check_made_with
from monai_sf.files import sha256_of
from monai_sf.handlers import CollectOutputs, progress_bar
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import (
    Classifier,
    GivenClassifier,
    check_network,
    distributed,
    dropout_layers,
    load_weights,
    to_device,
)
from monai_sf.networks.checkpoints import check_checkpoint, load_checkpoint
from monai_sf.networks.given_checks import MIN_IMAGES
from monai_sf.networks.precision import check_precision
from monai_sf.results import Results, ResultsError, check_results, load_results
from monai_sf.results.format import (
    CALIBRATION,
    LOG_PROBABILITIES,
    NOT_REPORTED,
    PRECISION,
    RUN_FILE,
    TRAINING,
    VALIDATION,
    with_advice,
)
from monai_sf.scores import FittedScores
from monai_sf.transforms import CorruptionSweep
from monai_sf.vocabulary.promise import check_promise

logger = logging.getLogger(__name__)


def evaluated(run_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return run.json of a complete evaluation, after verifying the hash of every file.

    Args:
        run_dir: folder of the run, with ``results`` and, where they were needed and have not been removed,
            ``training``, ``validation`` and ``calibration``.

    Returns:
        The content of run.json; None if no evaluation was completed.

    Raises:
        ResultsError: a file is missing or was changed, or the thresholds were chosen from other outputs than
            those in ``calibration``, or scores were fitted to others than those in ``training`` and
            ``validation``; names the folders to remove.
    """
    results = Path(run_dir) / "results"
    if not (results / RUN_FILE).exists():
        return None
    run = check_results(results)
    for part, use in _USES.items():
        folder, made_from = Path(run_dir) / part, run.get("sha256", {}).get(part)
        if made_from is None or not (folder / RUN_FILE).exists():
            continue
        try:
            check_results(folder)
        except ResultsError as error:
            raise ResultsError(with_advice(error, _anew(run_dir))) from error
        if sha256_of(folder / RUN_FILE) != made_from:
            raise ResultsError(
                f"{use.format(results / RUN_FILE)} {folder} as it is: restore it, or {_anew(run_dir)}"
            )
    return run


#: What the outputs beside the results were used for.
_USES = {
    TRAINING: "the scores in {} were not fitted to",
    VALIDATION: "the scores in {} were not fitted to",
    CALIBRATION: "the thresholds in {} were not chosen from",
}


def _anew(run_dir: str | os.PathLike[str]) -> str:
    there = [str(path) for name in ("results", *NOT_REPORTED) if (path := Path(run_dir) / name).exists()]
    return f"remove {' and '.join(there)} to evaluate again"


#: Key of run.json: how the features of corrupted cases are stored.
_FEATURES = "corrupted_features"


class _AllSets(NamedTuple):
    """The folders that an evaluation fills."""

    training: OpenSets
    validation: OpenSets
    calibration: OpenSets
    results: OpenSets


class TestSetEvaluator(SupervisedEvaluator):
    """Evaluate a trained classifier on its test sets and write the results of the run.

    The training, validation and calibration cases come first, and are not reported. Scores are fitted to the
    training and validation cases, which pass through the network once, without augmentation or dropout; their
    outputs go to ``run_dir/training``, which is left out where no score of the run's method needs it, and to
    ``run_dir/validation``. The thresholds in run.json are chosen from the outputs on the calibration cases,
    in ``run_dir/calibration``, which nothing else is chosen from or fitted to (see
    :func:`monai_sf.tables.thresholds`); without cases of two classes among them there are none. Each image is
    read once, and passed through the network clean and in every corruption. A killed evaluation resumes at
    the first case without outputs; a complete one returns at once.

    Args:
        device: device of the computation.
        network: of the trained architecture, into which the best checkpoint is loaded; or a given one, which
            is checked on some of the images, and evaluated as it is.
        dataset: the cases, dictionaries with ``image`` (channels, H, W), bytes or in [0, 1], ``label``,
            ``case_id`` and ``split`` (train, val, calibration, iid or target), without augmentation.
        cases: the case table with the column ``split``.
        run_dir: folder of the run, with ``best.pt`` unless the classifier is given; the results go to
            ``run_dir/results``.
        target_kind: the study's kind; acquisition, manifestation or new_class for those with a target domain.
        sweep: corruptions of the iid cases, or None.
        inferer: computes the outputs that the confidence scores need.
        thresholds: computes those of every score, from the outputs on the calibration cases, the name of that
            test set, ``target_risk`` and ``delta``; see :func:`monai_sf.tables.thresholds`.
        failure_metrics: computes the metrics of the results, by name, that ``val_handlers`` log; see
            :func:`monai_sf.tables.failure_metrics`.
        target_risk: highest error rate to tolerate among trusted predictions, in (0, 1).
        delta: probability with which the thresholds may fail to keep to it, in (0, 1).
        run_description: content of run.json about the run: dataset, study, method, seed, config, ...
        batch_size: cases per batch, over all processes.
        num_workers: processes that read; 0 for this one.
        thumbnail_size: longer side of the stored images, in pixels; 0 stores none.
        thumbnail_limit: maximum number of stored images of corrupted cases; beyond it, those of the weakest
            severities are left out.
        corrupted_features: how the features of corrupted cases are stored, as "float32" or "float16", which
            halves what takes most of the disk.
        val_handlers: further handlers.

    Raises:
        ValueError: ``target_risk`` or ``delta`` is out of range, ``corrupted_features`` is neither, or the
            device does not have the inferer's precision.

    Examples:
        >>> import pandas as pd
        >>> import torch
        >>> from monai.data import Dataset
        >>> from torch import nn
        >>> from monai_sf.engines import TestSetEvaluator
        >>> from monai_sf.inferers import MCDropoutInferer
        >>> from monai_sf.networks import GivenClassifier
        >>> from monai_sf.results import load_results
        >>> from monai_sf.tables import failure_metrics, thresholds
        >>> splits = pd.DataFrame(
        ...     {"case_id": list("abcdefgh"), "label": [0, 1] * 4, "split": "iid"}
        ... )
        >>> cases = splits.assign(
        ...     image="", label_name="", group=splits["case_id"], source="phantom"
        ... )
        >>> images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> records = [
        ...     {"image": x, **case} for x, case in zip(images, splits.to_dict("records"))
        ... ]
        >>> about = {"dataset": "toy", "study": "iid", "method": "classifier", "seed": 0}
        >>> about |= {"class_names": ["dark", "bright"], "data_kind": "phantom"}
        >>> # a given one; else best.pt is loaded
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        >>> TestSetEvaluator(
        ...     device=torch.device("cpu"),
        ...     network=GivenClassifier(model, 2),
        ...     dataset=Dataset(records),
        ...     cases=cases,
        ...     run_dir="run",
        ...     target_kind="iid",
        ...     sweep=None,
        ...     inferer=MCDropoutInferer(samples=0),
        ...     thresholds=thresholds,
        ...     failure_metrics=failure_metrics,
        ...     target_risk=0.05,
        ...     delta=0.1,
        ...     run_description=about,
        ...     batch_size=4,
        ... ).run()
        >>> {
        ...     name: len(test_set)
        ...     for name, test_set in load_results("run/results").test_sets.items()
        ... }
        {'iid': 8}
    """

    __test__ = False  # not a pytest class

    def __init__(
        self,
        *,
        device: torch.device,
        network: Classifier,
        dataset: Dataset,
        cases: pd.DataFrame,
        run_dir: str | os.PathLike[str],
        target_kind: str,
        sweep: CorruptionSweep | None,
        inferer: MCDropoutInferer,
        thresholds: Callable[[Results, str, float, float], Mapping[str, Any]],
        failure_metrics: Callable[[Results], Mapping[str, float]],
        target_risk: float,
        delta: float,
        run_description: Mapping[str, Any],
        batch_size: int,
        num_workers: int = 0,
        thumbnail_size: int = 64,
        thumbnail_limit: int = 1_000_000,
        corrupted_features: str = "float32",
        val_handlers: Sequence[Any] = (),
    ) -> None:
        self.run_dir, self.classifier = Path(run_dir), network
        self.dataset, self.cases, self.target_kind, self.sweep = dataset, cases, target_kind, sweep
        self.run_description, self.batch_size, self.num_workers = run_description, batch_size, num_workers
        check_promise(target_risk, delta)
        check_precision(inferer.precision, device)
        if corrupted_features not in ("float32", "float16"):
            raise ValueError(f"corrupted_features must be float32 or float16, got {corrupted_features!r}")
        self.corrupted_features = corrupted_features
        self.method, self.precision = str(run_description["method"]), inferer.precision
        self.passes = inferer
        self.thumbnail_size, self.target_risk, self.delta = thumbnail_size, target_risk, delta
        self.thresholds, self.failure_metrics = thresholds, failure_metrics
        self.thumbnail_limit, self.val_handlers = thumbnail_limit, val_handlers
        super().__init__(
            device=device,
            val_data_loader=[],
            epoch_length=1,
            network=to_device(network, device),
            non_blocking=True,
            inferer=inferer,
            prepare_batch=PrepareBatchExtraInput({"case_ids": "case_id", "plain": "plain"}),
            decollate=False,
        )

    def run(self) -> None:  # type: ignore[override]
        """Evaluate, or resume an evaluation that was killed.

        Raises:
            RuntimeError: another process works on this run.
            FileNotFoundError: the training has not been run.
            ValueError: the checkpoint is damaged or of another network, or a given network is not what it was
                declared to be (see :func:`monai_sf.networks.check_network`); outputs are not finite; or
                existing outputs are damaged, or were made with another checkpoint, precision, number of
                dropout samples, or whatever else changes them.
            OSError: the results cannot be written; complete outputs are kept.
        """
        if distributed.from_main(self._is_complete):
            logger.info("%s is already evaluated", self.run_dir)
            return
        self.checkpoint = distributed.from_main(self._sha256_of_network)
        with distributed.working_on(self.run_dir):
            if isinstance(self.classifier, GivenClassifier):
                self._check_given(self.classifier)
            else:
                best = self.run_dir / "best.pt"
                load_weights(self.classifier, load_checkpoint(best)["network"], str(best))
            self._evaluate()

    def _sha256_of_network(self) -> str:
        if isinstance(self.classifier, GivenClassifier):
            return self.classifier.sha256
        return check_checkpoint(self.run_dir / "best.pt")

    def _check_given(self, network: GivenClassifier) -> None:
        """Check a given classifier on the first images, which also tells what its features are."""
        count = min(len(self.dataset), MIN_IMAGES)
        images = torch.stack([as_unit(torch.as_tensor(self.dataset[i]["image"])) for i in range(count)])
        check_network(network, images.to(self.state.device))
        if network.features_missing:
            logger.warning(
                "no features are stored, so scores of features and the map are left out: %s",
                network.features_missing,
            )

    def _is_complete(self) -> bool:
        """Return whether the results exist, are intact, come from the checkpoint, and are as asked for."""
        best = self.run_dir / "best.pt"
        if (run := evaluated(self.run_dir)) is None:
            return False
        if isinstance(self.classifier, GivenClassifier):
            if self.classifier.sha256 != run.get("sha256", {}).get("checkpoint"):
                raise ResultsError(
                    f"{self.run_dir / 'results'} holds the results of another model than the given one: give "
                    f"the former one, or {_anew(self.run_dir)}"
                )
        elif best.exists() and check_checkpoint(best) != run.get("sha256", {}).get("checkpoint"):
            raise ResultsError(
                f"{self.run_dir / 'results'} holds the results of another checkpoint than {best}, which was "
                f"replaced after the evaluation: put the former one back, or {_anew(self.run_dir)}"
            )
        self._check_made_with(run["sha256"]["checkpoint"])
        return True

    def _plans(self) -> dict[str, list[PlannedSet]]:
        """Return the test sets of each folder."""
        has_validation = "val" in splits_of(self.dataset.data)
        needed = needs_training_cases(self.method, has_validation)
        return {
            TRAINING: [PlannedSet("train", "iid", plain=True)] if needed else [],
            VALIDATION: [PlannedSet("val", "iid", plain=True)],
            CALIBRATION: [PlannedSet("calibration", "iid")],
            "results": [PlannedSet("iid", "iid", self.sweep), PlannedSet("target", self.target_kind)],
        }

    def _check_made_with(self, checkpoint: str) -> None:
        plans = self._plans().items()
        check_made_with(
            {self.run_dir / name: self._made_with(checkpoint, plan) for name, plan in plans if plan}
        )

    def _made_with(self, checkpoint: str, plan: Sequence[PlannedSet]) -> dict[str, Any]:
        """Return what decides the outputs of some test sets, besides cases and images."""
        passes = self.passes
        made: dict[str, Any] = {"checkpoint": checkpoint, PRECISION: self.precision}
        if not all(planned.plain for planned in plan):
            made |= {"dropout_samples": passes.samples, "views": sorted(passes.views)}
            if passes.samples:
                made["dropout"] = sorted({layer.p for layer in dropout_layers(self.classifier)})
                made["dropout_seed"] = int(passes.seed)
        if sweep := next((planned.sweep for planned in plan if planned.sweep), None):
            made |= {"corruptions": sorted(sweep.kinds), "severities": sorted(sweep.severities)}
            made |= {"modality": sweep.modality, "corruption_seed": sweep.seed}
            made[_FEATURES] = self.corrupted_features
        return made

    def _evaluate(self) -> None:
        distributed.from_main(lambda: self._check_made_with(self.checkpoint))
        sets = _AllSets(**{name: self._open(name, plan) for name, plan in self._plans().items()})
        batches = TestBatches(
            self.dataset,
            [one for part in sets for one in part.passes],
            batch_size=-(-self.batch_size // distributed.world_size()),
            num_workers=self.num_workers,
            device=self.state.device,
        )
        collect = CollectOutputs(
            {name: writer for part in sets for name, writer in part.writers.items()},
            {case_id: row for part in sets for case_id, row in part.row_of.items()},
            {name for part in sets for name in part.pictured},
            narrow=sets.results.corrupted if self.corrupted_features == "float16" else (),
            thumbnail_size=self.thumbnail_size,
        )
        collect.attach(self)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._finish, sets)
        for handler in self.val_handlers:
            tracking.attach(handler, self, self.run_dir, "evaluate", self._failure_metrics)
        try:
            self._collect(batches)
        finally:  # so that an error or Ctrl-C loses nothing
            batches.close()
            collect.close()

    def _open(self, name: str, plan: Sequence[PlannedSet]) -> OpenSets:
        return OpenSets(
            self.run_dir / name,
            self.cases,
            self.dataset.data,
            plan,
            made_with=self._made_with(self.checkpoint, plan),
            picture_limit=self.thumbnail_limit,
        )

    def _finish(self, sets: _AllSets) -> None:
        for part in sets:
            part.hand_in()
        distributed.barrier()
        distributed.from_main(lambda: self._write(sets))

    def _write(self, sets: _AllSets) -> None:
        hashes = {"checkpoint": self.checkpoint}
        about = {**self.run_description, PRECISION: self.precision}
        if sets.results.corrupted:
            about[_FEATURES] = self.corrupted_features
        if self.classifier.log_probabilities:
            about[LOG_PROBABILITIES] = True
        parts: dict[str, tuple[Results, str]] = {}
        for role, name, part in (
            (TRAINING, "train", sets.training),
            (VALIDATION, "val", sets.validation),
            (CALIBRATION, "calibration", sets.calibration),
        ):
            if part.writers:
                part.finish({**about, "sha256": {"checkpoint": self.checkpoint}, "role": role})
                parts[role] = load_results(part.path), name
                hashes[role] = sha256_of(part.path / RUN_FILE)
        calibration = parts.pop(CALIBRATION, None)
        fitted = fit_to_outputs(self.classifier, parts, self.method)
        description = {**about, "sha256": hashes, "not_fitted": dict(fitted.failed)}
        if calibration is not None:
            description |= self._promised(*calibration, fitted)
        sets.results.finish(description, fitted.arrays)

    def _promised(self, outputs: Results, name: str, fitted: FittedScores) -> dict[str, Any]:
        """Return the thresholds as they stand in run.json; nothing where the cases are of one class."""
        if len(set(outputs.labels_of(name).tolist())) < 2:
            logger.warning("no thresholds: the calibration cases are of a single class")
            return {}
        outputs = replace(outputs, fitted=fitted.arrays)
        return {"thresholds": self.thresholds(outputs, name, self.target_risk, self.delta)}

    def _failure_metrics(self) -> dict[str, float]:
        return dict(self.failure_metrics(load_results(self.run_dir / "results")))

    def _collect(self, batches: TestBatches) -> None:
        if not len(batches):  # all outputs exist, only not finished; or more processes than cases
            for event in (Events.STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
                self.fire_event(event)
            return
        self.data_loader, self.state.dataloader, self.state.epoch_length = batches, batches, len(batches)
        with progress_bar(total=len(batches), desc=f"evaluate {self.run_dir.name}") as bar:

            def show(engine: Engine) -> None:
                batch: Any = engine.state.batch
                bar.set_postfix_str(batch["test_set"], refresh=False)
                bar.update()

            self.add_event_handler(Events.ITERATION_COMPLETED, show)
            super().run()
