"""Image files of every format, with known pixels, as programs of hospitals write them."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

import gdcm
import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

HEIGHT, WIDTH = 40, 33
#: Every pixel is another one, so that no turn, flip or shift is the same image; from 0 to 1.
RAMP = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) / (HEIGHT * WIDTH - 1)


def ramp(most: int, dtype: type = np.uint16) -> np.ndarray:
    """The ramp in whole numbers from 0 to ``most``."""
    return np.rint(RAMP * most).astype(dtype)


def colours(most: int, dtype: type = np.uint16) -> np.ndarray:
    """(H, W, 3): three ramps that differ."""
    return np.stack([ramp(most, dtype), ramp(most, dtype)[::-1], ramp(most, dtype)[:, ::-1]], -1)


def png16(pixels: np.ndarray, exif: bytes = b"") -> bytes:
    """A colour PNG of 16 bits, (H, W, 3 or 4), which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = {3: 2, 4: 6}[pixels.shape[2]]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0))]
    chunks += [(b"eXIf", exif)] if exif else []
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def dicom(path: Path, pixels: np.ndarray, *, bits: int | None = None, modality: str = "DX", **tags) -> Path:
    """Write a DICOM file of uncompressed pixels, grey or colour; tags that are None are left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality = modality
    data.Rows, data.Columns = pixels.shape[:2]
    size = 8 * pixels.dtype.itemsize
    data.BitsAllocated, data.BitsStored = size, bits or size
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    little = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    data.PixelData = little + b"\0" * (len(little) % 2)
    data["PixelData"].VR = "OB" if size == 8 else "OW"
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def encapsulated(path: Path, frame: bytes, syntax: str, **tags) -> Path:
    """Put an encoded frame into a DICOM file."""
    from pydicom import dcmread

    data = dcmread(path)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([frame])
    data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OB"
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def recoded(path: Path, syntax: str) -> Path:
    """Compress the pixels of a DICOM file with GDCM."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def coded(pixels: np.ndarray, **options) -> bytes:
    """An image as Pillow encodes it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


def lookup(first: int, entries: np.ndarray, bits: int, tag: str = "VOILUTSequence") -> dict[str, Sequence]:
    """The tag of a DICOM lookup table."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    if tag == "ModalityLUTSequence":
        item.ModalityLUTType = "US"
    return {tag: Sequence([item])}


def nifti(
    path: Path, values: np.ndarray, affine: np.ndarray | None = None, slope: float | None = None
) -> Path:
    """Write values (columns, rows[, slices]), as NIfTI counts."""
    image = nib.Nifti1Image(values, np.diag([-1, -1, 1, 1]) if affine is None else affine)
    if slope is not None:
        image.header.set_slope_inter(slope, -1000)
    if slope is None:
        nib.save(image, path)
    else:  # nibabel rescales what it is given
        raw = bytearray(image.to_bytes())
        raw[112:120] = struct.pack("<ff", slope, -1000)
        path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))
    return path


def itk(path: Path, values: np.ndarray, compress: bool = False, origin=(0, 0, 0), spacing=(1, 1, 1)) -> Path:
    """Write values (rows, columns), (slices, rows, columns), or a 2-D image of three channels."""
    image = SimpleITK.GetImageFromArray(values, isVector=values.ndim == 3 and values.shape[2] == 3)
    if image.GetDimension() == 3:
        image.SetOrigin([float(one) for one in origin])
        image.SetSpacing([float(one) for one in spacing])
    SimpleITK.WriteImage(image, str(path), compress)
    return path


def table(*names, **columns):
    rows = {"case_id": list(names), "image": list(names), "label": 0, "split": "train", **columns}
    return pd.DataFrame(rows)
