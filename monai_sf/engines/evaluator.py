"""Evaluation of a trained classifier on all test sets of its study, as a MONAI engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Events
from monai.data import Dataset
from monai.engines import PrepareBatchExtraInput, SupervisedEvaluator

from monai_sf.data import TestBatches
from monai_sf.engines import tracking
from monai_sf.engines.test_sets import OpenSets, PlannedSet
from monai_sf.files import sha256_of
from monai_sf.handlers import CollectOutputs, progress_bar
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import ConfidenceClassifier, distributed, load_weights, to_device
from monai_sf.networks.checkpoints import check_checkpoint, load_checkpoint
from monai_sf.results import Results, ResultsError, check_results, load_results
from monai_sf.results.format import RUN_FILE, VALIDATION
from monai_sf.transforms import CorruptionSweep

logger = logging.getLogger(__name__)


def evaluated(run_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return run.json of a complete evaluation, after verifying the hash of every file.

    Args:
        run_dir: folder of the run, with ``results`` and, if there were validation cases, ``validation``.

    Returns:
        The content of run.json; None if no evaluation was completed.

    Raises:
        ResultsError: a file is missing or was changed, or the thresholds were chosen from other outputs than
            those in ``validation``; names the folders to remove.
    """
    results, validation = Path(run_dir) / "results", Path(run_dir) / "validation"
    if not (results / RUN_FILE).exists():
        return None
    run = check_results(results)
    chosen_from = run.get("sha256", {}).get("validation")
    if chosen_from is not None and (validation / RUN_FILE).exists():
        try:
            check_results(validation)
        except ResultsError as error:
            raise ResultsError(f"{error}; {_anew(run_dir)}") from error
        if sha256_of(validation / RUN_FILE) != chosen_from:
            raise ResultsError(
                f"the thresholds in {results / RUN_FILE} were not chosen from {validation} as it is: restore "
                f"it, or {_anew(run_dir)}"
            )
    return run


def _anew(run_dir: str | os.PathLike[str]) -> str:
    return f"remove {Path(run_dir) / 'results'} and {Path(run_dir) / 'validation'} to evaluate again"


