"""Features of a given model of any kind: a module, a TorchScript module, or an exported program."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import ExportedProgram

from monai_sf.networks.tapped import AUTO, Select, Tapped
from monai_sf.networks.tapped_module import TappedModule
from monai_sf.networks.tapped_program import TappedProgram
from monai_sf.networks.tapped_script import TappedScript


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
        return TappedProgram(model, features, select)
    if isinstance(model, torch.jit.ScriptModule):
        return TappedScript(model, features, select)
    modules = dict(model.named_modules())
    layers = modules if features != AUTO else {n: m for n, m in modules.items() if isinstance(m, nn.Linear)}
    return TappedModule(model, features, select, layers)
