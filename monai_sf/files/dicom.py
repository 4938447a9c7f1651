"""DICOM files of one image: decoded, with larger values brighter, and with the window that they name."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monai_sf.files.image_data import ImageData, plain_values
from monai_sf.files.naming import RefusedImageError, refuse_huge
from monai_sf.files.windows import EXACT, LINEAR, SIGMOID, Inverted, Lookup, Window, Windowing

if TYPE_CHECKING:
    from pydicom import Dataset

#: Modalities of one kind of image; all others are their own.
_ALIKE = {
    **dict.fromkeys(("CR", "DX", "RG", "IO", "PX"), "radiograph"),
    **dict.fromkeys(("XC", "GM", "DMS", "ES"), "photograph"),
}
#: Their pixels, if they have any, are no image of a patient.
_NO_IMAGES = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "SR", "KO", "DOC", "ECG", "REG")
_GREY = ("MONOCHROME1", "MONOCHROME2")


def is_dicom(head: bytes) -> bool:
    """Return whether a file begins as DICOM, with or without the preamble of 128 bytes."""
    # older files lack the 128 bytes before "DICM" and begin with a tag of group 2 or 8, element below 256
    return head[128:132] == b"DICM" or (head[:2] in (b"\2\0", b"\b\0") and head[3:4] == b"\0")


def read_dataset(path: str | os.PathLike[str], **options: Any) -> Dataset:
    """Read a file's data set, with or without preamble and file meta information."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    header = pydicom.dcmread(path, force=True, **options)
    if "TransferSyntaxUID" not in header.file_meta:
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return header


def lacking_decoders(header: Dataset) -> str:
    """Return how the pixels are compressed and which packages decode that, if none is installed."""
    from pydicom.pixels import get_decoder  # type: ignore[attr-defined]

    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return ""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return ""
    if decoder.is_available:
        return ""
    needed = [lacking.partition("requires ")[2] for lacking in decoder.missing_dependencies]
    either = " or ".join(re.sub(r"^gdcm\b", "python-gdcm", one) for one in needed)  # its name for pip
    return f"compressed as {syntax.name} ({syntax}), which no installed package decodes: install {either}"


def read_dicom(path: str | os.PathLike[str]) -> ImageData:
    """Read a DICOM file of one image.

    Grey values are those after the modality LUT (rescaling), such as Hounsfield units; MONOCHROME1 is
    inverted within the range of its stored bits, except in Hounsfield units. YBR and palettes become red,
    green and blue.

    Raises:
        RefusedImageError: It holds no image, or several frames, or needs a decoder that is not installed.
        Exception: It is damaged; of many kinds, see :func:`monai_sf.files.naming.named`.
    """
    from pydicom.pixels import pixel_array  # type: ignore[attr-defined]

    header = read_dataset(path)
    modality = str(header.get("Modality") or "").strip().upper()
    if "DirectoryRecordSequence" in header:
        raise RefusedImageError("is a DICOMDIR, the list of the files beside it: leave it out")
    if not len(header):  # pydicom gives up a data set whose compressed pixels end too early
        raise RefusedImageError("is a DICOM file that ends too early, or is empty: get it again")
    if "PixelData" not in header or modality in _NO_IMAGES:
        what = f"modality {modality}" if modality else "no modality"
        raise RefusedImageError(f"is a DICOM file without an image ({what}): leave it out")
    if (frames := int(header.get("NumberOfFrames") or 1)) != 1:
        raise RefusedImageError(
            f"holds {frames} frames, and only one can be classified: save the one that is meant as a file of "
            "its own"
        )
    refuse_huge(int(header.get("Rows", 0)), int(header.get("Columns", 0)))
    if lacking := lacking_decoders(header):
        raise RefusedImageError(f"is {lacking}")
    bits = int(header.BitsStored)
    if (
        not header.file_meta.TransferSyntaxUID.is_compressed
        and int(header.get("HighBit", bits - 1)) != bits - 1
    ):
        # pydicom would take the lower bits of what is stored in the upper ones
        raise RefusedImageError(
            f"stores {bits} bits up to bit {header.HighBit}, and not up to {bits - 1}, as it must: convert it"
        )
    pixels = np.asarray(pixel_array(header))
    photometric = str(header.PhotometricInterpretation)
    group = _ALIKE.get(modality, modality) or "of no modality"
    if photometric in _GREY and pixels.ndim == 2:
        return _grey(header, pixels, photometric == "MONOCHROME1", bits, group)
    if photometric == "PALETTE COLOR":
        pixels, bits = _coloured(pixels, header)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind != "u":
        raise RefusedImageError(
            f"is {photometric} with pixels {pixels.dtype} {pixels.shape}, which is neither grey nor colour"
        )
    mode = f"{'palette' if photometric == 'PALETTE COLOR' else 'colour'} {pixels.dtype}"
    return ImageData(
        np.ascontiguousarray(pixels), mode, f"DICOM {group} {bits} bit", (0.0, 2.0**bits - 1), modality=group
    )