class TestSetEvaluator(SupervisedEvaluator):
    """Evaluate a trained classifier on its test sets and write the results of the run.

    The validation cases come first and go to ``run_dir/validation``: they are not reported, but the
    thresholds in run.json are chosen from them (see :func:`monai_sf.tables.thresholds`). Each image is read
    once, and passed through the network clean and in every corruption. A killed evaluation resumes at the
    first case without outputs; a complete one returns at once.

    Args:
        device: device of the computation.
        network: of the trained architecture; the best checkpoint is loaded into it.
        dataset: the test cases, dictionaries with ``image`` (channels, H, W) in [0, 1], ``label``,
            ``case_id`` and ``split`` (val, iid or target).
        cases: the case table with the column ``split``.
        run_dir: folder of the run, with ``best.pt``; the results go to ``run_dir/results``.
        target_kind: the study's kind; acquisition or manifestation for studies with a target domain.
        sweep: corruptions of the iid cases, or None.
        inferer: computes the outputs that the confidence scores need.
        thresholds: computes those of every score, from the outputs on the validation cases, the name of that
            test set and ``target_risk``; see :func:`monai_sf.tables.thresholds`.
        failure_metrics: computes the metrics of the results, by name, that ``val_handlers`` log; see
            :func:`monai_sf.tables.failure_metrics`.
        target_risk: highest error rate to tolerate among trusted predictions, in [0, 1].
        run_description: content of run.json about the run: dataset, study, method, seed, config, ...
        batch_size: cases per batch, over all processes.
        num_workers: processes that read; 0 for this one.
        thumbnail_size: longer side of the stored images, in pixels; 0 stores none.
        thumbnail_limit: maximum number of stored images of corrupted cases; beyond it, those of the weakest
            severities are left out.
        val_handlers: further handlers.

    Raises:
        ValueError: ``target_risk`` is out of range.
    """

    __test__ = False  # not a pytest class

    def __init__(
        self,
        *,
        device: torch.device,
        network: ConfidenceClassifier,
        dataset: Dataset,
        cases: pd.DataFrame,
        run_dir: str | os.PathLike[str],
        target_kind: str,
        sweep: CorruptionSweep | None,
        inferer: MCDropoutInferer,
        thresholds: Callable[[Results, str, float], Mapping[str, Any]],
        failure_metrics: Callable[[Results], Mapping[str, float]],
        target_risk: float,
        run_description: Mapping[str, Any],
        batch_size: int,
        num_workers: int = 0,
        thumbnail_size: int = 64,
        thumbnail_limit: int = 1_000_000,
        val_handlers: Sequence[Any] = (),
    ) -> None:
        self.run_dir = Path(run_dir)
        self.dataset, self.cases, self.target_kind, self.sweep = dataset, cases, target_kind, sweep
        self.run_description, self.batch_size, self.num_workers = run_description, batch_size, num_workers
        if not 0 <= target_risk <= 1:
            raise ValueError(f"target_risk must lie in [0, 1], got {target_risk}")
        self.thumbnail_size, self.target_risk = thumbnail_size, target_risk
        self.thresholds, self.failure_metrics = thresholds, failure_metrics
        self.thumbnail_limit, self.val_handlers = thumbnail_limit, val_handlers
        super().__init__(
            device=device,
            val_data_loader=[],
            epoch_length=1,
            network=to_device(network, device),
            inferer=inferer,
            prepare_batch=PrepareBatchExtraInput({"case_ids": "case_id"}),
            decollate=False,
        )

    def run(self) -> None:  # type: ignore[override]
        """Evaluate, or resume an evaluation that was killed.

        Raises:
            BusyError: another process works on this run.
            FileNotFoundError: the training has not been run.
            ValueError: the checkpoint is damaged or of another network; outputs are not finite; or existing
                outputs are damaged or come from another checkpoint.
            OSError: the results cannot be written; complete outputs are kept.
        """
        if distributed.from_main(self._is_complete):
            logger.info("%s is already evaluated", self.run_dir)
            return
        best = self.run_dir / "best.pt"
        self.checkpoint = distributed.from_main(lambda: check_checkpoint(best))
        with distributed.working_on(self.run_dir):
            load_weights(self.network, load_checkpoint(best)["network"], str(best))
            self._evaluate()

    def _is_complete(self) -> bool:
        """Return whether the results exist, are intact, and come from the checkpoint."""
        best = self.run_dir / "best.pt"
        if (run := evaluated(self.run_dir)) is None:
            return False
        if best.exists() and check_checkpoint(best) != run.get("sha256", {}).get("checkpoint"):
            raise ResultsError(
                f"{self.run_dir / 'results'} holds the results of another checkpoint than {best}, which was "
                f"replaced after the evaluation: put the former one back, or {_anew(self.run_dir)}"
            )
        return True

    def _evaluate(self) -> None:
        plan = [PlannedSet("iid", "iid", self.sweep), PlannedSet("target", self.target_kind)]
        validation = self._open("validation", [PlannedSet("val", "iid")])
        tested = self._open("results", plan)
        batches = TestBatches(
            self.dataset,
            validation.passes + tested.passes,
            batch_size=-(-self.batch_size // distributed.world_size()),
            num_workers=self.num_workers,
            device=self.state.device,
        )
        collect = CollectOutputs(
            {**validation.writers, **tested.writers},
            {**validation.row_of, **tested.row_of},
            validation.pictured | tested.pictured,
            thumbnail_size=self.thumbnail_size,
        )
        self.add_event_handler(Events.EPOCH_COMPLETED, self._finish, validation, tested)
        for handler in self.val_handlers:
            tracking.attach(handler, self, self.run_dir, "evaluate", self._failure_metrics)
        self._collect(batches, collect)

    def _open(self, name: str, plan: Sequence[PlannedSet]) -> OpenSets:
        return OpenSets(
            self.run_dir / name,
            self.cases,
            self.dataset.data,
            plan,
            checkpoint=self.checkpoint,
            picture_limit=self.thumbnail_limit,
        )

    def _finish(self, validation: OpenSets, tested: OpenSets) -> None:
        for sets in (validation, tested):
            sets.hand_in()
        distributed.barrier()
        distributed.from_main(lambda: self._write(validation, tested))

    def _write(self, validation: OpenSets, tested: OpenSets) -> None:
        hashes = {"checkpoint": self.checkpoint}
        description = {**self.run_description, "sha256": hashes}
        if validation.writers:
            validation.finish({**description, "role": VALIDATION})
            found = load_results(self.run_dir / "validation")
            description["thresholds"] = self.thresholds(found, "val", self.target_risk)
            hashes["validation"] = sha256_of(self.run_dir / "validation" / "run.json")
        tested.finish(description)

    def _failure_metrics(self) -> dict[str, float]:
        return dict(self.failure_metrics(load_results(self.run_dir / "results")))

    def _collect(self, batches: TestBatches, collect: CollectOutputs) -> None:
        if not len(batches):  # all outputs exist, only not finished; or more processes than cases
            for event in (Events.STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
                self.fire_event(event)
            return
        collect.attach(self)
        self.data_loader, self.state.dataloader, self.state.epoch_length = batches, batches, len(batches)
        with progress_bar(total=len(batches), desc=f"evaluate {self.run_dir.name}") as bar:
            self.add_event_handler(Events.ITERATION_COMPLETED, lambda: bar.update())
            try:
                super().run()
            finally:  # so that an error or Ctrl-C loses nothing
                collect.sync()
