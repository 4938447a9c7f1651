"""A given model in a new bundle for an audit: what is declared of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_sf.data.given_preprocessing import Range


@dataclass(frozen=True)
class Declared:
    """What is said of a given model: the keys of ``data.yaml`` of the same names.

    Attributes:
        model: a TorchScript or torch.export file, ``package.module:function``, or the folder of a MONAI
            bundle.
        weights: a file of weights for a function's network, or None.
        arguments: of the function.
        outputs: "logits", "softmax", "logit" or "sigmoid".
        model_classes: the classes in the order of the model's outputs; None: as the labels are.
        mean: subtracted from images in [0, 1]; one number, or one per channel.
        std: divisor after that.
        image_size: (height, width) that images are resized to; None for the usual one.
        value_range: lowest and highest value that a bundle's preprocessing gives; None for no bundle, and
            before they are known.
        transposed: whether a bundle's preprocessing exchanges rows and columns.
        features: name of the layer whose input the features are; "auto" finds it, None: no features.
    """

    model: str
    weights: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    outputs: str = "logits"
    model_classes: Sequence[str] | None = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    image_size: tuple[int, int] | None = None
    value_range: Range | None = None
    transposed: bool = False
    features: str | None = "auto"

    def keys(self) -> dict[str, Any]:
        """Return the keys of ``data.yaml``; numbers of all channels alike as one."""
        own: dict[str, Any] = {
            "model": str(self.place),
            "weights": None if self.weights is None else str(self.weights.expanduser().absolute()),
            "arguments": dict(self.arguments),
            "outputs": self.outputs,
            "features": self.features,
        }
        if self.model_classes is not None:
            own["model_classes"] = list(self.model_classes)
        if self.is_bundle:
            if self.value_range is None:
                return own
            return {**own, "value_range": list(self.value_range), "transposed": self.transposed}
        size = None if self.image_size is None else list(self.image_size)
        return {**own, "mean": _number(self.mean), "std": _number(self.std), "image_size": size}

    @property
    def is_bundle(self) -> bool:
        """Whether the model is a MONAI bundle, which brings its own preprocessing."""
        return Path(self.model).expanduser().is_dir()

    @property
    def place(self) -> Path | str:
        """Return the model as an absolute path, or a function as it is written."""
        path = Path(self.model).expanduser()
        return path.absolute() if path.exists() or ":" not in self.model else self.model


@dataclass(frozen=True)
class Understood:
    """A given model that was tried, and what is known of it then.

    Attributes:
        declared: what ``data.yaml`` says of it, complete.
        picture_mode: the config key of that name.
        channels: of the images that it takes.
        image_size: (height, width) of these.
        dropout: whether it has dropout layers to sample.
        lines: what was understood, one line each.
        warnings: what is no fault, and may be one.
    """

    declared: Declared
    picture_mode: str
    channels: int
    image_size: tuple[int, int]
    dropout: bool
    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def _number(numbers: Sequence[float]) -> float | list[float]:
    return numbers[0] if len(set(numbers)) == 1 else list(numbers)


def class_order(model_classes: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Return the position of each class among the outputs of a given model.

    Args:
        model_classes: names of the model's outputs in their order.
        classes: names of the labels in their order.

    Raises:
        ValueError: a name is in one of both only, or twice; lists all.

    Examples:
        >>> from monai_sf.bundle import class_order
        >>> class_order(
        ...     ["melanoma", "naevus", "keratosis"], ["keratosis", "melanoma", "naevus"]
        ... )
        [2, 0, 1]
        >>> class_order(["melanoma", "naevus"], ["melanoma", "nevus"])
        Traceback (most recent call last):
        ...
        ValueError: model_classes must name the classes of the table, in the order of
        the model's outputs; only in the table: 'nevus'; only among the model's outputs:
        'naevus'
    """
    faults = [
        f"{what}: {', '.join(map(repr, names))}"
        for what, names in (
            ("only in the table", [name for name in classes if name not in model_classes]),
            ("only among the model's outputs", [name for name in model_classes if name not in classes]),
            ("named twice", sorted({name for name in model_classes if model_classes.count(name) > 1})),
        )
        if names
    ]
    if faults:
        raise ValueError(
            "model_classes must name the classes of the table, in the order of the model's outputs; "
            + "; ".join(faults)
        )
    return [model_classes.index(name) for name in classes]
