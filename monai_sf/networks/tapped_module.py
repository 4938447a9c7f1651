"""The layers of a module, which hooks hear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from monai_sf.networks.classifier import weight_and_bias
from monai_sf.networks.tapped import AUTO, Heard, Select, Tapped, hooks, is_rows, there_are


class TappedModule(Tapped):
    """Hooks hear the layers of a module."""

    def __init__(
        self, model: nn.Module, features: str | None, select: Select, layers: Mapping[str, nn.Module]
    ) -> None:
        super().__init__(model, features, select)
        if features is None:
            layers = {}
        elif features != AUTO:
            if features not in layers:
                raise ValueError(f"features names the layer {features!r}, {there_are(list(layers))}")
            layers = {features: layers[features]}
        self._layers = dict(layers)

    def _run(self, x: Tensor, model: nn.Module) -> tuple[Any, Heard]:
        heard: Heard = {}

        def hook(name: str, given: tuple[Any, ...], result: Any) -> None:
            if (
                given
                and isinstance(given[0], Tensor)
                and (self.features != AUTO or is_rows(given[0], len(x)))
            ):
                heard[name] = given[0], result

        with hooks(self._layers if self.layer is None else {self.layer: self._layers[self.layer]}, hook):
            return model(x), heard

    def _weights(self, layer: str) -> tuple[Tensor, Tensor] | None:
        found = self._layers[layer]
        return weight_and_bias(found) if isinstance(found, nn.Linear) else None
