"""What the training and the evaluation of every bundle share, as MONAI engines.

The bundles' configs name the network, the transforms and the numbers; the wiring stands here, once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy, Loss
from monai.data import Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import TensorBoardStatsHandler, ValidationHandler
from monai.inferers import Inferer
from monai.utils import CommonKeys
from torch import Tensor

from monai_sf import distributed, tracking
from monai_sf.batches import SeededCases, SharedBatches, shared_loader
from monai_sf.checkpoints import check_checkpoint, load_checkpoint, summarise_training, trained
from monai_sf.data import TestBatches
from monai_sf.evaluation import benchmark_table, thresholds
from monai_sf.files import read_json, sha256_of
from monai_sf.handlers import (
    AddUp,
    CollectOutputs,
    EpochSeed,
    StopOnNaN,
    TrainingCheckpoint,
    TrainingProgress,
    progress_bar,
)
from monai_sf.inferers import MCDropoutInferer, OutputInferer
from monai_sf.networks import ClassifierOutput, ConfidenceClassifier, load_weights, to_device
from monai_sf.open_sets import OpenSets, PlannedSet
from monai_sf.results import ResultsError, load_results
from monai_sf.stages import Stage, StageRunner
from monai_sf.transforms import CorruptionSweep

logger = logging.getLogger(__name__)


class ClassifierTrainer(SupervisedTrainer):
    """Train a classifier, and its learned confidence, stage by stage; keep the best network of each stage.

    A killed training goes on after its last complete epoch, in whichever stage; one that was completed
    returns at once.

    Args:
        device: where to train.
        max_epochs: number of epochs of all stages together (MONAI asks configs for it).
        stages: what is trained how long with which loss; the method.
        network: the classifier; its weights at the end are those of the last epoch, the best are in
            ``run_dir/best.pt``.
        dataset: the training cases, dictionaries with ``image`` (channels, H, W) in [0, 1], ``label`` and
            ``case_id``.
        validation_dataset: the validation cases, alike.
        batch_size: cases in a batch, of all processes together.
        run_dir: folder of the run: checkpoints, TensorBoard scalars, ``training.json`` when complete.
        seed: of data order, augmentation, dropout and hints; weights come initialised.
        num_workers: processes that read and augment; 0 does it in this one.
        inferer: how to call the network; gives a :class:`monai_sf.networks.ClassifierOutput`.
        amp: automatic mixed precision, for GPUs.
        train_handlers: further handlers.

    Raises:
        ValueError: a number is out of range, or ``max_epochs`` is not that of the stages.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        max_epochs: int,
        stages: Sequence[Stage],
        network: ConfidenceClassifier,
        dataset: Dataset,
        validation_dataset: Dataset,
        batch_size: int,
        run_dir: str | os.PathLike[str],
        seed: int,
        num_workers: int = 0,
        inferer: Inferer | None = None,
        amp: bool = False,
        train_handlers: Sequence[Any] = (),
    ) -> None:
        self.run_dir = Path(run_dir)
        batches = SharedBatches(len(dataset), batch_size, seed=seed)
        validation = SharedBatches(len(validation_dataset), batch_size, seed=None)
        distributed.share_batch_norm(network)
        network = to_device(network, device)
        for stage in stages:
            stage.loss.to(device)
        self.stages = StageRunner(stages, network, self.run_dir)
        if max_epochs != self.stages.max_epochs:
            each = " + ".join(f"{stage.epochs} {stage.name}" for stage in self.stages.stages)
            raise ValueError(
                f"max_epochs is {max_epochs}, the stages have {self.stages.max_epochs} together ({each}): "
                "leave it out and set theirs, in the bundles epochs, confidnet_epochs and finetuning_epochs"
            )
        inferer = inferer or OutputInferer()
        accuracy = Accuracy(
            lambda output: (output[CommonKeys.PRED].logits, output[CommonKeys.LABEL]), device=device
        )
        loss = Loss(self._validation_loss, itemgetter(CommonKeys.PRED, CommonKeys.LABEL), device=device)
        validator = SupervisedEvaluator(
            device=device,
            val_data_loader=shared_loader(SeededCases(validation_dataset, seed), validation, num_workers),
            network=network,
            inferer=inferer,
            key_val_metric={"accuracy": accuracy},
            additional_metrics={"loss": loss},
            decollate=False,
            amp=amp,
        )
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=shared_loader(SeededCases(dataset, seed), batches, num_workers),
            network=network,
            optimizer=self.stages.optimizer,
            loss_function=self.stages.current.loss,
            inferer=inferer,
            amp=amp,
            decollate=False,
            optim_set_to_none=True,
        )
        self.checkpoint = TrainingCheckpoint(self.run_dir, self.stages, self.scaler, validator)
        self.progress = TrainingProgress(validator, f"train {self.run_dir.name}")
        board = str(self.run_dir / "tensorboard")
        for handler in (
            EpochSeed(seed, batches),
            self.stages,
            ValidationHandler(interval=1, validator=validator),
            self.checkpoint,
            AddUp(batches, network),
            StopOnNaN(),
            self.progress,
        ):
            handler.attach(self)
        for handler in train_handlers:
            tracking.attach(handler, self, self.run_dir, "train", self._epoch_metrics)
        if distributed.is_main():
            TensorBoardStatsHandler(log_dir=board, tag_name="train_loss", output_transform=_loss).attach(self)
            TensorBoardStatsHandler(
                log_dir=board,
                output_transform=lambda _: None,
                global_epoch_transform=lambda _: self.state.epoch,
            ).attach(validator)

    def _validation_loss(self, output: ClassifierOutput, labels: Tensor) -> Tensor:
        loss = self.stages.current.loss
        if not len(labels):  # this process has no share of the last batch
            return output.logits.sum()
        loss.eval()  # no hints, and lambda follows the training cases only
        try:
            return loss(output, labels)  # type: ignore[no-any-return]
        finally:
            loss.train()

    def _epoch_metrics(self) -> dict[str, float]:
        entry = self.checkpoint.history[-1]
        return {
            f"{entry['stage']}/train_loss": self.progress.mean_loss,
            f"{entry['stage']}/val_loss": entry["loss"],
            f"{entry['stage']}/val_accuracy": entry["accuracy"],
            f"{entry['stage']}/learning_rate": self.stages.learning_rate,
        }

    @property
    def is_complete(self) -> bool:
        """Whether this training has been run to its end.

        Raises:
            ValueError: ``training.json`` is damaged.
        """
        return distributed.from_main(lambda: trained(self.run_dir) is not None)

    def run(self) -> None:  # type: ignore[override]
        """Train, or resume a training that was killed.

        Raises:
            BusyError: another process works on this run.
            FileNotFoundError: the best network of a stage is gone.
            ValueError: a checkpoint was damaged or replaced, or belongs to another network or method.
            OSError: a checkpoint cannot be written; what was complete before is kept.
        """
        if self.is_complete:
            distributed.from_main(lambda: check_checkpoint(self.run_dir / "best.pt"))
            logger.info("%s is trained already", self.run_dir)
            return
        with distributed.working_on(self.run_dir):
            try:
                super().run()
            finally:
                self.progress.close()
            distributed.from_main(self._summarise)

    def _summarise(self) -> None:
        summarise_training(self.run_dir, {"best": self.checkpoint.best, "history": self.checkpoint.history})


