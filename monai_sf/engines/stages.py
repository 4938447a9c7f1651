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

    A stage starts from the best network of the previous stage, with its own optimiser and a learning-rate
    schedule that spans its epochs. A stage that *continues* keeps network, optimiser and schedule of the
    previous stage, and the schedule spans both.

    Attributes:
        name: of the stage, unique within a training; letters, digits, ``_``, ``-``.
        epochs: number of epochs, > 0.
        loss: called with a :class:`monai_sf.networks.ClassifierOutput` and the labels (N,); its state dict is
            part of the checkpoint.
        optimizer: arguments of the trainer's ``optimizer`` that this stage overrides, such as ``lr``.
        continues: whether it keeps network, optimiser and schedule of the previous stage.
        trains: parts of the network that learn; the others are frozen, including their batch statistics.
        select: criterion of the best epoch: the highest validation ``accuracy``, or the lowest validation
            ``loss`` if the classifier does not learn.

    Examples:
        >>> from monai_sf.engines import Stage
        >>> from monai_sf.losses import ClassificationLoss, TrueClassProbabilityLoss
        >>> first = Stage(
        ...     "classifier", epochs=20, loss=ClassificationLoss(), optimizer={"lr": 3e-5}
        ... )
        >>> second = Stage(  # a frozen classifier, whose confidence is learned
        ...     "confidnet",
        ...     epochs=5,
        ...     loss=TrueClassProbabilityLoss(),
        ...     trains=["confidence"],
        ...     select="loss",
        ... )
        >>> sum(stage.epochs for stage in (first, second))
        25
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
            ValueError: a number is out of range, a word is unknown, or a stage that continues has arguments
                of an optimiser.
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
    """Handler that sets network, optimiser, schedule and loss for the stage of each epoch.

    Args:
        stages: in their order.
        network: the network to train.
        folder: folder of each stage's best network.
        optimizer: called with the parameters to train, and the stage's own arguments, at the start of each
            stage that does not continue.
        lr_scheduler: called with the stage's optimiser; takes one step per epoch. An argument ``T_max``,
            ``t_total`` or ``total_steps`` that is not given is set to the stage's epochs.

    Attributes:
        index: position of the current stage.
        optimizer: its optimiser.
        scheduler: its learning-rate schedule, one step per epoch.
        learning_rate: of the current epoch.

    Raises:
        ValueError: no stages, a name occurs twice, the first one continues, or one continues a stage that
            trains other parts; the network has no such part; or a stage's optimiser or schedule cannot be
            made or used.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from monai_sf.engines import Stage, StageRunner
        >>> from monai_sf.losses import ClassificationLoss
        >>> from monai_sf.networks import ConfidenceClassifier
        >>> network = ConfidenceClassifier(
        ...     nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), num_classes=2
        ... )
        >>> head = Stage("head", 2, ClassificationLoss(), {"lr": 0.1}, trains=["head"])
        >>> both = Stage("both", 3, ClassificationLoss(), {"lr": 0.01})
        >>> schedule = torch.optim.lr_scheduler.CosineAnnealingLR
        >>> runner = StageRunner([head, both], network, "run", torch.optim.Adam, schedule)
        >>> runner.current.name, runner.max_epochs, runner.index_of(epoch=3)
        ('head', 5, 1)
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
        for index in reversed(range(len(self.stages))):  # faults are raised now, not in hour six
            self.enter(index)

    @property
    def current(self) -> Stage:
        """The stage that was entered last."""
        return self.stages[self.index]

    @property
    def max_epochs(self) -> int:
        """Number of epochs of all stages."""
        return self._ends[-1]

    def index_of(self, epoch: int) -> int:
        """Return the position of the stage of an epoch (1, 2, ...)."""
        return bisect_left(self._ends, epoch)

    def best_file(self, index: int) -> Path | None:
        """Return the file of a stage's best network; None if it is never needed."""
        if index == len(self.stages) - 1:
            return self.folder / "best.pt"
        return (
            None if self.stages[index + 1].continues else self.folder / f"best-{self.stages[index].name}.pt"
        )

    def enter(self, index: int) -> None:
        """Freeze what a stage does not train, and make its optimiser, unless it continues the current one."""
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
        """Return the objects with a state dict, by name, that a checkpoint holds besides the network."""
        return {"optimizer": self.optimizer, "scheduler": self.scheduler, "loss": self.current.loss}

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer, after the handler that resumes it."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.scheduler.step())

    def begin(self, engine: Engine) -> None:
        """Enter the next stage if this is its first epoch, and set the engine up for it.

        Raises:
            FileNotFoundError: the best network of the previous stage is missing.
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
