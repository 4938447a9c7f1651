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

import numpy as np
import pandas as pd
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy, Loss
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import TensorBoardStatsHandler, ValidationHandler
from monai.inferers import Inferer
from monai.utils import CommonKeys
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from monai_sf.data import TestBatches, TestPass, corruption_name
from monai_sf.evaluation import thresholds
from monai_sf.files import sha256_of, write_json
from monai_sf.handlers import CollectOutputs, EpochSeed, StopOnNaN, TrainingCheckpoint, TrainingProgress
from monai_sf.inferers import MCDropoutInferer, OutputInferer
from monai_sf.networks import ClassifierOutput, ConfidenceClassifier, load_checkpoint, load_weights, to_device
from monai_sf.results import ResultsWriter, TestSetWriter, load_results
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
        batch_size: cases in a batch.
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
        if not batch_size > 0:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.run_dir = Path(run_dir)
        network = to_device(network, device)
        for stage in stages:
            stage.loss.to(device)
        self.stages = StageRunner(stages, network, self.run_dir)
        if max_epochs != self.stages.max_epochs:
            raise ValueError(f"max_epochs is {max_epochs}, the stages have {self.stages.max_epochs} together")
        inferer = inferer or OutputInferer()
        accuracy = Accuracy(
            lambda output: (output[CommonKeys.PRED].logits, output[CommonKeys.LABEL]), device=device
        )
        loss = Loss(self._validation_loss, itemgetter(CommonKeys.PRED, CommonKeys.LABEL), device=device)
        validator = SupervisedEvaluator(
            device=device,
            val_data_loader=DataLoader(validation_dataset, batch_size=batch_size, num_workers=num_workers),
            network=network,
            inferer=inferer,
            key_val_metric={"accuracy": accuracy},
            additional_metrics={"loss": loss},
            decollate=False,
            amp=amp,
        )
        # batch norm cannot train on one case alone
        drop_last = len(dataset) % batch_size == 1 and len(dataset) > 1
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=DataLoader(
                dataset, batch_size=batch_size, shuffle=True, num_workers=num_workers, drop_last=drop_last
            ),
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
            EpochSeed(seed, dataset.transform.set_random_state),
            StopOnNaN(),
            self.stages,
            ValidationHandler(interval=1, validator=validator),
            self.checkpoint,
            self.progress,
            TensorBoardStatsHandler(log_dir=board, tag_name="train_loss", output_transform=_loss),
            *train_handlers,
        ):
            handler.attach(self)
        TensorBoardStatsHandler(
            log_dir=board, output_transform=lambda _: None, global_epoch_transform=lambda _: self.state.epoch
        ).attach(validator)

    def _validation_loss(self, output: ClassifierOutput, labels: Tensor) -> Tensor:
        loss = self.stages.current.loss
        loss.eval()  # no hints, and lambda follows the training cases only
        try:
            return loss(output, labels)  # type: ignore[no-any-return]
        finally:
            loss.train()

    @property
    def is_complete(self) -> bool:
        """Whether this training has been run to its end."""
        return (self.run_dir / "training.json").is_file()

    def run(self) -> None:  # type: ignore[override]
        """Train, or go on with a training that was killed."""
        if self.is_complete:
            logger.info("%s is trained already", self.run_dir)
            return
        self.run_dir.mkdir(parents=True, exist_ok=True)
        try:
            super().run()
        finally:
            self.progress.close()
        best = self.run_dir / "best.pt"
        summary = {
            "best": self.checkpoint.best,
            "history": self.checkpoint.history,
            "sha256": sha256_of(best),
        }
        write_json(self.run_dir / "training.json", summary)


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


