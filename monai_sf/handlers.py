"""Ignite handlers for training that can be killed, and for collecting what confidence scores need."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils import CommonKeys
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from monai_sf import distributed
from monai_sf.batches import SharedBatches
from monai_sf.checkpoints import (
    check_checkpoint,
    load_checkpoint,
    refuse_foreign,
    save_checkpoint,
)
from monai_sf.networks import load_weights
from monai_sf.results import TestSetWriter
from monai_sf.stages import StageRunner

logger = logging.getLogger(__name__)


class EpochSeed:
    """Seed all that is random in an epoch from (seed, epoch), so that a resumed epoch is the same epoch.

    The order of cases and their augmentation do not depend on the number of processes. What is left, dropout,
    is seeded by rank as well, or all processes would drop the same units.

    Args:
        seed: of the run.
        batches: whose epoch is set.
    """

    def __init__(self, seed: int, batches: SharedBatches) -> None:
        self.seed, self.batches = seed, batches

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; must be attached before handlers that draw random numbers."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed torch, and tell the batches which epoch it is."""
        self.batches.epoch = engine.state.epoch
        words = (self.seed, engine.state.epoch, distributed.rank())
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))


class AddUp:
    """Make one step out of the shares of a batch that several processes have seen.

    Each rank's mean loss is weighted with its share of the batch's cases, and after the backward pass the
    gradients are summed over all ranks, and the losses with them, so that the engine's loss is that of the
    batch. Networks must start equal, which is seen to, and stay so.

    Args:
        batches: that the trainer is given.
        network: that it trains.
    """

    def __init__(self, batches: SharedBatches, network: nn.Module) -> None:
        self.batches, self.network = batches, network

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer, after the handler that resumes it."""
        engine.add_event_handler(Events.STARTED, lambda: distributed.broadcast_state(self.network))
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.weigh)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.sum)

    def weigh(self, engine: Engine) -> None:
        """Weight the loss, before the backward pass."""
        state: Any = engine.state
        if distributed.world_size() > 1:
            batch = self.batches.size_of((state.iteration - 1) % state.epoch_length)
            weight = len(state.output[CommonKeys.LABEL]) / batch
            state.output[CommonKeys.LOSS] = state.output[CommonKeys.LOSS] * weight

    def sum(self, engine: Engine) -> None:
        """Sum gradients and losses, before the step."""
        state: Any = engine.state
        trained = [p for p in self.network.parameters() if p.requires_grad]
        state.output[CommonKeys.LOSS] = distributed.sum_gradients(trained, state.output[CommonKeys.LOSS])


class StopOnNaN:
    """End the training when the loss is NaN or infinite, and say in which cases."""

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer, whose batches have ``case_id``, after :class:`AddUp`."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Check the loss of this batch, before it changes the network.

        Raises:
            FloatingPointError: the loss is not finite; names epoch, iteration and the batch's case ids.
        """
        state: Any = engine.state
        loss = state.output[CommonKeys.LOSS].item()
        if not math.isfinite(loss):
            cases = [str(case) for ids in distributed.gather(list(state.batch["case_id"])) for case in ids]
            raise FloatingPointError(
                f"loss is {loss} in epoch {state.epoch}, iteration {state.iteration}; the batch holds the "
                f"cases {', '.join(cases)}. Look at their images, or lower the learning rate"
            )


def progress_bar(**arguments: Any) -> Any:
    """A bar that rank 0 shows; none where TQDM_DISABLE is set, also after tqdm was imported."""
    hidden = not distributed.is_main() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(unit="batch", mininterval=1.0, disable=hidden, **arguments)


