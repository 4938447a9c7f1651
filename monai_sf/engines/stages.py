"""A training method as a list of stages, run by one trainer, so that all methods resume in the same way."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, Literal

import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_sf.networks import ConfidenceClassifier, distributed, load_weights
from monai_sf.networks.checkpoints import load_checkpoint


@dataclass(frozen=True)
class Stage:
    """Some epochs with one loss.

    A stage starts from the best network of the stage before, with a fresh Adam whose learning rate falls to 0
    over its epochs as a cosine. A stage without a learning rate *continues*: it goes on with network,
    optimiser and schedule of the stage before, and the cosine spans both.

    Attributes:
        name: of the stage, unique within a training; letters, digits, ``_``, ``-``.
        epochs: how many, > 0.
        loss: called with a :class:`monai_sf.networks.ClassifierOutput` and the labels (N,); its state dict is
            part of the checkpoint.
        learning_rate: of Adam, > 0; None continues the stage before.
        weight_decay: of Adam.
        trains: parts of the network that learn; the others stay as they are, batch statistics included.
        select: what says which epoch is the best: the highest validation ``accuracy``, or the lowest
            validation ``loss`` where the classifier does not learn.
    """

    name: str
    epochs: int
    loss: nn.Module
    learning_rate: float | None = None
    weight_decay: float = 0.0
    trains: Sequence[str] = ("backbone", "head")
    select: Literal["accuracy", "loss"] = "accuracy"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: a number is out of range, or a word is not one of those known.
        """
        if not self.name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"name of a stage must be letters, digits, _ and -, got {self.name!r}")
        if self.epochs < 1:
            raise ValueError(f"stage {self.name}: epochs must be positive, got {self.epochs}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"stage {self.name}: learning_rate must be positive, got {self.learning_rate}")
        if self.weight_decay < 0:
            raise ValueError(f"stage {self.name}: weight_decay must not be negative, got {self.weight_decay}")
        if self.select not in ("accuracy", "loss"):
            raise ValueError(f"stage {self.name}: select must be accuracy or loss, got {self.select!r}")

    @property
    def continues(self) -> bool:
        """Whether it goes on with the optimiser of the stage before."""
        return self.learning_rate is None


class StageRunner:
    """Knows which stage an epoch belongs to, and sets network, optimiser, schedule and loss for it.

    Args:
        stages: in their order.
        network: that they train.
        folder: where the best network of each stage is kept.

    Attributes:
        index: position of the stage that has been entered last.
        optimizer: its optimiser.
        scheduler: its learning-rate schedule, one step an epoch.
        learning_rate: of the epoch that has begun last.

    Raises:
        ValueError: no stages, a name occurs twice, the first one continues, or one continues a stage that
            trains other parts.
    """

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    learning_rate: float

    def __init__(
        self, stages: Sequence[Stage], network: ConfidenceClassifier, folder: str | os.PathLike[str]
    ) -> None:
        names = [stage.name for stage in stages]
        if not stages or len(set(names)) < len(names):
            raise ValueError(f"stages must be at least one, of different names, got {names}")
        for before, stage in zip((None, *stages), stages, strict=False):
            if stage.continues and (before is None or list(before.trains) != list(stage.trains)):
                raise ValueError(
                    f"stage {stage.name} has no learning_rate, so it continues the stage before, which must "
                    "exist and train the same parts"
                )
        self.stages, self.network, self.folder = list(stages), network, Path(folder)
        self._ends = list(accumulate(stage.epochs for stage in stages))
        self._optimized = -1
        self.enter(0)

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
        learning_rate = self.stages[first].learning_rate
        assert learning_rate is not None
        self.optimizer = torch.optim.Adam(
            parameters, learning_rate, weight_decay=self.stages[first].weight_decay, fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, epochs)

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
