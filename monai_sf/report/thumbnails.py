"""Pictures of the cases as sprite sheets: one WebP file holds 256 thumbnails, decoded at once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_sf.files.pictures import tile

#: Thumbnails per row and column of a sheet.
GRID = 16
#: Of WebP: as close to the original as JPEG of quality 86 (about 39 dB), at two thirds of its size.
QUALITY = 84


@dataclass
class Sheets:
    """Collects thumbnails and packs them into sprite sheets, which are encoded beside other work.

    Thumbnail i is on sheet ``i // 256``, row ``i % 256 // 16``, column ``i % 16``.

    Attributes:
        size: side of a thumbnail in pixels; a multiple of 16 keeps coded blocks from bleeding over.
    """

    size: int
    _tiles: list[NDArray[np.uint8]] = field(default_factory=list)
    _sheets: list[Future[bytes]] = field(default_factory=list)
    _encoder: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            ValueError: size is not a positive multiple of 16.
        """
        if self.size < 16 or self.size % 16:
            raise ValueError(f"thumbnail_size must be a positive multiple of 16, got {self.size}")

    def __len__(self) -> int:
        return len(self._sheets) * GRID * GRID + len(self._tiles)

    def add(self, image: NDArray[np.uint8]) -> int:
        """Add one image, (H, W) or (H, W, 3) uint8, and return its number."""
        number = len(self)
        self._tiles.append(tile(Image.fromarray(np.ascontiguousarray(image)), self.size))
        if len(self._tiles) == GRID * GRID:
            self._flush()
        return number

    def finish(self) -> Sequence[bytes]:
        """Return all sheets as WebP files, the last one only as high as needed."""
        if self._tiles:
            self._flush()
        self._encoder.shutdown()
        return tuple(sheet.result() for sheet in self._sheets)

    def _flush(self) -> None:
        rows = -(-len(self._tiles) // GRID)
        canvas: NDArray[Any] = np.zeros((rows * self.size, GRID * self.size, 3), np.uint8)
        for i, one in enumerate(self._tiles):
            top, left = i // GRID * self.size, i % GRID * self.size
            canvas[top : top + self.size, left : left + self.size] = one
        grey = all((t == t[..., :1]).all() for t in self._tiles)
        picture = Image.fromarray(canvas[..., 0].copy() if grey else canvas)
        self._sheets.append(self._encoder.submit(_webp, picture))
        self._tiles.clear()


def _webp(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=QUALITY, method=4)
    return stream.getvalue()
