"""Features of a given model: the input of the linear layer that gives its output, wherever there is one.

Several layers may be candidates. The first pass with a finite output compares what they give with what the
model gives, so that features are those of the layer that is the last one in truth, and not by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

AUTO = "auto"

#: The most that a value computed twice may differ, relative to the largest, in units of its precision.
_SAME = 64

#: From what a model returns and the number of images to the tensor that is its output.
Select: TypeAlias = Callable[[Any, int], Tensor]

#: Name of a layer to what went in and came out in its last call.
Heard: TypeAlias = dict[str, tuple[Tensor, Any]]


class Tapped(nn.Module, ABC):
    """A model that also gives its features.

    Attributes:
        layer: name of the layer whose input they are; None without features, or before the first pass with
            a finite output.
        missing: why there are none; empty if there are some, or before that pass.
    """

    def __init__(self, model: nn.Module, features: str | None, select: Select) -> None:
        super().__init__()
        self.model, self.select, self.features = model, select, features
        self.layer: str | None = None
        self.missing = "" if features is not None else "none were asked for"
        self._gives_output = False

    def train(self, mode: bool = True) -> Tapped:
        """Keep evaluation mode."""
        self.training = False
        self.model.eval()
        return self

    def forward(self, x: Tensor, part: str | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the model's output for x, and the features (N, F) where it has some.

        Until a pass has had a finite output for an image, it is not known where they are, and there are none.

        Args:
            x: (N, channels, H, W), or the input of a part.
            part: name of the part that ends the model, if only that is to be computed.

        Raises:
            ValueError: the output is not what was declared, or the named layer's input is not (N, F).
        """
        raw, heard = self._run(x, self.model if part is None else self.model.get_submodule(part))
        output = self.select(raw, len(x))
        if self.layer is None and not self.missing and bool(output.isfinite().all(1).any()):
            self._decide(output, heard)
        if self.layer is None:
            return output, None
        features = heard[self.layer][0]
        return output, features.reshape(len(x), -1)

    def last_layer(self) -> tuple[Tensor, Tensor] | None:
        """Return weight and bias of the layer of the features, if its output is the model's.

        Raises:
            RuntimeError: no image has passed yet, or none with a finite output.
        """
        if self.layer is None and not self.missing:
            raise RuntimeError(
                "which layer gives the features is not known before an image has a finite output"
            )
        return self._weights(self.layer) if self.layer is not None and self._gives_output else None

    def before(self, part: str, x: Tensor) -> Tensor:
        """Return the input of the part that ends the model."""
        found: list[Tensor] = []
        heard = {part: self.model.get_submodule(part)}
        with hooks(heard, lambda _, given, __: found.append(given[0])):
            self.model(x)
        return found[0]

    def last_part(self, x: Tensor, layers: Sequence[nn.Module]) -> str | None:
        """Return the name of the smallest sequence of layers that ends the model and holds all of ``layers``.

        It also holds the layer of the features. None if there is no such sequence, or no layer.
        """
        if not layers:
            return None
        parts = {
            name: part
            for name, part in self.model.named_modules()
            if name and isinstance(part, nn.Sequential) and {*layers} <= {*part.modules()}
        }
        heard: dict[str, list[tuple[Any, Any]]] = {name: [] for name in parts}
        with hooks(parts, lambda name, given, result: heard[name].append((given, result))):
            raw = self.model(x)
        for name, calls in reversed(heard.items()):
            holds_features = self.layer is None or self.layer.startswith(f"{name}.")
            if holds_features and len(calls) == 1 and calls[0][1] is raw and _is_batch(calls[0][0], len(x)):
                return name
        return None

    @abstractmethod
    def _run(self, x: Tensor, model: nn.Module) -> tuple[Any, Heard]:
        """Return what a model, or the part that ends it, returns, and what its layers got and gave."""

    @abstractmethod
    def _weights(self, layer: str) -> tuple[Tensor, Tensor] | None:
        """Return weight and bias of a layer, if it is linear."""

    def _decide(self, output: Tensor, heard: Heard) -> None:
        """Find the layer of the features, by what was heard in the first pass with a finite output."""
        if self.features != AUTO:
            name = str(self.features)
            if name not in heard:
                raise ValueError(f"layer {name}, whose input the features are, is not used: name another one")
            if not is_rows(given := heard[name][0], len(output)):
                raise ValueError(
                    f"the input of layer {name} has shape {tuple(given.shape)} for {len(output)} images, but "
                    "features must be one row per image: name a layer after the pooling"
                )
            self.layer, self._gives_output = name, _relation(heard[name][1], output) == "same"
            return
        for name, (given, result) in heard.items():
            relation = _relation(result, output)
            if relation and is_rows(given, len(output)):
                self.layer, self._gives_output = name, relation == "same"
                return
        self.missing = (
            f"no linear layer gives the output of {self._name()}: name the layer whose input they are"
        )

    def _name(self) -> str:
        return type(self.model).__name__


def is_rows(value: Any, cases: int) -> bool:
    """Return whether a value is a row of numbers for each of the cases, as features are."""
    return (
        isinstance(value, Tensor)
        and value.ndim > 1
        and value.shape[0] == cases
        and value[0].numel() == value.shape[1]
    )


def _is_batch(given: tuple[Any, ...], cases: int) -> bool:
    """Return whether the only argument of a layer is a tensor with an entry for each of the cases."""
    return len(given) == 1 and isinstance(given[0], Tensor) and given[0].ndim > 1 and len(given[0]) == cases


def _relation(result: Any, output: Tensor) -> str:
    """Return "same" if a layer's result is the output, "probabilities" if a softmax makes it that, or ""."""
    if not isinstance(result, Tensor) or result.numel() != output.numel() or not output.is_floating_point():
        return ""
    tolerance = _SAME * torch.finfo(output.dtype).eps
    finite = output.isfinite().all(1)  # a NaN is not equal to itself
    result, output = result.reshape(output.shape)[finite].double(), output[finite].double()
    if _equal(result, output, tolerance):
        return "same"
    probabilities = (result.softmax(1), result.log_softmax(1), result.sigmoid())
    return "probabilities" if any(_equal(one, output, tolerance) for one in probabilities) else ""


def _equal(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


def there_are(names: list[str]) -> str:
    """Return which layers there are, for an error message."""
    listed = ", ".join(names[-20:])
    return f"but there are {'...' if len(names) > 20 else ''}{listed}" if names else "but there are none"


@contextmanager
def hooks(
    layers: Mapping[str, nn.Module], hook: Callable[[str, tuple[Any, ...], Any], None]
) -> Iterator[None]:
    """Call a hook with the name, arguments and result of layers while a model computes."""
    handles = [
        layer.register_forward_hook(lambda _, given, result, name=name: hook(name, given, result))
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
