"""Image files of any format as MONAI's transforms load them, and as a network takes them.

Loading and preparing are two steps, so that a program that has its own images, as MONAI Deploy has, can leave
out the first: it removes the transforms whose name contains ``LoadImage``.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor, PathLike
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImaged, MapTransform, Transform
from monai.utils import ImageMetaKey, MetaKeys, PostFix, TransformBackends, convert_to_numpy, ensure_tuple
from numpy.typing import NDArray
from torch import Tensor

from monai_sf.data.image_meta import FILES, IMAGE_DATA, LOAD, files_of, stacked, unstacked
from monai_sf.data.unit import as_unit
from monai_sf.files.image_data import ImageData
from monai_sf.files.images import read_image
from monai_sf.files.intensity import as_input, intensity_of, of_one_depth
from monai_sf.files.naming import RefusedImageError, named

#: Metadata that no longer hold once an image is prepared.
_OF_FORMER_VALUES = (IMAGE_DATA, FILES, MetaKeys.AFFINE)


class ImageFileReader(ImageReader):
    """Read pictures, DICOM, NIfTI, NRRD, MetaImage and NPY files, in any MONAI pipeline.

    Arrays are (channels, height, width), upright: the first row is the upper one, as in pictures. Values are
    those of the file, with what they mean in the metadata, where :class:`PrepareImage` finds it. What is
    ambiguous is refused.

    Args:
        size: (height, width) in pixels that are needed: a much larger JPEG may be decoded at a half, a
            quarter or an eighth. None decodes in full.
        slice: Of volumes (NIfTI, NRRD, MetaImage): index along the last axis that the file stores.

    Examples:
        >>> from PIL import Image
        >>> from monai_sf.data import ImageFileReader
        >>> Image.new("RGB", (40, 30)).save("a.png")
        >>> # in a pipeline: LoadImage(reader=ImageFileReader())
        >>> reader = ImageFileReader()
        >>> array, meta = reader.get_data(reader.read("a.png"))
        >>> array.shape, array.dtype
        ((3, 30, 40), dtype('uint8'))
    """

    def __init__(self, *, size: Sequence[int] | None = None, slice: int | None = None) -> None:
        super().__init__()
        self.size, self.slice = size, slice

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return True: the format is that of the content."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[ImageData]:
        """Return the image of one file, or those of the channels in several files."""
        return [read_image(path, slice=self.slice, size=self.size) for path in ensure_tuple(data)]

    def get_data(self, img: Sequence[ImageData]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return the array (channels, height, width) and its metadata.

        Raises:
            ValueError: Several files have other sizes.
        """
        refuse_other_sizes(img)
        array, entries = stacked(img)
        shape = np.asarray(array.shape[1:])
        return array, {MetaKeys.SPATIAL_SHAPE: shape, MetaKeys.ORIGINAL_CHANNEL_DIM: 0, IMAGE_DATA: entries}


def refuse_other_sizes(images: Sequence[ImageData]) -> None:
    """Raise RefusedImageError if the files of one image have several sizes."""
    if len(images) > 1 and len({one.shape for one in images}) > 1:
        raise RefusedImageError(
            "are the channels of one image, and must be of one size, got "
            f"{', '.join(' x '.join(map(str, one.shape)) for one in images)} pixels"
        )


class LoadImageFiled(LoadImaged):
    """Load image files as they are, with errors that name the file; :class:`PrepareImaged` is the next step.

    Gives arrays (channels, height, width) of the files' own type under the keys, and their metadata under
    ``<key>_meta_dict``. The slice of a volume is that of the record's entry ``slice``. Where a reader fails,
    ``LoadImaged`` tries all others that it knows: a refused picture would silently be loaded transposed.

    Args:
        keys: Of paths, or of lists of paths of images with one file per channel.
        size: See :class:`ImageFileReader`.
        meta_key_postfix: Of the metadata's key.
        allow_missing_keys: Whether records may lack a key.

    Examples:
        >>> from PIL import Image
        >>> from monai_sf.data import LoadImageFiled
        >>> Image.new("RGB", (40, 30)).save("a.png")
        >>> case = LoadImageFiled("image")({"image": "a.png"})
        >>> case["image"].shape, case["image"].dtype
        ((3, 30, 40), dtype('uint8'))
        >>> LoadImageFiled("image")({"image": "b.png"})
        Traceback (most recent call last):
        ...
        OSError: b.png is not there
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        size: Sequence[int] | None = None,
        meta_key_postfix: str = PostFix.meta(),
        allow_missing_keys: bool = False,
    ) -> None:
        self.reader = ImageFileReader(size=size)
        with warnings.catch_warnings():  # about one of MONAI's readers, none of which is used
            warnings.filterwarnings("ignore", message="NvImgCodec", category=UserWarning)
            super().__init__(
                keys,
                self.reader,  # type: ignore[arg-type]
                meta_key_postfix=meta_key_postfix,
                allow_missing_keys=allow_missing_keys,
                image_only=False,
            )

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Load the files.

        Raises:
            OSError: A file cannot be read; names it.
        """
        loaded = dict(data)
        own = self.reader
        if (index := data.get("slice")) is not None:
            own = copy.copy(own)
            own.slice = index
        for key, postfix in self.key_iterator(loaded, self.meta_key_postfix):
            files = [os.fspath(path) for path in ensure_tuple(loaded[key])]
            with named(*files):
                loaded[key], meta = own.get_data(own.read(files))
            loaded[f"{key}_{postfix}"] = {**meta, ImageMetaKey.FILENAME_OR_OBJ: files[0], FILES: files}
        return loaded


