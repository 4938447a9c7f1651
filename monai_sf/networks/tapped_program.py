"""The linear layers of an exported program, which get taps that hooks hear."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate

from monai_sf.networks.tapped import Select
from monai_sf.networks.tapped_module import TappedModule


class _Tap(nn.Module):
    """Passes a layer's output on, so that a hook hears what went in and came out."""

    def forward(self, given: Tensor, result: Tensor) -> Tensor:
        return result


class TappedProgram(TappedModule):
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TappedProgram:
        """Move the devices of the graph as fn moves tensors."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0, device=self._device)).device
        if device != self._device:
            self._device = device
            for module in self.model.modules():
                if isinstance(module, GraphModule):
                    _set_device(module, device)
        return self

    def train(self, mode: bool = True) -> TappedProgram:
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
