"""Which image format a file has, by its first bytes, whatever its name says."""

from __future__ import annotations

import os
import re
from pathlib import Path

from monai_sf.files.volumes import is_nifti

_BEGINNINGS = (
    *((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF")),
    *((b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"), (b"NRRD0", "NRRD")),
    *((b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"\0\0\0\x0cJXL ", "JPEG XL")),
    *((b"8BPS", "Photoshop"), (b"\x76\x2f\x31\x01", "OpenEXR")),
)
_HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_PNM = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s")
_META_IMAGE = re.compile(rb"\s*(ObjectType|NDims)\s*=", re.IGNORECASE)
_HEAD = 1024

#: Formats that are recognised, and not read.
NOT_READ = frozenset({"JPEG 2000", "JPEG XL", "HEIF", "Photoshop", "OpenEXR", "PNM"})


def image_format(path: str | os.PathLike[str]) -> str:
    """Return the format of an image file, such as "JPEG"; empty for any other file, or one that is not there.

    Arrays of NumPy count as no image, since most are none.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return name
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "HEIF"
    # "BM" alone may be the first word of a text
    header = int.from_bytes(head[14:18], "little")
    if head[:2] == b"BM" and head[6:10] == b"\0" * 4 and header in _BMP_HEADERS:
        return "BMP"
    if _PNM.match(head):
        return "PNM"
    if _META_IMAGE.match(head):
        return "MetaImage"
    return "NIfTI" if is_nifti(head) else ""