class PrepareImage(Transform):
    """Make an image the input of a network: grey or colour, its size, and its values in [0, 1].

    These have 8 bits, of whole pictures of 8 bits under the rule ``{"range": "type"}``, else 16.

    The image is one that :class:`ImageFileReader` has read, or an array (channels, height, width) of another
    program: of 8 bits, of MONAI Deploy's pictures, or a CT in Hounsfield units of MONAI Deploy, as far as its
    metadata say what its values are.

    Args:
        mode: "RGB" or "L": grey becomes colour by three equal channels, colour grey by its luminance (ITU-R
            601-2); None keeps the file's own. Of several files, which must be grey or become it, each is a
            channel.
        size: (height, width) in pixels to which every image is resized; None keeps its own.
        intensity: How values become [0, 1]: ``{"range": "type"}`` (all that the type can hold),
            ``{"window": [low, high]}``, ``{"window": "dicom"}`` (that of the file) or
            ``{"percentiles": [low, high]}`` (of the image, in 0..100); None keeps them.

    Raises:
        ValueError: ``mode`` is neither, or ``intensity`` is no rule.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.data import PrepareImage
        >>> ct = np.array([[[-1000, 40, 3000]]], np.int16)
        >>> soft_tissue = PrepareImage(mode="RGB", intensity={"window": [-160, 240]})
        >>> image = soft_tissue(ct)
        >>> tuple(image.shape), image[0].numpy().round(2).tolist()
        ((3, 1, 3), [[0.0, 0.5, 1.0]])
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 (MONAI's attribute)

    def __init__(
        self,
        *,
        mode: str | None = None,
        size: Sequence[int] | None = None,
        intensity: Mapping[str, Any] | None = None,
    ) -> None:
        if mode not in ("RGB", "L", None):
            raise ValueError(f'mode must be "RGB" or "L", or None, got {mode!r}')
        self.mode, self.size = mode, size
        self.rule = None if intensity is None else intensity_of(intensity)

    def __call__(self, img: NdarrayOrTensor, meta: Mapping[str, Any] | None = None) -> Tensor:
        """Return the image as a tensor (channels, height, width), float32.

        Args:
            img: (channels, height, width), of any type.
            meta: Its metadata; by default those of a ``MetaTensor``.

        Returns:
            A ``MetaTensor``, if MONAI tracks metadata, without what described the former values.

        Raises:
            OSError: The values cannot be mapped to [0, 1] by this rule, or it is uncertain what they are;
                names the file.
        """
        if meta is None:
            meta = img.meta if isinstance(img, MetaTensor) else {}
        array = img if isinstance(img, np.ndarray) else convert_to_numpy(img)  # which copies views
        with named(*files_of(meta)):
            prepared = self._prepared(array, meta)
        kept = {key: value for key, value in meta.items() if key not in _OF_FORMER_VALUES}
        tensor: Tensor = MetaTensor.ensure_torch_and_prune_meta(
            self.finished(prepared), {**kept, MetaKeys.ORIGINAL_CHANNEL_DIM: 0}
        )
        return tensor

    def _prepared(self, array: NDArray[Any], meta: Mapping[str, Any]) -> NDArray[Any]:
        if IMAGE_DATA not in meta and self.rule is not None and self.rule.kind == "dicom":
            raise RefusedImageError(f"has no window among its metadata: {LOAD}")
        return self.planes(unstacked(array, meta))

    def planes(self, images: Sequence[ImageData]) -> NDArray[Any]:
        """Return the image of one file, or of one file per channel, (channels, height, width), as bytes.

        Raises:
            ValueError: The rule cannot be applied, or several files are not grey.
        """
        prepared = [as_input(image, self.rule, mode=self.mode, size=self.size) for image in images]
        if len(prepared) == 1:
            return prepared[0]
        if any(len(one) > 1 for one in prepared):
            raise RefusedImageError(
                "are the channels of one image, and must be grey, or become it by the mode L"
            )
        return np.concatenate(of_one_depth(prepared))

    def finished(self, planes: NDArray[Any]) -> Tensor:
        """Return what :meth:`planes` gives as the tensor that this transform gives."""
        tensor = torch.from_numpy(planes)
        return tensor if self.rule is None else as_unit(tensor)


class PrepareImaged(MapTransform):
    """Dictionary-based wrapper of :class:`PrepareImage`.

    The metadata are those of a ``MetaTensor``, or lie under ``<key>_meta_dict``, which is removed.

    Args:
        keys: Of the images.
        mode: As of :class:`PrepareImage`.
        size: As of :class:`PrepareImage`.
        intensity: As of :class:`PrepareImage`.
        meta_key_postfix: Of the metadata's key.
        allow_missing_keys: Whether records may lack a key.

    Examples:
        >>> from monai.transforms import Compose
        >>> from PIL import Image
        >>> from monai_sf.data import LoadImageFiled, PrepareImaged
        >>> Image.new("RGB", (40, 30), color="white").save("a.png")
        >>> prepare = PrepareImaged(
        ...     "image", mode="L", size=[16, 16], intensity={"range": "type"}
        ... )
        >>> case = Compose([LoadImageFiled("image"), prepare])({"image": "a.png"})
        >>> tuple(case["image"].shape), float(case["image"].max())
        ((1, 16, 16), 1.0)
    """

    backend = PrepareImage.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mode: str | None = None,
        size: Sequence[int] | None = None,
        intensity: Mapping[str, Any] | None = None,
        meta_key_postfix: str = PostFix.meta(),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.prepare = PrepareImage(mode=mode, size=size, intensity=intensity)
        self.meta_key_postfix = meta_key_postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Prepare the images.

        Raises:
            OSError: See :class:`PrepareImage`.
        """
        prepared = dict(data)
        for key in self.key_iterator(prepared):
            meta = prepared.pop(f"{key}_{self.meta_key_postfix}", None)
            prepared[key] = self.prepare(prepared[key], meta)
        return prepared
