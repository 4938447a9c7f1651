"""The cases of a run, with images that are decoded once where there is memory, or a folder, for them."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose, Randomizable
from torch import Tensor

from monai_sf.data.case_images import ReadCaseImage, case_preprocessing
from monai_sf.transforms.steps import steps_of

_IMAGE = "image"


class CaseDataset(Dataset):
    """Cases, see :func:`monai_sf.data.case_records`, with their images.

    Args:
        data: the cases.
        preprocessing: of a case, without random transforms.
        image_cache: folder of prepared images, see :func:`monai_sf.data.case_preprocessing`; None for none.
        cache_rate: share of the images, in [0, 1], that are kept in memory once they were read, shared with
            the workers that a data loader forks. They must not be changed. Images of another shape or type
            than the first, or with MONAI's metadata, are not kept.

    Raises:
        ValueError: ``cache_rate`` is no number in [0, 1], or a transform is random.
        TypeError: ``preprocessing`` is no ``Compose``.

    Examples:
        >>> from monai.transforms import Compose
        >>> from PIL import Image
        >>> from monai_sf.data import CaseDataset, LoadImageFiled, PrepareImaged
        >>> Image.new("L", (40, 30), color=255).save("a.png")
        >>> load = LoadImageFiled("image")
        >>> prepare = PrepareImaged(
        ...     "image", mode="RGB", size=[16, 16], intensity={"range": "type"}
        ... )
        >>> cases = CaseDataset(
        ...     [{"image": "a.png", "label": 1}], Compose([load, prepare]), cache_rate=1.0
        ... )
        >>> image = cases[0]["image"]
        >>> # bytes, of which as_unit makes [0, 1] where the network is
        >>> image.shape, image.dtype
        (torch.Size([3, 16, 16]), torch.uint8)
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        preprocessing: Compose,
        *,
        image_cache: str | os.PathLike[str] | None = None,
        cache_rate: float = 0.0,
    ) -> None:
        if not isinstance(preprocessing, Compose):
            raise TypeError(
                f"preprocessing must be a Compose of transforms, got {type(preprocessing).__name__}: put it "
                "into the list of a Compose"
            )
        refuse_random(preprocessing)
        if not _is_share(cache_rate):
            raise ValueError(f"cache_rate must be a number in [0, 1], got {cache_rate!r}")
        super().__init__(data, case_preprocessing(preprocessing, image_cache))
        self._kept = math.ceil(cache_rate * len(data))
        self._memory: _Memory | None = None
        transforms = self.transform.transforms
        self._only = transforms[0] if len(transforms) == 1 else None

    def share(self) -> None:
        """Take the memory of the images that are kept, before a data loader forks its workers."""
        if self._kept and self._memory is None:
            self._transform(0)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Any:
        """Return a case, or several as a list or subset."""
        # MONAI asks first whether it is a sequence, which costs as much as opening a file
        return self._transform(index) if type(index) is int else super().__getitem__(index)

    def _transform(self, index: int) -> Any:
        index = range(len(self.data))[index]  # -1 is the last case
        record: Mapping[Hashable, Any] = self.data[index]
        kept = index < self._kept
        if kept and self._memory is not None and (image := self._memory.read(index)) is not None:
            return {**record, _IMAGE: image}
        # MONAI's loop over transforms costs as much as decoding a very small picture
        case = self._only(record) if isinstance(self._only, ReadCaseImage) else self.transform(record)
        if kept and _only_the_image_differs(case, record):
            self._memory = self._memory or _Memory(self._kept, case[_IMAGE])
            self._memory.write(index, case[_IMAGE])
        return case

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a process that is not forked, which keeps images of its own."""
        return {**self.__dict__, "_memory": None}


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def refuse_random(transform: Any) -> None:
    """Raise ValueError if a dataset's transform, or a part of it, is random.

    In a loader, its random numbers would depend on the number of workers, and on where a run was resumed.
    """
    random = [type(one).__name__ for one in steps_of(transform) if isinstance(one, Randomizable)]
    if random:
        raise ValueError(
            f"the preprocessing of cases is random ({', '.join(random)}): put random transforms into "
            "augmentation, where each case and epoch has a seed of its own; monai_sf.transforms.EachImage "
            "takes those of MONAI for single images"
        )


def _only_the_image_differs(case: Any, record: Mapping[Hashable, Any]) -> bool:
    return (
        isinstance(case, Mapping)
        and case.keys() == record.keys()
        and type(case[_IMAGE]) is Tensor
        and all(case[name] is record[name] for name in record if name != _IMAGE)
    )


class _Memory:
    """Images of one shape and type, in memory that forked processes share."""

    def __init__(self, count: int, like: Tensor) -> None:
        array = like.numpy()
        size = count * (array.nbytes + 1)
        try:
            # unlike files of shared memory, this has no handle per image, and no limit of /dev/shm
            self._block = mmap.mmap(-1, size)
        except (OSError, OverflowError) as error:
            raise MemoryError(
                f"cache_rate asks for {size / 2**30:.1f} GiB of memory, which are not there: lower it"
            ) from error
        values = np.frombuffer(self._block, np.uint8, count * array.nbytes)  # first, where they are aligned
        self._images = values.reshape(count, -1)
        self._there = np.frombuffer(self._block, np.uint8, count, values.size)
        self._shape, self._dtype = like.shape, like.dtype

    def read(self, index: int) -> Tensor | None:
        """Return an image, in the shared memory; None if it is not there."""
        if not self._there[index]:
            return None
        return torch.from_numpy(self._images[index]).view(self._dtype).view(self._shape)

    def write(self, index: int, image: Tensor) -> None:
        """Keep an image, if it is like the others."""
        if (image.shape, image.dtype) == (self._shape, self._dtype):
            self._images[index] = image.numpy().reshape(-1).view(np.uint8)
            self._there[index] = 1
