"""Training of a classifier in stages, as a MONAI engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from ignite.metrics import Accuracy, Loss
from monai.data import Dataset
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import TensorBoardStatsHandler, ValidationHandler
from monai.inferers import Inferer
from monai.utils import CommonKeys
from torch import Tensor

from monai_sf.data.batches import SharedBatches, end_workers, shared_loader
from monai_sf.data.case_dataset import refuse_random
from monai_sf.engines import tracking
from monai_sf.engines.loss_reader import LossReader
from monai_sf.engines.stages import Stage, StageRunner
from monai_sf.engines.training_handlers import (
    Scalars,
    TrainingCheckpoint,
    TrainingProgress,
    add_up,
    seed_epoch,
)
from monai_sf.engines.training_step import CompiledPasses, InPrecision, PrepareImages
from monai_sf.inferers import OutputInferer
from monai_sf.networks import ClassifierOutput, ConfidenceClassifier, distributed, to_device
from monai_sf.networks.checkpoints import check_checkpoint, summarise_training, trained
from monai_sf.networks.precision import computing_in
from monai_sf.transforms import BatchAugment, BatchTransform
from monai_sf.transforms.randomness import case_seed

logger = logging.getLogger(__name__)


class ClassifierTrainer(SupervisedTrainer):
    """Train a classifier, and its learned confidence, stage by stage, keeping the best network of each stage.

    A killed training resumes after its last complete epoch, in any stage; a complete one returns at once.

    Args:
        device: device of the training.
        max_epochs: number of epochs of all stages together (MONAI requires it in configs).
        stages: the stages of the method.
        optimizer: called with the parameters to train at the start of a stage, such as ``torch.optim.Adam``
            with its learning rate; see :class:`monai_sf.engines.StageRunner`.
        lr_scheduler: called with that optimiser, such as ``torch.optim.lr_scheduler.CosineAnnealingLR``.
        network: the classifier; its weights at the end are those of the last epoch, the best are in
            ``run_dir/best.pt``.
        dataset: the training cases, dictionaries with ``image`` (channels, H, W) in [0, 1], ``label`` and
            ``case_id``.
        validation_dataset: the validation cases, in the same form.
        batch_size: cases per batch, over all processes.
        run_dir: folder of the run: checkpoints, TensorBoard scalars, ``training.json`` when complete.
        seed: of data order, augmentation, dropout and hints; weights are initialised before.
        num_workers: processes that read; 0 for this one.
        augmentation: random transforms of the training's batches where the network is, see
            :class:`monai_sf.transforms.BatchAugment`; a case's seed is a hash of (seed, epoch, case id).
        precision: of the passes, one of :data:`monai_sf.networks.PRECISIONS`; weights, losses and
            the optimiser's step are in float32.
        compile: whether the passes of the training are compiled by ``torch.compile``; those of the validation
            are not.
        inferer: calls ``network.outputs`` and returns its :class:`monai_sf.networks.ClassifierOutput`.
        train_handlers: further handlers.

    Raises:
        ValueError: a number is out of range, ``max_epochs`` is not the sum of the stages' epochs, a stage's
            optimiser or schedule cannot be made, the device does not have the precision, a dataset is empty,
            or its transform is random.
        TypeError: a transform does not act on batches.

    Examples:
        >>> import torch
        >>> from monai.data import Dataset
        >>> from torch import nn
        >>> from monai_sf.engines import ClassifierTrainer, Stage
        >>> from monai_sf.losses import ClassificationLoss
        >>> from monai_sf.networks import ConfidenceClassifier
        >>> from monai_sf.networks.checkpoints import trained
        >>> def cases(count):  # those of class 1 are brighter
        ...     images = [torch.full((1, 8, 8), 0.3 * (1 + k % 2)) for k in range(count)]
        ...     return [
        ...         {"image": x, "label": k % 2, "case_id": str(k)}
        ...         for k, x in enumerate(images)
        ...     ]
        >>> network = ConfidenceClassifier(
        ...     nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), num_classes=2
        ... )
        >>> trainer = ClassifierTrainer(
        ...     device=torch.device("cpu"),
        ...     max_epochs=2,
        ...     stages=[Stage("classifier", 2, ClassificationLoss())],
        ...     optimizer=torch.optim.Adam,
        ...     lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR,
        ...     network=network,
        ...     dataset=Dataset(cases(8)),
        ...     validation_dataset=Dataset(cases(4)),
        ...     batch_size=4,
        ...     run_dir="run",
        ...     seed=0,
        ... )
        >>> trainer.run()
        >>> trainer.is_complete, len(trained("run")["history"])
        (True, 2)
    """

    def __init__(
        self,
        *,
        device: torch.device,
        max_epochs: int,
        stages: Sequence[Stage],
        optimizer: Callable[..., torch.optim.Optimizer],
        lr_scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
        network: ConfidenceClassifier,
        dataset: Dataset,
        validation_dataset: Dataset,
        batch_size: int,
        run_dir: str | os.PathLike[str],
        seed: int,
        num_workers: int = 0,
        augmentation: Sequence[BatchTransform] = (),
        precision: str = "float32",
        compile: bool = False,
        inferer: Inferer | None = None,
        train_handlers: Sequence[Any] = (),
    ) -> None:
        datasets = {"dataset": dataset, "validation_dataset": validation_dataset}
        if empty := [name for name, cases in datasets.items() if not len(cases)]:
            raise ValueError(f"{' and '.join(empty)} must have cases, got none")
        for cases in datasets.values():
            refuse_random(getattr(cases, "transform", None))
        self.run_dir = Path(run_dir)
        batches = SharedBatches(len(dataset), batch_size, seed=seed)
        validation = SharedBatches(len(validation_dataset), batch_size, seed=None)
        distributed.share_batch_norm(network)
        network = to_device(network, device)
        for stage in stages:
            stage.loss.to(device)
        self.stages = StageRunner(stages, network, self.run_dir, optimizer, lr_scheduler)
        if max_epochs != self.stages.max_epochs:
            each = " + ".join(f"{stage.epochs} {stage.name}" for stage in self.stages.stages)
            raise ValueError(
                f"max_epochs is {max_epochs}, the stages have {self.stages.max_epochs} together ({each}): "
                "leave it out and set theirs, in the bundles epochs, confidnet_epochs and finetuning_epochs"
            )
        pinned = device.type == "cuda"
        self._loaders = [
            shared_loader(cases, its, num_workers, pin_memory=pinned)
            for cases, its in ((dataset, batches), (validation_dataset, validation))
        ]
        self.precision, self.seed = precision, seed
        inferer = inferer or OutputInferer()
        passes = CompiledPasses(inferer, network) if compile else inferer
        self._augmentation = BatchAugment(augmentation)
        accuracy = Accuracy(
            lambda output: (output[CommonKeys.PRED].logits, output[CommonKeys.LABEL]), device=device
        )
        loss = Loss(self._validation_loss, itemgetter(CommonKeys.PRED, CommonKeys.LABEL), device=device)
        validator = SupervisedEvaluator(
            device=device,
            val_data_loader=self._loaders[1],
            network=network,
            non_blocking=True,
            prepare_batch=PrepareImages(network, device),
            inferer=InPrecision(inferer, precision, device),
            key_val_metric={"accuracy": accuracy},
            additional_metrics={"loss": loss},
            decollate=False,
        )
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=self._loaders[0],
            network=network,
            optimizer=self.stages.optimizer,
            loss_function=self.stages.current.loss,
            non_blocking=True,
            prepare_batch=PrepareImages(network, device, self._augmented if augmentation else None),
            inferer=InPrecision(passes, precision, device),
            amp=precision == "float16",  # whose small gradients have to be scaled; autocast is the inferer's
            decollate=False,
            optim_set_to_none=True,
        )
        writes = distributed.is_main()
        self.scalars = Scalars(self.run_dir / "tensorboard")
        self.losses = LossReader(device, partial(self.scalars.add_scalar, "train_loss") if writes else None)
        self.checkpoint = TrainingCheckpoint(self.run_dir, self.stages, precision, validator)
        self.progress = TrainingProgress(self.losses, validator, f"train {self.run_dir.name}")
        self.add_event_handler(Events.EPOCH_STARTED, seed_epoch, seed, batches)
        self.stages.attach(self)
        self.losses.attach(self)
        ValidationHandler(interval=1, validator=validator).attach(self)
        self.checkpoint.attach(self)
        self.add_event_handler(Events.STARTED, lambda: distributed.broadcast_state(network))
        add_up(self, batches, network)
        self.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.losses.add)
        self.progress.attach(self)
        for handler in train_handlers:
            tracking.attach(handler, self, self.run_dir, "train", self._epoch_metrics)
        if writes:
            TensorBoardStatsHandler(
                self.scalars,
                iteration_log=False,
                global_epoch_transform=lambda _: self.state.epoch,
            ).attach(validator)

    def _augmented(self, images: Tensor, case_ids: Sequence[str]) -> Tensor:
        epoch = f"epoch {self.state.epoch}"
        return self._augmentation(images, [case_seed(self.seed, epoch, case_id) for case_id in case_ids])

    def _validation_loss(self, output: ClassifierOutput, labels: Tensor) -> Tensor:
        loss = self.stages.current.loss
        if not len(labels):  # this process's shard of the last batch is empty
            return output.logits.sum()
        loss.eval()  # no hints, and lambda follows the training cases only
        try:
            return loss(output, labels)  # type: ignore[no-any-return]
        finally:
            loss.train()

    def _epoch_metrics(self) -> dict[str, float]:
        entry = self.checkpoint.history[-1]
        return {
            f"{entry['stage']}/train_loss": self.losses.mean,
            f"{entry['stage']}/val_loss": entry["loss"],
            f"{entry['stage']}/val_accuracy": entry["accuracy"],
            f"{entry['stage']}/learning_rate": self.stages.learning_rate,
        }

    @property
    def is_complete(self) -> bool:
        """Return whether this training is complete.

        Raises:
            ValueError: ``training.json`` is damaged.
        """
        return distributed.from_main(lambda: trained(self.run_dir) is not None)

    def run(self) -> None:  # type: ignore[override]
        """Train, or resume a training that was killed.

        Raises:
            RuntimeError: another process works on this run.
            FileNotFoundError: the best network of a stage is missing.
            ValueError: a checkpoint was damaged or replaced, or belongs to another network or method.
            FloatingPointError: a loss, or what an epoch has made of the network, is not finite; the state of
                the last epoch in which all was finite is kept.
            OSError: a checkpoint cannot be written; earlier ones are kept.
        """
        if self.is_complete:
            distributed.from_main(lambda: check_checkpoint(self.run_dir / "best.pt"))
            logger.info("%s is already trained", self.run_dir)
            return
        with distributed.working_on(self.run_dir):
            # float32 also backward; the passes in 16 bits are the inferer's alone
            backward = "float32" if self.precision == "float32" else "tf32"
            try:
                with computing_in(backward, self.state.device):
                    super().run()
            finally:
                self.progress.close()
                self.scalars.close()
                for loader in self._loaders:
                    end_workers(loader)
            summary = {"best": self.checkpoint.best, "history": self.checkpoint.history}
            distributed.from_main(lambda: summarise_training(self.run_dir, summary))
