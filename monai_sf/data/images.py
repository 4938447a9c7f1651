"""Image files of any format as MONAI's transforms load them: upright, channels first."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import MetaKeys, ensure_tuple

from monai_sf.files.image_data import Float
from monai_sf.files.images import read_image
from monai_sf.files.intensity import as_input, intensity_of
from monai_sf.files.naming import named


class ImageFileReader(ImageReader):
    """Read pictures, DICOM, NIfTI, NRRD, MetaImage and NPY files, in any MONAI pipeline.

    Arrays are (channels, height, width), upright: the first row is the upper one, as in pictures. Of several
    files, which must be grey or become it, each is a channel. What is ambiguous is refused.

    >>> from monai.transforms import LoadImage
    >>> load = LoadImage(reader=ImageFileReader(intensity={"percentiles": [1, 99]}))

    Args:
        mode: "RGB" or "L" (grey), see :func:`monai_sf.files.intensity.as_input`; None keeps the file's own.
        size: (height, width) in pixels to which every image is resized; None keeps its own.
        intensity: How values become [0, 1], see :func:`monai_sf.files.intensity.intensity_of`; None keeps
            them.
        slice: Of volumes (NIfTI, NRRD, MetaImage): index along the last axis that the file stores.

    Raises:
        ValueError: ``mode`` is neither, or ``intensity`` is no rule.
    """

    def __init__(
        self,
        *,
        mode: str | None = None,
        size: Sequence[int] | None = None,
        intensity: Mapping[str, Any] | None = None,
        slice: int | None = None,
    ) -> None:
        if mode not in ("RGB", "L", None):
            raise ValueError(f'mode must be "RGB" or "L", or None, got {mode!r}')
        super().__init__()
        self.mode, self.size, self.slice = mode, size, slice
        self.rule = None if intensity is None else intensity_of(intensity)

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return True: the format is that of the content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Float]:
        """Return the images of one file, or of the channels in several files, (H, W) or (H, W, 3) float32."""
        # percentiles are those of the whole image, and no window is applied to averaged values
        hint = self.size if self.rule is None or self.rule.kind == "range" else None
        return [
            as_input(read_image(path, slice=self.slice, size=hint), self.rule, mode=self.mode, size=self.size)
            for path in ensure_tuple(data)
        ]

    def get_data(self, img: Sequence[Float]) -> tuple[Float, dict[str, Any]]:
        """Return the array (channels, height, width) and its metadata.

        Raises:
            ValueError: Several files have other sizes, or are in colour.
        """
        if len(img) > 1 and (len({one.shape for one in img}) > 1 or img[0].ndim != 2):
            raise ValueError(
                f"are the channels of one image, and must be grey and of one size, got "
                f"{', '.join(str(one.shape) for one in img)}"
            )
        channels = np.stack(img) if img[0].ndim == 2 else np.ascontiguousarray(np.moveaxis(img[0], 2, 0))
        shape = np.asarray(channels.shape[1:])
        return channels, {MetaKeys.SPATIAL_SHAPE: shape, MetaKeys.ORIGINAL_CHANNEL_DIM: 0}


class LoadImageFiled(LoadImaged):
    """Load image files with the given reader only, with errors that name the file.

    Where a reader fails, ``LoadImaged`` tries all others that it knows: a refused picture would silently be
    loaded in its own size, transposed. The slice of a volume is that of the record's entry ``slice``.

    Args:
        keys: As of ``LoadImaged``.
        reader: An :class:`ImageFileReader`.
        **kwargs: As of ``LoadImaged``.
    """

    def __init__(self, keys: Any, reader: ImageFileReader, **kwargs: Any) -> None:
        super().__init__(keys, reader, **kwargs)  # type: ignore[arg-type]
        self.reader = reader

    def __call__(self, data: Any, reader: Any = None) -> Any:
        """Load the files.

        Raises:
            OSError: A file cannot be read; names it.
        """
        files = [path for key in self.key_iterator(data) for path in ensure_tuple(data[key])]
        reader = self.reader
        if (index := data.get("slice")) is not None:
            reader = copy.copy(reader)
            reader.slice = index
        with named(*files):
            return super().__call__(data, reader)