def _coloured(pixels: NDArray[Any], header: Dataset) -> tuple[NDArray[Any], int]:
    from pydicom.pixels import apply_color_lut  # type: ignore[attr-defined]

    bits = int(header.RedPaletteColorLookupTableDescriptor[2])
    colours = np.asarray(apply_color_lut(pixels, header))[..., :3]
    if colours.dtype == np.uint16:  # screens show 8 bits, which are the upper ones of 16
        return (colours >> 8 if bits == 16 else colours).astype(np.uint8), 8
    return colours, 8 * colours.dtype.itemsize


def _grey(header: Dataset, pixels: NDArray[Any], inverted: bool, bits: int, group: str) -> ImageData:
    signed = int(header.PixelRepresentation) == 1
    stored = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    ends = np.sort(_rescaled(stored.astype(pixels.dtype), header))
    low, high = float(ends[0]), float(ends[-1])
    hounsfield = str(header.get("RescaleType") or "").strip().upper() in ("HU", "HU_MOD") or (
        group == "CT" and "RescaleIntercept" in header
    )
    rescaled = _rescaled(pixels, header)
    # the type is that of the stored bits, so that all files of a kind have one; Hounsfield units fit 16 bits
    values = plain_values(
        _narrowed(rescaled, (rescaled.min(), rescaled.max()) if hounsfield else (low, high))
    )
    own = _window_of(header, signed)
    window: Windowing | None = own
    if inverted and not hounsfield:
        turned = np.clip((low + high) - values.astype(np.float64), low, high)
        values = turned.astype(values.dtype)
        window = None if own is None else Inverted(own, low + high)
    return ImageData(
        values,
        f"grey {values.dtype}",
        f"DICOM {group} {'HU' if hounsfield else f'{bits} bit'}",
        None if hounsfield or signed else (low, high),
        window,
        group,
    )


def _rescaled(stored: NDArray[Any], header: Dataset) -> NDArray[Any]:
    """Return values after the modality LUT: a table, or slope and intercept."""
    from pydicom.pixels import apply_modality_lut  # type: ignore[attr-defined]

    if not header.get("ModalityLUTSequence"):
        slope = float(1 if header.get("RescaleSlope") in (None, "") else header.RescaleSlope)
        intercept = float(0 if header.get("RescaleIntercept") in (None, "") else header.RescaleIntercept)
        if not (np.isfinite([slope, intercept]).all() and slope != 0):
            raise RefusedImageError(
                f"has RescaleSlope {slope:g} and RescaleIntercept {intercept:g}, which give no values"
            )
        return stored if (slope, intercept) == (1, 0) else stored * slope + intercept
    return np.asarray(apply_modality_lut(stored, header))


def _narrowed(values: NDArray[Any], ends: tuple[float, float]) -> NDArray[Any]:
    """Return whole numbers as the first of int16, uint16 and int32 that holds both ends."""
    if values.dtype.kind != "f" or not np.isfinite(values).all() or (values != np.rint(values)).any():
        return values
    for dtype in (np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= ends[0] and ends[1] <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values


def _window_of(header: Dataset, signed: bool) -> Window | Lookup | None:
    """Return the first VOI LUT or window; None where there is none, or one that means nothing."""
    if tables := header.get("VOILUTSequence"):
        return _lookup_of(tables[0], signed)
    centre, width = (_first(header.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(header.get("VOILUTFunction") or LINEAR).strip().upper()
    if centre is None or width is None or function not in (LINEAR, EXACT, SIGMOID):
        return None
    if not (np.isfinite([centre, width]).all() and (width >= 1 if function == LINEAR else width > 0)):
        return None
    return Window(centre, width, function)


def _first(value: Any) -> float | None:
    if value is None or isinstance(value, str):
        return float(value) if value else None
    listed = list(value) if hasattr(value, "__iter__") else [value]
    return float(listed[0]) if listed else None


def _lookup_of(table: Dataset, signed: bool) -> Lookup | None:
    count, first, bits = (int(one) for one in table.LUTDescriptor)
    entries: Any = table.LUTData
    if isinstance(entries, bytes):
        entries = np.frombuffer(entries, np.uint8 if len(entries) == (count or 2**16) else "<u2")
    entries = np.asarray(entries, np.float32).reshape(-1)
    if len(entries) != (count or 2**16) or not 1 <= bits <= 16:
        return None
    first = first - 2**16 if signed and first >= 2**15 else first
    return Lookup(first, np.clip(entries / np.float32(2**bits - 1), 0, 1))
