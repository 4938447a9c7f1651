"""The losses of a training as numbers, read when the device has long computed them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from monai_sf.networks import distributed


class _Pending(NamedTuple):
    """A loss that has not been read."""

    read: Callable[[], float]
    epoch: int
    iteration: int
    cases: list[str]


class LossReader:
    """Read the loss of every batch, and stop a training whose loss is not finite.

    Whoever asks a GPU for a number waits for everything that it was given to compute before, and then it
    waits for its next task. So a loss is copied to the host's memory in the background, and read some steps
    later. The number of steps is fixed, since all processes of a run must stop in the same iteration to tell
    each other their cases. At the end of an epoch all losses are read, before the network is saved. On a CPU
    every loss is read at once, before it changes the network.

    Args:
        device: of the losses.
        write: called with every loss and its iteration; None where nobody writes.
        behind: number of steps by which losses are read late; by default 8 on a GPU, and 0 elsewhere.

    Attributes:
        mean: of the batches of the last complete epoch.
    """

    def __init__(
        self,
        device: torch.device,
        write: Callable[[float, int], None] | None = None,
        behind: int | None = None,
    ) -> None:
        self.write = write
        self.behind = behind if behind is not None else 8 if device.type == "cuda" else 0
        self.mean = math.nan
        self._pending: deque[_Pending] = deque()
        self._losses: list[float] = []

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI trainer, before its validation and checkpoints.

        :meth:`add` is registered on its own, after the handlers that change the loss.
        """
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.complete)

    def add(self, engine: Engine) -> None:
        """Take the loss of a batch with ``case_id``, after the backward pass and before the optimiser's step.

        Raises:
            FloatingPointError: the loss that is due is not finite; names epoch, iteration and the case ids.
        """
        state: Any = engine.state
        loss = state.output[CommonKeys.LOSS]
        self._pending.append(
            _Pending(_later(loss), state.epoch, state.iteration, [*map(str, state.batch["case_id"])])
        )
        self._read(self.behind)

    def complete(self) -> None:
        """Read what remains of an epoch.

        Raises:
            FloatingPointError: as :meth:`add`.
        """
        self._read(0)
        self.mean = sum(self._losses) / max(1, len(self._losses))
        self._losses = []

    def _read(self, remaining: int) -> None:
        while len(self._pending) > remaining:
            one = self._pending.popleft()
            loss = one.read()
            if not math.isfinite(loss):
                cases = [case for ids in distributed.gather(one.cases) for case in ids]
                raise FloatingPointError(
                    f"loss is {loss} in epoch {one.epoch}, iteration {one.iteration}; the batch holds the "
                    f"cases {', '.join(cases)}. Look at their images, or lower the learning rate: the "
                    "gradient of the batch before may have overflowed"
                )
            self._losses.append(loss)
            if self.write is not None:
                self.write(loss, one.iteration)


def _later(loss: Tensor) -> Callable[[], float]:
    """Return a function that gives the number, for whose copy nothing waits before it is called."""
    if loss.device.type != "cuda":
        return loss.item
    copy = loss.to("cpu", non_blocking=True)  # to pinned memory
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    done.record()

    def read() -> float:
        done.synchronize()
        return copy.item()

    return read
