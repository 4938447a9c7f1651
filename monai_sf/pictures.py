"""Published image files as every network gets them: one colour mode, one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.transforms import LoadImaged
from PIL import Image


def open_picture(image: Image.Image, *, mode: str, size: Sequence[int] | None = None) -> Image.Image:
    """A picture in 8 bits a channel, of one mode and size: the ``converter`` of MONAI's ``PILReader``.

    A JPEG that is much larger than ``size`` is decoded at a half, a quarter or an eighth of it, which takes a
    fraction of the time; the rest is done by bilinear interpolation over the covered area (no aliasing).

    Args:
        image: an opened file.
        mode: "RGB" or "L". Transparency is dropped, colour becomes grey by its luminance (ITU-R 601-2), grey
            becomes colour by three equal channels; which modes a file may have is for
            :func:`monai_sf.datasets.preflight.check_images`.
        size: (height, width) in pixels; None keeps the image's own. The aspect ratio is not kept.

    Returns:
        The decoded picture.

    Raises:
        OSError: the file is truncated or damaged.
        ValueError: ``mode`` is none of the two, or the image has more than 8 bits a channel.
    """
    if mode not in ("RGB", "L"):
        raise ValueError(f'mode must be "RGB" or "L", got {mode!r}')
    if image.mode.startswith(("I", "F")):  # Pillow would cut off what exceeds 255
        raise ValueError(f"the image is {image.mode}, which has more than 8 bits: convert it first")
    if size is not None:
        image.draft(None, (size[1], size[0]))
    picture = image.convert(mode)
    if size is not None and picture.size != (size[1], size[0]):
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return picture


class LoadPictured(LoadImaged):
    """MONAI's ``LoadImaged`` with the reader that it is given, and no other.

    Where that reader fails, ``LoadImaged`` tries all others that it knows: a picture that
    :func:`open_picture` refuses would come in its own size, transposed, without a word.

    Args:
        keys: as of ``LoadImaged``.
        reader: the only one.
        **kwargs: as of ``LoadImaged``.
    """

    def __init__(self, keys: Any, reader: Any, **kwargs: Any) -> None:
        super().__init__(keys, reader, **kwargs)
        self._loader.readers = self._loader.readers[-1:]
