"""Optimiser and learning-rate schedule of a stage, from the factories of a config."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

#: Optimisers with a kernel that takes the whole step, and the devices on which torch has it.
_FUSED, _FUSED_ON = (Adam, AdamW, SGD), {"cpu", "cuda"}

#: Names of the number of steps in schedules of torch and MONAI.
_STEPS = ("T_max", "t_total", "total_steps")


def schedule(
    optimizer: Callable[..., Optimizer],
    lr_scheduler: Callable[..., LRScheduler],
    parameters: Sequence[nn.Parameter],
    arguments: Mapping[str, Any],
    epochs: int,
    stage: str,
) -> tuple[Optimizer, LRScheduler]:
    """Make an optimiser and its schedule of one step per epoch.

    Args:
        optimizer: called with the parameters.
        lr_scheduler: called with the optimiser, and with the number of epochs if it takes the number of
            steps.
        parameters: to be trained.
        arguments: of the optimiser, which override those of the factory.
        epochs: spanned by the schedule.
        stage: name of the stage, for messages.

    Raises:
        ValueError: one of them cannot be called like this, returns something else, has no positive learning
            rate, needs a metric, or has a state that a checkpoint cannot hold.
    """
    own = partial(optimizer, **arguments) if callable(optimizer) else optimizer
    made = _made(own, parameters, _fast(own, parameters), f"{stage}, optimizer")
    if not isinstance(made, Optimizer):
        raise ValueError(f"{stage}: optimizer must return an optimiser of torch, got {made!r}")
    if not all(group.get("lr", 0) > 0 for group in made.param_groups):
        rates = [group.get("lr") for group in made.param_groups]
        raise ValueError(f"{stage}: learning rates (lr of optimizer) must be positive, got {rates}")
    plan = _made(lr_scheduler, made, dict.fromkeys(_STEPS, epochs), f"{stage}, lr_scheduler")
    # schedules that need a metric are LRSchedulers too, whose step takes it
    if not isinstance(plan, LRScheduler) or _required(plan.step):
        raise ValueError(
            f"{stage}: lr_scheduler must return a schedule of torch whose step needs no metric, got {plan!r}"
        )
    for name, state in (("optimizer", made.state_dict()), ("lr_scheduler", plan.state_dict())):
        try:
            torch.save(state, file := io.BytesIO())
            torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        except Exception as error:  # any error of pickle
            raise ValueError(
                f"{stage}: the state of {name} does not consist of tensors and plain values, so that the "
                f"training could not be resumed: {error}"
            ) from error
    return made, plan


def _fast(factory: Any, parameters: Sequence[nn.Parameter]) -> dict[str, bool]:
    """Return the argument that asks for the fused kernel, unless the config asks for another way."""
    chosen = factory.keywords if isinstance(factory, partial) else {}
    there = {parameter.device.type for parameter in parameters} <= _FUSED_ON
    others = chosen.get("foreach") or chosen.get("differentiable")
    return {"fused": True} if _kind(factory) in _FUSED and there and not others else {}


def _made(factory: Any, of: Any, offered: Mapping[str, Any], what: str) -> Any:
    """Call a factory with those of the offered arguments that it takes and that are not given."""
    if not callable(factory):
        raise ValueError(
            f"{what} must be called for each stage, got {factory!r}: give the component _mode_: callable"
        )
    given = factory.keywords if isinstance(factory, partial) else {}
    try:
        known = inspect.signature(_kind(factory)).parameters
        taken = {
            name: value
            for name, value in offered.items()
            if name in known and name not in given and known[name].default in (None, inspect.Parameter.empty)
        }
        return factory(of, **taken)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} cannot be made: {error}") from error


def _kind(factory: Any) -> Any:
    return factory.func if isinstance(factory, partial) else factory


def _required(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
