"""The linear layers of a TorchScript module: its graph gives what goes in and comes out."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from monai_sf.networks.tapped import AUTO, Heard, Select, Tapped, there_are

logger = logging.getLogger(__name__)


class TappedScript(Tapped):
    """A copy of a TorchScript module's graph has further outputs: hooks do not fire inside a graph.

    The copy has no weights of its own, and takes those of the module, wherever that is moved; only where the
    last layer is hidden in a branch, the graph is frozen for the device first. A graph that was saved frozen
    holds its weights itself, and is loaded again for another device.
    """

    def __init__(self, model: torch.jit.ScriptModule, features: str | None, select: Select) -> None:
        super().__init__(model, features, select)
        self._layers: dict[str, _ScriptLinear] = {}
        self._function: Any = None
        self._device = torch.device("cpu")
        self._frozen_for: torch.device | None = None
        if features is None or self._tap(model):
            return
        self._freeze(torch.device("cpu"))
        if features != AUTO and not self._layers:
            names = list(_script_layers(model.inlined_graph))
            raise ValueError(
                f"features names the layer {features!r}, {there_are(names)}: of a TorchScript file, the "
                "features can be the input of a linear layer"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TappedScript:
        """Move the tensors that the graph holds as fn moves those of the module."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0, device=self._device)).device
        if device != self._device and _holds_tensors(self.model.inlined_graph):
            content = io.BytesIO()
            torch.jit.save(self.model, content)
            content.seek(0)
            self.model = model = torch.jit.load(content, map_location=device)  # type: ignore[no-untyped-call]
            if self._function is not None and self._frozen_for is None:
                self._tap(model)
        self._device = device
        return self

    def _freeze(self, device: torch.device) -> None:
        """Tap a graph without the branches that evaluation mode does not take; weights are part of it."""
        self._frozen_for = device
        try:
            self._tap(torch.jit.freeze(self.model))
        except RuntimeError as error:
            logger.info("a TorchScript graph cannot be frozen (%s)", error)

    def _tap(self, model: torch.jit.ScriptModule) -> bool:
        """Give a graph further outputs, and return whether it has the layers for that."""
        graph = model.inlined_graph.copy()
        layers = _script_layers(graph)
        if self.features == AUTO:
            last = _script_sources(list(graph.outputs()))
            layers = {name: one for name, one in layers.items() if one.result.debugName() in last}
        else:
            layers = {name: one for name, one in layers.items() if name == self.features}
        forward: Any = model.forward
        further = forward.schema.arguments[2:]
        if layers and all(argument.has_default_value() for argument in further):
            self._further = [argument.default_value for argument in further]
            for one in layers.values():
                graph.registerOutput(one.given)
                graph.registerOutput(one.result)
            graph.makeMultiOutputIntoTuple()
            self._layers, self._tapped = layers, [model]
            self._function = torch._C._create_function_from_graph("tapped", graph)
        return self._function is not None

    def _name(self) -> str:
        return "the TorchScript graph"

    def _run(self, x: Tensor, model: nn.Module) -> tuple[Any, Heard]:
        if self._function is None:
            return model(x), {}
        if self._frozen_for not in (None, x.device):
            self._freeze(x.device)
        raw, *values = self._function(self._tapped[0], x, *self._further)
        return raw, {name: (values[2 * i], values[2 * i + 1]) for i, name in enumerate(self._layers)}

    def _weights(self, layer: str) -> tuple[Tensor, Tensor] | None:
        one = self._layers[layer]
        weight, bias = (_script_tensor(value, self._tapped[0]) for value in (one.weight, one.bias))
        if weight is None:
            return None
        weight = weight.T if one.turned else weight
        return weight, weight.new_zeros(len(weight)) if bias is None else bias


def _holds_tensors(graph: Any) -> bool:
    nodes = graph.findAllNodes("prim::Constant")
    return any(node.hasAttribute("value") and node.kindOf("value") == "t" for node in nodes)


class _ScriptLinear(NamedTuple):
    """Values of the graph that go into a linear layer and come out, and its weight, turned or not."""

    given: Any
    result: Any
    weight: Any
    bias: Any
    turned: bool

    @property
    def name(self) -> str:
        """Return the name of the layer; empty where the graph holds the weight itself."""
        return ".".join(_script_path(self.weight)[:-1])


def _script_layers(graph: Any) -> dict[str, _ScriptLinear]:
    """Return the linear layers of a graph, outside of its branches, by their names."""
    found = []
    for node in graph.nodes():
        inputs = list(node.inputs())
        if node.kind() == "aten::linear":
            found.append(_ScriptLinear(inputs[0], node.output(), inputs[1], inputs[2], False))
        elif node.kind() == "aten::addmm":
            turning = inputs[2].node()
            turned = turning.kind() not in ("aten::t", "aten::transpose")
            weight = inputs[2] if turned else next(turning.inputs())
            found.append(_ScriptLinear(inputs[1], node.output(), weight, inputs[0], turned))
    return {one.name or f"linear layer {number}": one for number, one in enumerate(found, 1)}


def _script_path(value: Any) -> list[str]:
    """Return the names of the attributes that lead from the module to a value."""
    node = value.node()
    if node.kind() != "prim::GetAttr":
        return []
    return [*_script_path(next(node.inputs())), node.s("name")]


def _script_tensor(value: Any, model: nn.Module) -> Tensor | None:
    found: Any = model
    if path := _script_path(value):
        for name in path:
            found = getattr(found, name)
    else:
        found = value.toIValue()
    return found.detach() if isinstance(found, Tensor) else None


#: What may follow the last linear layer, and leaves its values or makes probabilities of them.
_SCRIPT_PASSES = frozenset(
    (
        *("prim::TupleConstruct", "prim::ListConstruct", "prim::DictConstruct"),
        *("aten::softmax", "aten::log_softmax", "aten::sigmoid", "aten::squeeze", "aten::flatten"),
        *("aten::view", "aten::reshape", "aten::contiguous", "aten::to", "aten::float", "aten::clone"),
    )
)


def _script_sources(values: list[Any]) -> set[str]:
    """Return the names of values from which a graph's outputs come unchanged, or as probabilities."""
    found: set[str] = set()
    while values:
        value = values.pop()
        if value.debugName() in found:
            continue
        found.add(value.debugName())
        if value.node().kind() in _SCRIPT_PASSES:
            values += list(value.node().inputs())
    return found
