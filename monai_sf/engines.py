"""What the training and the evaluation of every bundle share, as MONAI engines.

The bundles' configs name the network, the transforms and the numbers; the wiring stands here, once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, TensorBoardStatsHandler, ValidationHandler, from_engine
from monai.inferers import Inferer
from monai.utils import CommonKeys
from torch import Tensor, nn
from tqdm import tqdm

from monai_sf.data import TestBatches, TestPass, corruption_name
from monai_sf.files import sha256_of, write_json
from monai_sf.handlers import CollectOutputs, EpochSeed, StopOnNaN, TrainingCheckpoint, TrainingProgress
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import ConfidenceClassifier, load_checkpoint, load_weights, to_device
from monai_sf.results import ResultsWriter
from monai_sf.transforms import CorruptionSweep

logger = logging.getLogger(__name__)


class ClassifierTrainer(SupervisedTrainer):
    """Train a classifier with cross-entropy, Adam and cosine annealing; keep the best by validation accuracy.

    A killed training goes on after its last complete epoch; one that was completed returns at once.

    Args:
        device: where to train.
        max_epochs: number of epochs; the learning rate falls to 0 over them.
        network: the classifier; its weights at the end are those of the last epoch, the best are in
            ``run_dir/best.pt``.
        dataset: the training cases, dictionaries with ``image`` (channels, H, W) in [0, 1], ``label`` and
            ``case_id``.
        validation_dataset: the validation cases, alike.
        batch_size: cases in a batch.
        learning_rate: at first.
        weight_decay: of Adam.
        run_dir: folder of the run: checkpoints, TensorBoard scalars, ``training.json`` when complete.
        seed: of data order, augmentation and dropout; weights come initialised.
        num_workers: processes that read and augment; 0 does it in this one.
        inferer: how to call the network.
        amp: automatic mixed precision, for GPUs.
        train_handlers: further handlers.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        max_epochs: int,
        network: ConfidenceClassifier,
        dataset: Dataset,
        validation_dataset: Dataset,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        run_dir: str | os.PathLike[str],
        seed: int,
        num_workers: int = 0,
        inferer: Inferer | None = None,
        amp: bool = False,
        train_handlers: Sequence[Any] = (),
    ) -> None:
        for name, value in (
            ("max_epochs", max_epochs),
            ("batch_size", batch_size),
            ("learning_rate", learning_rate),
        ):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        self.run_dir = Path(run_dir)
        network = to_device(network, device)
        parameters = network.parameters()
        optimizer = torch.optim.Adam(parameters, learning_rate, weight_decay=weight_decay, fused=True)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max_epochs)
        validator = SupervisedEvaluator(
            device=device,
            val_data_loader=DataLoader(validation_dataset, batch_size=batch_size, num_workers=num_workers),
            network=network,
            inferer=inferer,
            key_val_metric={
                "accuracy": Accuracy(from_engine([CommonKeys.PRED, CommonKeys.LABEL]), device=device)
            },
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
            optimizer=optimizer,
            loss_function=nn.CrossEntropyLoss(),
            inferer=inferer,
            amp=amp,
            decollate=False,
            optim_set_to_none=True,
        )
        states = {"optimizer": optimizer, "scheduler": scheduler}
        if self.scaler is not None:
            states["scaler"] = self.scaler
        self.checkpoint = TrainingCheckpoint(self.run_dir, network, states, validator)
        self.progress = TrainingProgress(validator, f"train {self.run_dir.name}")
        board = str(self.run_dir / "tensorboard")
        for handler in (
            EpochSeed(seed, dataset.transform.set_random_state),
            StopOnNaN(),
            LrScheduleHandler(scheduler, print_lr=False),  # type: ignore[arg-type]
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


class TestSetEvaluator(SupervisedEvaluator):
    """Evaluate a trained classifier on its test sets and write the results of the run.

    Each image is read once, and goes through the network clean and in every corruption. A killed evaluation
    goes on at the first case that has no outputs; a complete one returns at once.

    Args:
        device: where to compute.
        network: of the architecture that was trained; the best checkpoint is loaded into it.
        dataset: the test cases, dictionaries with ``image`` (channels, H, W) in [0, 1], ``label``,
            ``case_id`` and ``split`` (iid or target).
        cases: the case table with the column ``split``.
        run_dir: folder of the run, with ``best.pt``; the results go to ``run_dir/results``.
        target_kind: the study's kind; acquisition or manifestation for studies with a target domain.
        sweep: corruptions of the iid cases, or None.
        inferer: gives the outputs that the confidence scores need.
        run_description: what run.json shall say of the run: dataset, study, method, seed, config, ...
        batch_size: cases in a batch.
        num_workers: processes that read; 0 reads in this one.
        thumbnail_size: longer side of the stored images, in pixels; 0 stores none.
        val_handlers: further handlers.
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
        run_description: Mapping[str, Any],
        batch_size: int,
        num_workers: int = 0,
        thumbnail_size: int = 64,
        val_handlers: Sequence[Any] = (),
    ) -> None:
        self.run_dir = Path(run_dir)
        self.dataset, self.cases, self.target_kind, self.sweep = dataset, cases, target_kind, sweep
        self.run_description, self.batch_size, self.num_workers = run_description, batch_size, num_workers
        self.thumbnail_size = thumbnail_size
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

        records = self.dataset.data
        tested = self.cases.set_index("case_id").loc[[r["case_id"] for r in records]].reset_index()
        writer = ResultsWriter(results, tested)
        splits = np.array([record["split"] for record in records])
        passes = []
        writers = {}
        for name, kind, sweep in (("iid", "iid", self.sweep), ("target", self.target_kind, None)):
            rows = np.flatnonzero(splits == name)
            if not len(rows):
                continue
            opened = {name: writer.open(name, kind, rows)}
            for corruption in sweep.kinds if sweep else ():
                for severity in sweep.severities if sweep else ():
                    opened[corruption_name(corruption, severity)] = writer.open(
                        corruption_name(corruption, severity),
                        "corruption",
                        rows,
                        corruption=corruption,
                        severity=severity,
                    )
            complete = np.logical_and.reduce([w.done for w in opened.values()])
            passes.append(TestPass(name, rows[~complete], sweep))
            writers.update(opened)

        batches = TestBatches(
            self.dataset,
            passes,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            device=self.state.device,
        )
        if len(batches):
            row_of = {str(case_id): row for row, case_id in enumerate(tested["case_id"])}
            self._collect(batches, CollectOutputs(writers, row_of, thumbnail_size=self.thumbnail_size))
        for test_set in writers.values():
            test_set.close()
        writer.finish({**self.run_description, "sha256": {"checkpoint": sha256_of(checkpoint)}})

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
