"""Image files as MONAI's transforms load them: one colour mode, one size, upright."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.config import PathLike
from monai.data import PILReader
from monai.transforms import LoadImaged
from monai.utils import ensure_tuple

from monai_sf.files.images import named, open_image, open_picture


class PictureReader(PILReader):
    """Read picture files with 8 bits per channel, (height, width) or (height, width, 3), upright.

    Args:
        mode: "RGB" or "L", see :func:`monai_sf.files.images.open_picture`.
        size: (height, width) in pixels to which every picture is resized; None keeps its own.

    Raises:
        ValueError: ``mode`` is neither.
    """

    def __init__(self, *, mode: str, size: Sequence[int] | None = None) -> None:
        if mode not in ("RGB", "L"):
            raise ValueError(f'mode must be "RGB" or "L", got {mode!r}')
        super().__init__(reverse_indexing=False)  # (height, width), as everything after it expects
        self.mode, self.size = mode, size

    def read(self, data: Sequence[PathLike] | PathLike | Any, **kwargs: Any) -> Any:
        """Return the decoded picture of one file, or a list of pictures, the channels in several files."""
        pictures = []
        for path in ensure_tuple(data):
            with open_image(path) as image:
                pictures.append(open_picture(image, mode=self.mode, size=self.size))
        return pictures if len(pictures) > 1 else pictures[0]


class LoadPictured(LoadImaged):
    """Load image files with the given reader only, with errors that name the file.

    Where a reader fails, ``LoadImaged`` tries all others that it knows: a refused picture would silently be
    loaded in its own size, transposed.

    Args:
        keys: As of ``LoadImaged``.
        reader: A :class:`PictureReader`, or MONAI's ``NumpyReader`` for ``.npy`` files.
        **kwargs: As of ``LoadImaged``.
    """

    def __init__(self, keys: Any, reader: Any, **kwargs: Any) -> None:
        super().__init__(keys, reader, **kwargs)
        self.reader = self._loader.readers[-1]

    def __call__(self, data: Any, reader: Any = None) -> Any:
        """Load the files.

        Raises:
            OSError: A file cannot be read; names it.
        """
        files = [path for key in self.key_iterator(data) for path in ensure_tuple(data[key])]
        with named(*files):
            return super().__call__(data, self.reader)
