"""What a transform is composed of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monai.transforms.compose import Compose


def steps_of(transform: Any) -> Iterator[Any]:
    """Yield the transforms that a transform is composed of, or itself.

    Subclasses of ``Compose``, such as ``OneOf``, which is random, come after what they are composed of.
    """
    if isinstance(transform, Compose):
        for step in transform.transforms:
            yield from steps_of(step)
    if type(transform) is not Compose:
        yield transform
