"""The cases of a run with their images, from files to what a batch is made of, without detours."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from monai.transforms import Compose, Transform
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from monai_sf.data.image_cache import ImageCache
from monai_sf.data.images import LoadImageFiled, PrepareImage, PrepareImaged, refuse_other_sizes
from monai_sf.files.images import read_image
from monai_sf.files.naming import named

logger = logging.getLogger(__name__)

_IMAGE, _SLICE = "image", "slice"
#: What files are read by, whose versions differ in the last bit.
_DECODERS = ("pillow", "pydicom", "python-gdcm", "nibabel", "SimpleITK")


def case_preprocessing(preprocessing: Compose, image_cache: str | os.PathLike[str] | None = None) -> Compose:
    """Return a preprocessing that gives the same images sooner, and as bytes, for the dataset of a run.

    :class:`monai_sf.data.LoadImageFiled` and :class:`monai_sf.data.PrepareImaged` at its beginning are done
    in one step, so that no array of the file and no metadata are made between them,
    and what that step gives can be kept on disk. Where no transform follows, which would expect [0, 1], it
    gives the 8 or 16 bits of which :func:`monai_sf.data.as_unit` makes the same float32 to the bit: a quarter
    or half of the bytes. Any other preprocessing is returned as it is.

    Args:
        preprocessing: of cases, see :func:`monai_sf.data.case_records`.
        image_cache: folder of prepared images, which other runs may share; None keeps none.

    Examples:
        >>> from monai.transforms import Compose
        >>> from PIL import Image
        >>> from monai_sf.data import (
        ...     LoadImageFiled,
        ...     PrepareImaged,
        ...     as_unit,
        ...     case_preprocessing,
        ... )
        >>> Image.new("L", (8, 8), color=51).save("a.png")
        >>> slow = Compose(
        ...     [
        ...         LoadImageFiled("image"),
        ...         PrepareImaged("image", intensity={"range": "type"}),
        ...     ]
        ... )
        >>> fast = case_preprocessing(slow, image_cache="cache")
        >>> case = {"image": "a.png", "case_id": "a"}
        >>> (
        ...     fast(case)["image"].dtype,
        ...     bool((as_unit(fast(case)["image"]) == slow(case)["image"]).all()),
        ... )
        (torch.uint8, True)
    """
    transforms = list(preprocessing.transforms)
    load, prepare = [*transforms, None, None][:2]
    types = type(preprocessing), type(load), type(prepare)  # not a subclass, which may do something else
    known = types == (Compose, LoadImageFiled, PrepareImaged)
    if not known or (tuple(load.keys), tuple(prepare.keys)) != ((_IMAGE,), (_IMAGE,)):
        if image_cache is not None:
            logger.warning(
                "image_cache is not used: only images of LoadImageFiled and PrepareImaged are kept"
            )
        return preprocessing
    after = transforms[2:]
    if after:
        names = ", ".join(type(one).__name__ for one in after)
        logger.info("images are float32 in [0, 1] instead of bytes, as %s after PrepareImaged expect", names)
    read = ReadCaseImage(load.reader.size, prepare.prepare, image_cache, as_bytes=not after)
    sooner = copy.copy(preprocessing)  # with its options, such as lazy
    sooner.transforms = (read, *after)
    return sooner


class ReadCaseImage(Transform):
    """Read the image of a case from its files, as the input of a network.

    Args:
        size: (height, width) in pixels that are needed, see :class:`monai_sf.data.ImageFileReader`.
        prepare: what makes the input of the network of it.
        image_cache: see :func:`case_preprocessing`.
        as_bytes: whether to return 8 or 16 bits, see :func:`case_preprocessing`.
    """

    def __init__(
        self,
        size: Sequence[int] | None,
        prepare: PrepareImage,
        image_cache: str | os.PathLike[str] | None = None,
        *,
        as_bytes: bool = True,
    ) -> None:
        self.size, self.prepare, self.as_bytes = size, prepare, as_bytes
        self.cache = None if image_cache is None else ImageCache(image_cache, self._recipe())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the record with its image, a tensor without metadata, instead of its path or paths.

        Raises:
            OSError: a file cannot be read or used; names it.
        """
        image = data[_IMAGE]
        files = [image] if isinstance(image, str) else [os.fspath(path) for path in ensure_tuple(image)]
        planes = self._planes(files, data.get(_SLICE))
        return {**data, _IMAGE: torch.from_numpy(planes) if self.as_bytes else self.prepare.finished(planes)}

    def _planes(self, files: Sequence[str], slice: int | None) -> NDArray[Any]:
        """Return the image from the cache, or from its files."""
        if self.cache is None or (key := self.cache.key(files, slice)) is None:
            return self.decoded(files, slice)
        image = self.cache.read(key)
        if image is None:
            image = self.decoded(files, slice)
            if self.cache.key(files, slice) == key:  # no file was replaced meanwhile
                self.cache.write(key, image)
        return image

    def _recipe(self) -> list[Any]:
        """Return what decides on the image of a file, besides the file."""
        rule, sizes = self.prepare.rule, (self.size, self.prepare.size)
        return [
            *(None if size is None else [int(side) for side in size] for size in sizes),
            self.prepare.mode,
            None if rule is None else [rule.kind, rule.low, rule.high],
            {name: _version(name) for name in _DECODERS},
        ]

    def decoded(self, files: Sequence[str], slice: int | None) -> NDArray[Any]:
        """Return the image of files as an array (channels, height, width).

        Args:
            files: of the image.
            slice: of a volume.

        Raises:
            OSError: a file cannot be read or used; names it.
        """
        with named(*files):
            images = [read_image(file, slice=slice, size=self.size) for file in files]
            refuse_other_sizes(images)
            return self.prepare.planes(images)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # one that its own registry did not install
        return None
