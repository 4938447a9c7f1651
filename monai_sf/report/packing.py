"""The page's data as one JSON document with redacted text, and binary blocks for arrays."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from monai_sf.tables.redaction import redacted, redacted_text

#: Dtype of NumPy to typed array of JavaScript, little-endian.
TYPES = {
    "uint8": "Uint8Array",
    "int16": "Int16Array",
    "uint16": "Uint16Array",
    "int32": "Int32Array",
    "uint32": "Uint32Array",
    "float32": "Float32Array",
    "float64": "Float64Array",
}


#: Blocks of arrays in their order in the page; the first view needs only the first.
BLOCKS = ("counts", "points")


class Place(dict[str, Any]):
    """Reference to an array in the document: ``{"$array": [type, offset, length, block]}``."""


@dataclass(frozen=True)
class AsText:
    """Content with foreign keys, such as a configuration, for the document as one text.

    So none of its keys can be mistaken for a reference, and JavaScript rounds and reorders nothing.
    """

    content: Any


@dataclass
class Packer:
    """Collects arrays; :meth:`add` returns the reference to an array for the JSON document."""

    _parts: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    _length: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _known: dict[tuple[str, str, bytes], Place] = field(default_factory=dict)

    def add(self, array: ArrayLike, dtype: str, block: str = "points") -> Place:
        """Append an array, flattened in C order; an array that is already there is not stored again.

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
            self._known[key] = Place({"$array": [TYPES[kind.name], offset, given.size, BLOCKS.index(block)]})
        return self._known[key]

    def base64(self) -> list[str]:
        """Return the binary blocks in the order of :data:`BLOCKS`."""
        return [base64.b64encode(b"".join(self._parts[block])).decode("ascii") for block in BLOCKS]


def script_json(content: Any) -> str:
    """Return redacted JSON for the inside of a ``<script>`` element of an inert type.

    Every ``<``, ``>`` and ``&`` is escaped, so that no text of the data can end the element.

    Raises:
        ValueError: a number is NaN or infinite, or a key is that of a reference to an array.
    """
    text = json.dumps(_clean(content), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _clean(value: Any) -> Any:
    if isinstance(value, Place):
        return value
    if isinstance(value, AsText):
        return json.dumps(redacted(value.content), ensure_ascii=False, indent=2)
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, Mapping):
        if "$array" in value:
            raise ValueError("only an array may have the key $array: keys of data go in AsText")
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, (list, tuple)) else value
