"""A training method as a list of stages, run by one trainer, so that all methods resume in the same way."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, Literal

import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_sf.engines.schedules import schedule
from monai_sf.networks import ConfidenceClassifier, distributed, load_weights
from monai_sf.networks.checkpoints import load_checkpoint


@dataclass(frozen=True)
class Stage:
    """Some epochs with one loss.

    A stage starts from the best network of the stage before, with an optimiser of its own and a schedule of
    its learning rate that spans its epochs. A stage that *continues* keeps network, optimiser and schedule of
    the stage before, and the schedule spans both.

    Attributes:
        name: of the stage, unique within a training; letters, digits, ``_``, ``-``.
        epochs: how many, > 0.
        loss: called with a :class:`monai_sf.networks.ClassifierOutput` and the labels (N,); its state dict is
            part of the checkpoint.
        optimizer: arguments of the trainer's ``optimizer`` that are others in this stage, such as ``lr``.
        continues: whether it keeps what the stage before has trained with.
        trains: parts of the network that learn; the others stay as they are, batch statistics included.
        select: what says which epoch is the best: the highest validation ``accuracy``, or the lowest
            validation ``loss`` where the classifier does not learn.
    """

    name: str
    epochs: int
    loss: nn.Module
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    continues: bool = False
    trains: Sequence[str] = ("backbone", "head")
    select: Literal["accuracy", "loss"] = "accuracy"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a number is out of range, a word is not one of those known, or a stage that continues
                has arguments of an optimiser.
        """
        if not self.name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"name of a stage must be letters, digits, _ and -, got {self.name!r}")
        if self.epochs < 1:
            raise ValueError(f"stage {self.name}: epochs must be positive, got {self.epochs}")
        if self.continues and self.optimizer:
            raise ValueError(
                f"stage {self.name} continues with the optimizer of the stage before, and cannot change its "
                f"{', '.join(self.optimizer)}"
            )
        if self.select not in ("accuracy", "loss"):
            raise ValueError(f"stage {self.name}: select must be accuracy or loss, got {self.select!r}")


class StageRunner:
    """Knows which stage an epoch belongs to, and sets network, optimiser, schedule and loss for it.

    Args:
        stages: in their order.
        network: that they train.
        folder: where the best network of each stage is kept.
        optimizer: called with the parameters to train, and the stage's own arguments, at the start of each
            stage that does not continue.
        lr_scheduler: called with the stage's optimiser; takes one step per epoch. Where it has an argument
            ``T_max``, ``t_total`` or ``total_steps`` that is not given, that is the stage's epochs.

    Attributes:
        index: position of the stage that has been entered last.
        optimizer: its optimiser.
        scheduler: its learning-rate schedule, one step an epoch.
        learning_rate: of the epoch that has begun last.

    Raises:
        ValueError: no stages, a name occurs twice, the first one continues, or one continues a stage that
            trains other parts; the network has no such part; or a stage's optimiser or schedule cannot be
            made or used.
    """

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    learning_rate: float

    def __init__(
        self,
        stages: Sequence[Stage],
        network: ConfidenceClassifier,
        folder: str | os.PathLike[str],
        optimizer: Callable[..., torch.optim.Optimizer],
        lr_scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
    ) -> None:
        names = [stage.name for stage in stages]
        if not stages or len(set(names)) < len(names):
            raise ValueError(f"stages must be at least one, of different names, got {names}")
        for before, stage in zip((None, *stages), stages, strict=False):
            if stage.continues and (before is None or list(before.trains) != list(stage.trains)):
                raise ValueError(
                    f"stage {stage.name} continues one that must stand before it and train the same parts"
                )
        self.stages, self.network, self.folder = list(stages), network, Path(folder)
        self._ends = list(accumulate(stage.epochs for stage in stages))
        self._factories = optimizer, lr_scheduler
        self._optimized = -1
        for index in reversed(range(len(self.stages))):  # what cannot be made is said now, not in hour six
            self.enter(index)

    @property
    def current(self) -> Stage:
        """The stage that has been entered last."""
        return self.stages[self.index]

    @property
    def max_epochs(self) -> int:
        """Epochs of all stages."""
        return self._ends[-1]

    def index_of(self, epoch: int) -> int:
        """Position of the stage that an epoch (1, 2, ...) belongs to."""
        return bisect_left(self._ends, epoch)

    def best_file(self, index: int) -> Path | None:
        """Where the best network of a stage is kept; None if nothing will ever ask for it."""
        if index == len(self.stages) - 1:
            return self.folder / "best.pt"
        return (
            None if self.stages[index + 1].continues else self.folder / f"best-{self.stages[index].name}.pt"
        )

    def enter(self, index: int) -> None:
        """Freeze what a stage does not train, and make its optimiser, unless it continues the one at hand."""
        self.index = index
        parameters = self.network.train_only(self.current.trains)
        first = max(i for i, stage in enumerate(self.stages[: index + 1]) if not stage.continues)
        if first == self._optimized:
            return
        self._optimized = first
        following = takewhile(lambda stage: stage.continues, self.stages[first + 1 :])
        epochs = self.stages[first].epochs + sum(stage.epochs for stage in following)
        self.optimizer, self.scheduler = schedule(
            *self._factories, parameters, self.stages[first].optimizer, epochs, f"stage {self.current.name}"
        )

    def states(self) -> dict[str, Any]:
        """What a checkpoint of this stage holds beside the network: objects with a state dict, by name."""
        return {"optimizer": self.optimizer, "scheduler": self.scheduler, "loss": self.current.loss}

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer, after the handler that resumes it."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.scheduler.step())

    def begin(self, engine: Engine) -> None:
        """Go over to the next stage where the epoch is its first, and give the engine what this one needs.

        Raises:
            FileNotFoundError: the best network of the stage before is gone.
            ValueError: it is damaged, replaced or of another network.
        """
        trainer: Any = engine
        index = self.index_of(engine.state.epoch)
        if index != self.index:
            if (best := self.best_file(index - 1)) is not None:
                checkpoint = distributed.from_main(partial(load_checkpoint, best))
                load_weights(self.network, checkpoint["network"], str(best))
            self.enter(index)
        if "backbone" not in self.current.trains and "encoder" not in self.current.trains:
            self.network.copy_encoder()
        trainer.optimizer, trainer.loss_function = self.optimizer, self.current.loss
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
