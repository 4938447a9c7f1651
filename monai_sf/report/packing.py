"""Arrays inside a JSON document: the numbers in binary blocks, the JSON holds where they are."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
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


#: Blocks of arrays, in their order in the page: what the first view needs, and what may come after it.
BLOCKS = ("counts", "points")


@dataclass
class Packer:
    """Collects arrays; what :meth:`add` returns stands for the array in the JSON document."""

    _parts: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    _length: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _known: dict[tuple[str, str, bytes], dict[str, Any]] = field(default_factory=dict)

    def add(self, array: ArrayLike, dtype: str, block: str = "points") -> dict[str, Any]:
        """Append an array, flattened in C order; one that is there already is not stored again.

        Args:
            array: any numbers that ``dtype`` holds.
            dtype: one of :data:`TYPES`.
            block: one of :data:`BLOCKS`.

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
        key = (block, dtype, hashlib.sha256(data).digest())
        if key not in self._known:
            offset = self._length[block] + -self._length[block] % 8  # typed arrays need aligned offsets
            self._parts[block] += [b"\0" * (offset - self._length[block]), data]
            self._length[block] = offset + len(data)
            self._known[key] = {"$array": [TYPES[kind.name], offset, given.size, BLOCKS.index(block)]}
        return self._known[key]

    def base64(self) -> list[str]:
        """The binary blocks, in the order of :data:`BLOCKS`."""
        return [base64.b64encode(b"".join(self._parts[block])).decode("ascii") for block in BLOCKS]


def script_json(content: Any) -> str:
    """JSON for the inside of a ``<script>`` element of an inert type.

    Every ``<``, ``>`` and ``&`` becomes an escape, so that no text of the data can end the element.
    """
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