class TrainingProgress:
    """One progress bar over all epochs, and a log line an epoch.

    Args:
        validator: the engine whose metric ``accuracy`` is shown.
        description: in front of the bar.

    Attributes:
        mean_loss: of the batches of the epoch that has been completed last.
    """

    def __init__(self, validator: Engine, description: str) -> None:
        self.validator, self.description = validator, description
        self.losses: list[float] = []
        self.mean_loss = math.nan
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer, after its validation."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)

    def start(self, engine: Engine) -> None:
        """Open the bar, where a resumed training left it."""
        state: Any = engine.state
        self.bar = progress_bar(
            total=state.max_epochs * state.epoch_length, initial=state.iteration, desc=self.description
        )

    def step(self, engine: Engine) -> None:
        """Move on by a batch."""
        output: Any = engine.state.output
        self.losses.append(output[CommonKeys.LOSS].item())
        self.bar.update()

    def report(self, engine: Engine) -> None:
        """Show the epoch's mean loss and the validation accuracy."""
        state, accuracy = engine.state, self.validator.state.metrics.get("accuracy", math.nan)
        self.mean_loss = loss = sum(self.losses) / max(1, len(self.losses))
        self.losses = []
        self.bar.set_postfix(
            epoch=f"{state.epoch}/{state.max_epochs}", loss=f"{loss:.3f}", val=f"{accuracy:.3f}"
        )
        logger.info(
            "%s: epoch %d of %d, loss %.4f, validation accuracy %.4f",
            *(self.description, state.epoch, state.max_epochs, loss, accuracy),
        )

    def close(self) -> None:
        """Close the bar, so that what is printed next starts on its own line."""
        if self.bar is not None:
            self.bar.close()


class TrainingCheckpoint:
    """Save the whole state of a training after every epoch, the best network apart, and resume from it.

    ``last.pt`` holds network, optimizer, scheduler, loss, scaler, epoch and history; ``best.pt`` the best
    network of the last stage, and ``best-<stage>.pt`` that of an earlier one (the first of equals; see
    :class:`monai_sf.stages.Stage`). All are written whole or not at all, and hold tensors and plain values
    only. Together with :class:`EpochSeed` a resumed training gives the weights of an unbroken one.

    Args:
        folder: where the files go.
        stages: what is trained, and when.
        scaler: of automatic mixed precision, if that is used.
        validator: the engine whose metrics ``accuracy`` and ``loss`` select.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        stages: StageRunner,
        scaler: torch.amp.GradScaler | None,
        validator: Engine,
    ) -> None:
        self.folder, self.stages, self.scaler, self.validator = Path(folder), stages, scaler, validator
        self.history: list[dict[str, Any]] = []

    @property
    def best(self) -> dict[str, Any]:
        """The history's entry of the best network so far of the stage that is trained."""
        stage = self.stages.current
        entries = [entry for entry in self.history if entry["stage"] == stage.name]
        if stage.select == "loss":
            return min(entries, key=lambda entry: (entry["loss"], entry["epoch"]))
        return max(entries, key=lambda entry: (entry["accuracy"], -entry["epoch"]))

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after its validation and its learning-rate schedule."""
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def _states(self) -> dict[str, Any]:
        states = self.stages.states()
        return states if self.scaler is None else {**states, "scaler": self.scaler}

    def resume(self, engine: Engine) -> None:
        """Go on after the last complete epoch, if there is one.

        Raises:
            ValueError: ``last.pt`` or a stage's best network is damaged or replaced, or belongs to another
                network or method.
        """
        path = self.folder / "last.pt"
        checkpoint = distributed.from_main(lambda: load_checkpoint(path) if path.exists() else None)
        if checkpoint is None:
            best_files = [self.stages.best_file(index) for index in range(len(self.stages.stages))]
            for file in filter(None, best_files):
                distributed.from_main(partial(refuse_foreign, file))
            return
        plan = [[stage.name, stage.epochs] for stage in self.stages.stages]
        if (
            set(checkpoint) != {"network", "epoch", "history", "stages", *self._states()}
            or checkpoint["stages"] != plan
        ):
            raise ValueError(
                f"{path} holds {sorted(checkpoint)} of the stages {checkpoint.get('stages')}, here they are "
                f"{plan}: it belongs to another training; remove it"
            )
        load_weights(self.stages.network, checkpoint["network"], str(path))
        self.stages.enter(self.stages.index_of(checkpoint["epoch"]))
        for name, target in self._states().items():
            target.load_state_dict(checkpoint[name])
        self.history = checkpoint["history"]
        best = self.stages.best_file(self.stages.index)
        if best is not None:  # said now, not when the stage has come to its end
            distributed.from_main(lambda: check_checkpoint(best))
        engine.state.epoch = checkpoint["epoch"]
        engine.state.iteration = checkpoint["epoch"] * engine.state.epoch_length
        logger.info(
            "resuming after epoch %d of %d from %s", engine.state.epoch, engine.state.max_epochs, path
        )

    def save(self, engine: Engine) -> None:
        """Write the best network, if this epoch's is, and then ``last.pt``."""
        metrics, epoch = self.validator.state.metrics, engine.state.epoch
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
                "history": self.history,
                "stages": [[stage.name, stage.epochs] for stage in self.stages.stages],
                **{name: target.state_dict() for name, target in self._states().items()},
            },
        )

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        if distributed.is_main():
            save_checkpoint(path, content)


