"""Ignite handlers for training that can be killed, by one process or several."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.utils.tensorboard import SummaryWriter

from monai_sf.data.batches import SharedBatches
from monai_sf.engines.loss_reader import LossReader
from monai_sf.engines.stages import StageRunner
from monai_sf.handlers import progress_bar
from monai_sf.networks import distributed, load_weights
from monai_sf.networks.checkpoints import (
    check_checkpoint,
    load_checkpoint,
    refuse_foreign,
    save_checkpoint,
)

logger = logging.getLogger(__name__)


def seed_epoch(engine: Engine, seed: int, batches: SharedBatches) -> None:
    """Seed all randomness of an epoch from (seed, epoch), so that a resumed epoch is identical.

    The order of cases and their augmentation do not depend on the number of processes. The remaining
    randomness, dropout, is also seeded by rank, or all processes would drop the same units. To be called when
    an epoch starts, before handlers that draw random numbers.

    Args:
        engine: a trainer.
        seed: of the run.
        batches: the batches whose epoch is set.
    """
    batches.epoch = engine.state.epoch
    words = (seed, engine.state.epoch, distributed.rank())
    torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))


def add_up(engine: Engine, batches: SharedBatches, network: nn.Module) -> None:
    """Let a trainer make one step from the shards of a batch in several processes.

    Each rank's mean loss is weighted by its share of the batch's cases, and after the backward pass gradients
    and losses are summed over all ranks, so that the engine's loss is that of the batch, detached.

    Args:
        engine: a MONAI trainer.
        batches: its batches.
        network: the network that it trains.
    """
    state: Any = engine.state

    def weigh() -> None:
        if distributed.world_size() > 1:
            batch = batches.size_of((state.iteration - 1) % state.epoch_length)
            weight = len(state.output[CommonKeys.LABEL]) / batch
            state.output[CommonKeys.LOSS] = state.output[CommonKeys.LOSS] * weight

    def total() -> None:
        trained = (p for p in network.parameters() if p.requires_grad)
        state.output[CommonKeys.LOSS] = distributed.sum_gradients(trained, state.output[CommonKeys.LOSS])

    engine.add_event_handler(IterationEvents.LOSS_COMPLETED, weigh)
    engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, total)


class TrainingProgress:
    """One progress bar over all epochs, and one log line per epoch.

    Args:
        losses: the reader whose mean is shown.
        validator: the engine whose metric ``accuracy`` is shown.
        description: text before the bar.
    """

    def __init__(self, losses: LossReader, validator: Engine, description: str) -> None:
        self.losses, self.validator, self.description = losses, validator, description
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer, after its validation."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.bar.update())
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)

    def start(self, engine: Engine) -> None:
        """Open the bar, at the epoch that a resumed training has reached."""
        state: Any = engine.state
        self.bar = progress_bar(
            total=state.max_epochs * state.epoch_length, initial=state.iteration, desc=self.description
        )

    def report(self, engine: Engine) -> None:
        """Show the epoch's mean loss and the validation accuracy."""
        state, accuracy = engine.state, self.validator.state.metrics.get("accuracy", math.nan)
        loss = self.losses.mean
        self.bar.set_postfix(
            epoch=f"{state.epoch}/{state.max_epochs}", loss=f"{loss:.3f}", val=f"{accuracy:.3f}"
        )
        logger.info(
            "%s: epoch %d of %d, loss %.4f, validation accuracy %.4f",
            *(self.description, state.epoch, state.max_epochs, loss, accuracy),
        )

    def close(self) -> None:
        """Close the bar, so that later output starts on its own line."""
        if self.bar is not None:
            self.bar.close()


