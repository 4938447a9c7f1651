"""Let torchvision be imported beside the CPU build of torch, for which the package index has no torchvision.

That of the index is compiled for CUDA. Without torch's CUDA libraries its operators cannot be loaded, and the
import ends with "operator torchvision::nms does not exist", although its networks need none of them. Python
imports this file at its start, wherever this folder is on ``PYTHONPATH``.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []  # what is declared is forgotten with its library


class _BeforeTorchvision:
    """Finds no module; declares the operators when torchvision is about to be imported."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(cls)
            spec = PathFinder.find_spec(name)
            if spec is not None and spec.origin is not None:
                _declare(Path(spec.origin).parent)
        return None


def _declare(torchvision: Path) -> None:
    import torch

    try:
        for compiled in torchvision.glob("_C*.so"):
            torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in _OPERATORS:
            library.define(operator)
        _kept.append(library)


sys.meta_path.insert(0, _BeforeTorchvision)