class CollectOutputs:
    """Write what an evaluator's inferer gives for each test set, as it comes.

    Each batch names its test set (``test_set``) and cases (``case_id``); the engine's prediction is a
    dictionary of per-case tensors (see :data:`monai_sf.results.ARRAYS`).

    Args:
        writers: test set to writer.
        row_of: case id to row of the case table.
        pictured: names of the test sets whose images are stored.
        thumbnail_size: the longer side of the stored images, in pixels; 0 stores none.
        sync_seconds: what is older than this is safe from a power cut.
    """

    def __init__(
        self,
        writers: Mapping[str, TestSetWriter],
        row_of: Mapping[str, int],
        pictured: Collection[str],
        *,
        thumbnail_size: int = 64,
        sync_seconds: float = 30.0,
    ) -> None:
        self.writers, self.row_of, self.pictured = writers, row_of, pictured
        self.thumbnail_size, self.sync_seconds = thumbnail_size, sync_seconds
        self.last_sync = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator that does not decollate."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.sync)

    def __call__(self, engine: Engine) -> None:
        """Store one batch.

        Raises:
            FloatingPointError: logits are NaN or infinite; names the cases.
        """
        state: Any = engine.state
        batch, outputs = state.batch, state.output[CommonKeys.PRED]
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in outputs.items()}
        bad = ~np.isfinite(arrays["logits"]).all(axis=1)
        if bad.any():
            cases = [c for c, b in zip(batch["case_id"], bad, strict=True) if b]
            raise FloatingPointError(
                f"test set {batch['test_set']}: logits are not finite for the cases {', '.join(cases)}"
            )
        if self.thumbnail_size and batch["test_set"] in self.pictured:
            arrays["images"] = thumbnails(state.output[CommonKeys.IMAGE], self.thumbnail_size)
        self.writers[batch["test_set"]].write([self.row_of[c] for c in batch["case_id"]], arrays)
        if time.monotonic() - self.last_sync > self.sync_seconds:
            self.sync()

    def sync(self) -> None:
        """Bring everything to the disk."""
        for writer in self.writers.values():
            writer.sync()
        self.last_sync = time.monotonic()


def thumbnails(images: torch.Tensor, size: int) -> NDArray[np.uint8]:
    """Small pictures of a batch.

    Args:
        images: (N, channels, H, W) float in [0, 1]; one channel is grey, the first three of more are RGB.
        size: the longer side is at most this, in pixels; smaller images stay as they are.

    Returns:
        (N, h, w) or (N, h, w, 3) uint8.
    """
    pictures = images.detach().float()[:, : 3 if images.shape[1] >= 3 else 1]
    scale = size / max(pictures.shape[2:])
    if scale < 1:
        shape = [max(1, round(side * scale)) for side in pictures.shape[2:]]
        pictures = nn.functional.interpolate(pictures, shape, mode="area")
    grey_levels = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return grey_levels[..., 0] if grey_levels.shape[-1] == 1 else np.ascontiguousarray(grey_levels)