def _loss(output: Mapping[str, Tensor]) -> float:
    return output[CommonKeys.LOSS].item()


def _case_batch(
    batch: Mapping[str, Any], device: torch.device, non_blocking: bool, **kwargs: Any
) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
    """Image, label, and the case ids for the inferer (MONAI's ``prepare_batch``)."""
    image, label = (
        batch[k].to(device=device, non_blocking=non_blocking, **kwargs) for k in ("image", "label")
    )
    return image, label, (), {"case_ids": batch["case_id"]}


class TestSetEvaluator(SupervisedEvaluator):
    """Evaluate a trained classifier on its test sets and write the results of the run.

    The validation cases go first, into ``run_dir/validation``: not to be reported, but to choose from them
    the thresholds that run.json stores (see :func:`monai_sf.evaluation.thresholds`). Each image is read once,
    and goes through the network clean and in every corruption. A killed evaluation goes on at the first case
    that has no outputs; a complete one returns at once.

    Args:
        device: where to compute.
        network: of the architecture that was trained; the best checkpoint is loaded into it.
        dataset: the test cases, dictionaries with ``image`` (channels, H, W) in [0, 1], ``label``,
            ``case_id`` and ``split`` (val, iid or target).
        cases: the case table with the column ``split``.
        run_dir: folder of the run, with ``best.pt``; the results go to ``run_dir/results``.
        target_kind: the study's kind; acquisition or manifestation for studies with a target domain.
        sweep: corruptions of the iid cases, or None.
        inferer: gives the outputs that the confidence scores need.
        target_risk: highest error rate to tolerate among trusted predictions, in [0, 1].
        run_description: what run.json shall say of the run: dataset, study, method, seed, config, ...
        batch_size: cases in a batch, of all processes together.
        num_workers: processes that read; 0 reads in this one.
        thumbnail_size: longer side of the stored images, in pixels; 0 stores none.
        thumbnail_limit: how many images of corrupted cases are stored at most; where there are more, those of
            the weakest severities are left out.
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
        self.thumbnail_limit, self.val_handlers = thumbnail_limit, val_handlers
        super().__init__(
            device=device,
            val_data_loader=[],
            epoch_length=1,
            network=to_device(network, device),
            inferer=inferer,
            prepare_batch=_case_batch,
            decollate=False,
        )

    def run(self) -> None:  # type: ignore[override]
        """Evaluate, or resume an evaluation that was killed.

        Raises:
            BusyError: another process works on this run.
            FileNotFoundError: the training has not been run.
            ValueError: the checkpoint is damaged or of another network; outputs are not finite; or what is
                there of the evaluation comes from another checkpoint.
            OSError: the results cannot be written; what was complete before is kept.
        """
        if distributed.from_main(self._is_complete):
            logger.info("%s is evaluated already", self.run_dir)
            return
        best = self.run_dir / "best.pt"
        self.checkpoint = distributed.from_main(lambda: check_checkpoint(best))
        with distributed.working_on(self.run_dir):
            load_weights(self.network, load_checkpoint(best)["network"], str(best))
            self._evaluate()

    def _is_complete(self) -> bool:
        """Whether the results are there, after a look at whether they are those of the checkpoint."""
        mark, best = self.run_dir / "results" / "run.json", self.run_dir / "best.pt"
        if not mark.is_file():
            return False
        validation = self.run_dir / "validation"
        anew = f"remove {mark.parent} and {validation} to evaluate again"
        hashes = read_json(mark, anew).get("sha256", {})
        if best.exists() and check_checkpoint(best) != hashes.get("checkpoint"):
            raise ResultsError(
                f"{mark.parent} holds the results of another checkpoint than {best}, which was replaced "
                f"after the evaluation: put the former one back, or {anew}"
            )
        run = validation / "run.json"
        if run.exists() and "validation" in hashes and sha256_of(run) != hashes["validation"]:
            raise ResultsError(
                f"{validation} is not what the thresholds in {mark} were chosen from: restore it, or {anew}"
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
            validation.finish(description)
            found = load_results(self.run_dir / "validation")
            description["thresholds"] = thresholds(found, "val", self.target_risk)
            hashes["validation"] = sha256_of(self.run_dir / "validation" / "run.json")
        tested.finish(description)

    def _failure_metrics(self) -> dict[str, float]:
        table = benchmark_table([load_results(self.run_dir / "results")])
        return {
            f"AURC/{group}/{csf}": value
            for group, column in table.items()
            for csf, value in column.dropna().to_dict().items()
        }

    def _collect(self, batches: TestBatches, collect: CollectOutputs) -> None:
        if not len(batches):  # all was done, only not finished; or more processes than cases
            for event in (Events.STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
                self.fire_event(event)
            return
        collect.attach(self)
        self.data_loader, self.state.dataloader, self.state.epoch_length = batches, batches, len(batches)
        with progress_bar(total=len(batches), desc=f"evaluate {self.run_dir.name}") as bar:
            self.add_event_handler(Events.ITERATION_COMPLETED, lambda: bar.update())
            try:
                super().run()
            finally:  # an error or Ctrl-C loses nothing
                collect.sync()