class Scalars:
    """TensorBoard scalars, whose file is opened with the first one: a trainer that is only made writes none.

    In place of torch's writer, which opens its file and starts its threads at once.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = str(folder)
        self._writer: Any = None

    def add_scalar(self, *arguments: Any, **options: Any) -> None:
        """Write one number, see :meth:`torch.utils.tensorboard.SummaryWriter.add_scalar`."""
        if self._writer is None:
            self._writer = SummaryWriter(self.folder)
        self._writer.add_scalar(*arguments, **options)

    def flush(self) -> None:
        """Write what waits to the file, if there is one."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close the file and end its threads; a later number opens another file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class TrainingCheckpoint:
    """Save the complete state of a training after every epoch, and the best network separately, to resume.

    ``last.pt`` holds network, optimizer, scheduler, loss, the scaler of float16, precision, epoch and
    history; ``best.pt`` the best network of the last stage, and ``best-<stage>.pt`` that of an earlier one
    (the first of equals; see :class:`monai_sf.engines.stages.Stage`). All are written atomically, and hold
    tensors and plain values only. Together with :func:`seed_epoch`, a resumed training gives the weights of
    an uninterrupted one.

    Args:
        folder: folder of the files.
        stages: the runner of the stages.
        precision: in which the network is trained; a training is resumed in the same only.
        validator: the engine whose metrics ``accuracy`` and ``loss`` select the best epoch.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        stages: StageRunner,
        precision: str,
        validator: Engine,
    ) -> None:
        self.folder, self.stages, self.validator = Path(folder), stages, validator
        self.precision = precision
        self.history: list[dict[str, Any]] = []

    @property
    def best(self) -> dict[str, Any]:
        """The history's entry of the current stage's best network so far."""
        stage = self.stages.current
        entries = [entry for entry in self.history if entry["stage"] == stage.name]
        if stage.select == "loss":
            return min(entries, key=lambda entry: (entry["loss"], entry["epoch"]))
        return max(entries, key=lambda entry: (entry["accuracy"], -entry["epoch"]))

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after its validation and its learning-rate schedule."""
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def _states(self, engine: Engine) -> dict[str, Any]:
        states = self.stages.states()
        scaler = cast(SupervisedTrainer, engine).scaler  # made when the training starts
        return states if scaler is None else {**states, "scaler": scaler}

    def resume(self, engine: Engine) -> None:
        """Resume after the last complete epoch, if there is one.

        Raises:
            ValueError: ``last.pt`` or a stage's best network is damaged or replaced, or belongs to another
                network, method or precision.
        """
        path = self.folder / "last.pt"
        checkpoint = distributed.from_main(lambda: load_checkpoint(path) if path.exists() else None)
        if checkpoint is None:
            best_files = [self.stages.best_file(index) for index in range(len(self.stages.stages))]
            for file in filter(None, best_files):
                distributed.from_main(partial(refuse_foreign, file))
            return
        if checkpoint.get("precision", self.precision) != self.precision:
            raise ValueError(
                f"{path} was trained in {checkpoint['precision']}, and would go on in {self.precision}: "
                "resume it in the precision and on the kind of device of its beginning, or remove it"
            )
        plan = [[stage.name, stage.epochs] for stage in self.stages.stages]
        if (
            set(checkpoint) != {"network", "epoch", "history", "stages", "precision", *self._states(engine)}
            or checkpoint["stages"] != plan
        ):
            raise ValueError(
                f"{path} holds {sorted(checkpoint)} of the stages {checkpoint.get('stages')}, here they are "
                f"{plan}: it belongs to another training; remove it"
            )
        load_weights(self.stages.network, checkpoint["network"], str(path))
        self.stages.enter(self.stages.index_of(checkpoint["epoch"]))
        for name, target in self._states(engine).items():
            target.load_state_dict(checkpoint[name])
        self.history = checkpoint["history"]
        best = self.stages.best_file(self.stages.index)
        if best is not None:  # checked now, not at the end of the stage
            distributed.from_main(lambda: check_checkpoint(best))
        engine.state.epoch = checkpoint["epoch"]
        engine.state.iteration = checkpoint["epoch"] * engine.state.epoch_length
        logger.info(
            "resuming after epoch %d of %d from %s", engine.state.epoch, engine.state.max_epochs, path
        )

    def save(self, engine: Engine) -> None:
        """Write the network if it is the best so far, and then ``last.pt``.

        Raises:
            FloatingPointError: weights, optimiser or validation loss are not finite; nothing is written.
        """
        metrics, epoch = self.validator.state.metrics, engine.state.epoch
        self._refuse_infinite(engine)
        self.history.append(
            {
                "epoch": epoch,
                "stage": self.stages.current.name,
                **{name: float(metrics[name]) for name in ("accuracy", "loss")},
            }
        )
        weights = self.stages.network.state_dict()
        best = self.stages.best_file(self.stages.index)
        if best is not None and self.best["epoch"] == epoch:
            self._write(best, {"network": weights, **self.history[-1]})
        self._write(
            self.folder / "last.pt",
            {
                "network": weights,
                "epoch": epoch,
                "precision": self.precision,
                "history": self.history,
                "stages": [[stage.name, stage.epochs] for stage in self.stages.stages],
                **{name: target.state_dict() for name, target in self._states(engine).items()},
            },
        )

    def _refuse_infinite(self, engine: Engine) -> None:
        """Raise FloatingPointError on all ranks if what one of them would save is not finite.

        Losses do not tell it: the gradient of a finite loss can overflow, and nothing follows an epoch's last
        step.
        """
        states = {name: target.state_dict() for name, target in self._states(engine).items()}
        tensors = dict(_floating({"network": self.stages.network.state_dict(), **states}))
        fault, loss = "", float(self.validator.state.metrics["loss"])
        if not math.isfinite(
            float(get_total_norm([*tensors.values()], math.inf))
        ):  # waits for the device once
            bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
            fault = f"{len(bad)} of {len(tensors)} tensors of network and optimizer are ({bad[0]}, ...)"
        elif not math.isfinite(loss):
            fault = f"the loss of the validation cases is ({loss})"
        if fault := next(filter(None, distributed.gather(fault)), ""):
            raise FloatingPointError(
                f"not finite at the end of epoch {engine.state.epoch}, stage {self.stages.current.name}: "
                f"{fault}. Nothing of this epoch is kept. Lower the learning rate, or train in another "
                "precision"
            )

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        if distributed.is_main():
            save_checkpoint(path, content)


def _floating(state: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the floating-point tensors in nested dictionaries, with their names."""
    for name, value in state.items():
        if isinstance(value, Mapping):
            yield from _floating(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            yield f"{prefix}{name}", value
