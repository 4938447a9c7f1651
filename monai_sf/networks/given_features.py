"""Features of a given model: the input of the linear layer that gives its output, wherever there is one.

Several layers may be candidates. The first pass with a finite output compares what they give with what the
model gives, so that features are those of the layer that is the last one in truth, and not by name.
"""

from __future__ import annotations

import io
import logging
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate

from monai_sf.networks.classifier import weight_and_bias

logger = logging.getLogger(__name__)

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
        with _hooks(heard, lambda _, given, __: found.append(given[0])):
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
        with _hooks(parts, lambda name, given, result: heard[name].append((given, result))):
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
            if not _rows(given := heard[name][0], len(output)):
                raise ValueError(
                    f"the input of layer {name} has shape {tuple(given.shape)} for {len(output)} images, but "
                    "features must be one row per image: name a layer after the pooling"
                )
            self.layer, self._gives_output = name, _relation(heard[name][1], output) == "same"
            return
        for name, (given, result) in heard.items():
            relation = _relation(result, output)
            if relation and _rows(given, len(output)):
                self.layer, self._gives_output = name, relation == "same"
                return
        self.missing = (
            f"no linear layer gives the output of {self._name()}: name the layer whose input they are"
        )

    def _name(self) -> str:
        return type(self.model).__name__


def tapped(model: nn.Module | ExportedProgram, features: str | None, select: Select) -> Tapped:
    """Return a model that also gives its features.

    Args:
        model: a module, a TorchScript module, or an exported program.
        features: "auto", the name of a layer, or None.
        select: the tensor that is the model's output.

    Raises:
        ValueError: there is no layer of that name.
    """
    if isinstance(model, ExportedProgram):
        return _TappedProgram(model, features, select)
    if isinstance(model, torch.jit.ScriptModule):
        return _TappedScript(model, features, select)
    modules = dict(model.named_modules())
    layers = modules if features != AUTO else {n: m for n, m in modules.items() if isinstance(m, nn.Linear)}
    return _TappedModule(model, features, select, layers)


class _TappedModule(Tapped):
    """Hooks hear the layers of a module."""

    def __init__(
        self, model: nn.Module, features: str | None, select: Select, layers: Mapping[str, nn.Module]
    ) -> None:
        super().__init__(model, features, select)
        if features is None:
            layers = {}
        elif features != AUTO:
            if features not in layers:
                raise ValueError(f"features names the layer {features!r}, {_there_are(list(layers))}")
            layers = {features: layers[features]}
        self._layers = dict(layers)

    def _run(self, x: Tensor, model: nn.Module) -> tuple[Any, Heard]:
        heard: Heard = {}

        def hook(name: str, given: tuple[Any, ...], result: Any) -> None:
            if given and isinstance(given[0], Tensor) and (self.features != AUTO or _rows(given[0], len(x))):
                heard[name] = given[0], result

        with _hooks(self._layers if self.layer is None else {self.layer: self._layers[self.layer]}, hook):
            return model(x), heard

    def _weights(self, layer: str) -> tuple[Tensor, Tensor] | None:
        found = self._layers[layer]
        return weight_and_bias(found) if isinstance(found, nn.Linear) else None


class _TappedScript(Tapped):
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
                f"features names the layer {features!r}, {_there_are(names)}: of a TorchScript file, the "
                "features can be the input of a linear layer"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _TappedScript:
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


class _Tap(nn.Module):
    """Passes a layer's output on, so that a hook hears what went in and came out."""

    def forward(self, given: Tensor, result: Tensor) -> Tensor:
        return result


class _TappedProgram(_TappedModule):
    """An exported program: its linear layers are nodes of a graph, and get taps that hooks hear.

    Devices that its graph names, as for new tensors, become the device that it is moved to.
    """

    def __init__(self, program: ExportedProgram, features: str | None, select: Select) -> None:
        module = program.module()
        _buffer_constants(module)
        tensors = [*module.parameters(), *module.buffers()]
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self._paths: dict[str, tuple[str, str | None]] = {}
        taps: dict[str, nn.Module] = {}
        for node in list(module.graph.nodes):
            if (found := _program_linear(node)) is None:
                continue
            given, weight, bias = found
            name = str(weight.target).removesuffix(".weight")
            taps[name] = tap = _Tap()
            module.add_submodule(f"_tap_{len(taps)}", tap)
            with module.graph.inserting_after(node):
                passed = module.graph.call_module(f"_tap_{len(taps)}", (given, node))
            node.replace_all_uses_with(passed, delete_user_cb=lambda user, passed=passed: user is not passed)
            self._paths[name] = str(weight.target), None if bias is None else str(bias.target)
        module.recompile()
        super().__init__(module, features, select, taps)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _TappedProgram:
        """Move the devices of the graph as fn moves tensors."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0, device=self._device)).device
        if device != self._device:
            self._device = device
            for module in self.model.modules():
                if isinstance(module, GraphModule):
                    _set_device(module, device)
        return self

    def train(self, mode: bool = True) -> _TappedProgram:
        """Keep the mode in which the program was exported."""
        self.training = False
        return self

    def _name(self) -> str:
        return "the exported program"

    def _weights(self, layer: str) -> tuple[Tensor, Tensor] | None:
        weight, bias = (
            None if path is None else operator.attrgetter(path)(self.model).detach()
            for path in self._paths[layer]
        )
        assert weight is not None
        return weight, weight.new_zeros(len(weight)) if bias is None else bias


def _buffer_constants(module: nn.Module) -> None:
    """Make buffers of constant tensors, which torch.export keeps as attributes that do not move."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                delattr(part, name)
                part.register_buffer(name, value, persistent=False)


def _set_device(module: GraphModule, device: torch.device) -> None:
    for node in module.graph.nodes:
        node.args, node.kwargs = map_aggregate(
            (node.args, node.kwargs), lambda value: device if isinstance(value, torch.device) else value
        )
    module.recompile()


def _program_linear(node: Node) -> tuple[Any, Node, Node | None] | None:
    """Return input, weight and bias of a node, if it is a linear layer."""
    aten, inputs = torch.ops.aten, list[Any](node.args)
    if node.target is aten.linear.default:
        given, weight, bias = (*inputs, None)[:3]
    elif node.target is aten.addmm.default and inputs[2].target in (aten.t.default, aten.permute.default):
        bias, given, weight = inputs[0], inputs[1], inputs[2].args[0]
    else:
        return None
    is_known = weight.op == "get_attr" and (bias is None or bias.op == "get_attr")
    return (given, weight, bias) if is_known else None


def _rows(value: Any, cases: int) -> bool:
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


def _there_are(names: list[str]) -> str:
    listed = ", ".join(names[-20:])
    return f"but there are {'...' if len(names) > 20 else ''}{listed}" if names else "but there are none"


@contextmanager
def _hooks(
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
