"""Windows and lookup tables of DICOM files, as functions of values to [0, 1] and as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

LINEAR, EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"


@dataclass(frozen=True)
class Window:
    """A window of a DICOM file, as a function of values to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Attributes:
        centre: Of the window.
        width: Of the window.
        function: LINEAR, LINEAR_EXACT or SIGMOID.
    """

    centre: float
    width: float
    function: str = LINEAR

    def __call__(self, values: NDArray[Any]) -> Float:
        """Return (H, W) float32 in [0, 1]."""
        x = values.astype(np.float64) - self.centre
        if self.function == SIGMOID:
            y = 1 / (1 + np.exp(np.clip(-4 * x / self.width, -80, 80)))
        elif self.function == EXACT:
            y = x / self.width + 0.5
        else:
            y = (x + 0.5) / max(self.width - 1, 1e-6) + 0.5  # a width of 1 is a threshold
        return np.clip(y, 0, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Lookup:
    """A VOI LUT of a DICOM file, as a function of values to [0, 1] (PS3.3 C.11.2.1.1).

    Attributes:
        first: The value of the first entry; values below have it too.
        entries: In [0, 1]; values beyond the last one have that.
    """

    first: int
    entries: Float

    def __call__(self, values: NDArray[Any]) -> Float:
        """Return (H, W) float32 in [0, 1]."""
        index = np.rint(values).astype(np.int64) - self.first
        found: Float = self.entries[np.clip(index, 0, len(self.entries) - 1)]
        return found


@dataclass(frozen=True)
class Inverted:
    """A window of inverted values (MONOCHROME1): the file names it for the values as they were."""

    window: Window | Lookup
    about: float

    def __call__(self, values: NDArray[Any]) -> Float:
        """Return (H, W) float32 in [0, 1]."""
        return 1 - self.window(self.about - values.astype(np.float64))


Windowing: TypeAlias = Window | Lookup | Inverted


def window_numbers(window: Windowing) -> dict[str, Any]:
    """Return a window as numbers, texts and arrays, which metadata of images can hold."""
    return asdict(window)


def window_of(numbers: Mapping[str, Any]) -> Windowing:
    """Return the window that :func:`window_numbers` has turned into numbers."""
    if "about" in numbers:
        return Inverted(window_of(numbers["window"]), numbers["about"])  # type: ignore[arg-type]
    return Lookup(**numbers) if "entries" in numbers else Window(**numbers)
