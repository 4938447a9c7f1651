"""Arrays inside a JSON document: the numbers in one binary block, the JSON holds where they are."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

#: NumPy's name of a dtype to that of JavaScript's typed array, little-endian.
TYPES = {
    "uint8": "Uint8Array",
    "int16": "Int16Array",
    "uint16": "Uint16Array",
    "int32": "Int32Array",
    "uint32": "Uint32Array",
    "float32": "Float32Array",
    "float64": "Float64Array",
}


@dataclass
class Packer:
    """Collects arrays; what :meth:`add` returns stands for the array in the JSON document."""

    _parts: list[bytes] = field(default_factory=list)
    _length: int = 0

    def add(self, array: ArrayLike, dtype: str) -> dict[str, Any]:
        """Append an array, flattened in C order.

        Args:
            array: any numbers that ``dtype`` holds.
            dtype: one of :data:`TYPES`.

        Raises:
            OverflowError: an integer does not fit into the dtype.
        """
        given = np.asarray(array)
        kind = np.dtype(dtype)
        if kind.kind in "iu" and given.size:
            limits = np.iinfo(kind)
            if given.min() < limits.min or given.max() > limits.max:
                raise OverflowError(f"values {given.min()}..{given.max()} do not fit into {dtype}")
        data = given.astype(kind.newbyteorder("<")).tobytes()
        padding = -self._length % 8  # typed arrays need aligned offsets
        self._parts += [b"\0" * padding, data]
        offset = self._length + padding
        self._length = offset + len(data)
        return {"$array": [TYPES[kind.name], offset, given.size]}

    def base64(self) -> str:
        """The binary block."""
        return base64.b64encode(b"".join(self._parts)).decode("ascii")


def script_json(content: Any) -> str:
    """JSON for the inside of a ``<script>`` element of an inert type.

    Every ``<``, ``>`` and ``&`` becomes an escape, so that no text of the data can end the element.
    """
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