class _OpenSets:
    """A folder of results that is being filled: its writers, and the cases that are still to be evaluated."""

    def __init__(
        self,
        path: Path,
        evaluator: TestSetEvaluator,
        splits: NDArray[np.str_],
        plan: Sequence[tuple[str, str, CorruptionSweep | None]],
    ) -> None:
        positions = np.flatnonzero(np.isin(splits, [name for name, _, _ in plan]))
        self.passes: list[TestPass] = []
        self.writers: dict[str, TestSetWriter] = {}
        self.row_of: dict[str, int] = {}
        if not len(positions):
            return
        ids = [evaluator.dataset.data[int(position)]["case_id"] for position in positions]
        self.row_of = {str(case_id): row for row, case_id in enumerate(ids)}
        self.results = ResultsWriter(path, evaluator.cases.set_index("case_id").loc[ids].reset_index())
        for name, kind, sweep in plan:
            rows = np.flatnonzero(splits[positions] == name)
            if not len(rows):
                continue
            opened = {name: self.results.open(name, kind, rows)}
            for corruption in sweep.kinds if sweep else ():
                for severity in sweep.severities if sweep else ():
                    corrupted = corruption_name(corruption, severity)
                    opened[corrupted] = self.results.open(
                        corrupted, "corruption", rows, corruption=corruption, severity=severity
                    )
            complete = np.logical_and.reduce([writer.done for writer in opened.values()])
            self.passes.append(TestPass(name, positions[rows[~complete]], sweep))
            self.writers.update(opened)

    def finish(self, description: Mapping[str, Any]) -> None:
        """Close all test sets and write run.json."""
        for writer in self.writers.values():
            writer.close()
        self.results.finish(description)


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
        batch_size: cases in a batch.
        num_workers: processes that read; 0 reads in this one.
        thumbnail_size: longer side of the stored images, in pixels; 0 stores none.
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
        val_handlers: Sequence[Any] = (),
    ) -> None:
        self.run_dir = Path(run_dir)
        self.dataset, self.cases, self.target_kind, self.sweep = dataset, cases, target_kind, sweep
        self.run_description, self.batch_size, self.num_workers = run_description, batch_size, num_workers
        if not 0 <= target_risk <= 1:
            raise ValueError(f"target_risk must lie in [0, 1], got {target_risk}")
        self.thumbnail_size, self.target_risk = thumbnail_size, target_risk
        super().__init__(
            device=device,
            val_data_loader=[],
            epoch_length=1,
            network=to_device(network, device),
            inferer=inferer,
            prepare_batch=_case_batch,
            val_handlers=val_handlers,
            decollate=False,
        )

    def run(self) -> None:  # type: ignore[override]
        """Evaluate, or go on with an evaluation that was killed.

        Raises:
            FileNotFoundError: the training has not been run.
            ValueError: the checkpoint is damaged or of another network; outputs are not finite.
            OSError: the results cannot be written; what was complete before is kept.
        """
        results = self.run_dir / "results"
        if (results / "run.json").is_file():
            logger.info("%s is evaluated already", self.run_dir)
            return
        checkpoint = self.run_dir / "best.pt"
        state: dict[str, Any] = load_checkpoint(str(checkpoint))
        load_weights(self.network, state["network"], str(checkpoint))

        splits = np.array([record["split"] for record in self.dataset.data])
        plan: list[tuple[str, str, CorruptionSweep | None]] = [
            ("iid", "iid", self.sweep),
            ("target", self.target_kind, None),
        ]
        validation = _OpenSets(self.run_dir / "validation", self, splits, [("val", "iid", None)])
        tested = _OpenSets(results, self, splits, plan)
        batches = TestBatches(
            self.dataset,
            validation.passes + tested.passes,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            device=self.state.device,
        )
        if len(batches):
            self._collect(
                batches,
                CollectOutputs(
                    {**validation.writers, **tested.writers},
                    {**validation.row_of, **tested.row_of},
                    thumbnail_size=self.thumbnail_size,
                ),
            )
        description = {**self.run_description, "sha256": {"checkpoint": sha256_of(checkpoint)}}
        if validation.writers:
            validation.finish(description)
            found = load_results(self.run_dir / "validation")
            description["thresholds"] = thresholds(found, "val", self.target_risk)
        tested.finish(description)

    def _collect(self, batches: TestBatches, collect: CollectOutputs) -> None:
        collect.attach(self)
        self.data_loader, self.state.dataloader, self.state.epoch_length = batches, batches, len(batches)
        with tqdm(
            total=len(batches), desc=f"evaluate {self.run_dir.name}", unit="batch", mininterval=1.0
        ) as bar:
            self.add_event_handler(Events.ITERATION_COMPLETED, lambda: bar.update())
            try:
                super().run()
            finally:  # an error or Ctrl-C loses nothing
                collect.sync()
