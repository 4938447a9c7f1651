"""The format of a file is told by its first bytes, whatever its name says."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from monai_sf.files.formats import image_format

#: First bytes, as the formats' own documents give them.
HEADS = {
    "DICOM": b"\0" * 128 + b"DICM",
    "HEIF": b"\0\0\0\x18ftypheic",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "Photoshop": b"8BPS\0\1",
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0",
    "PNM": b"P6 # with a remark\n2 2\n255\n",
    "MetaImage": b"NDims = 2\nDimSize = 2 2\n",
}
#: What begins like an image and is none.
TEXTS = (
    b"",
    b"BM is how a text may begin",
    b"P5 is a page",
    b"RIFF and raff",
    b"GIF is a format",
)


@pytest.mark.parametrize("name", HEADS)
def test_first_bytes_tell_the_format(name, tmp_path):
    (tmp_path / "a.png").write_bytes(HEADS[name])
    assert image_format(tmp_path / "a.png") == name


@pytest.mark.parametrize(
    ("written", "name"),
    [(name, name) for name in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WebP")] + [("PPM", "PNM")],
)
def test_what_pillow_writes(written, name, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.txt", format=written)
    assert image_format(tmp_path / "a.txt") == name


@pytest.mark.parametrize(("suffix", "name"), [(".nrrd", "NRRD"), (".mha", "MetaImage"), (".nii.gz", "NIfTI")])
def test_what_others_write(suffix, name, tmp_path):
    path = tmp_path / f"a{suffix}"
    if name == "NIfTI":
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2), np.int16)), str(path))
    assert image_format(path) == name


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_no_image(text, tmp_path):
    (tmp_path / "a.bmp").write_bytes(text)
    assert image_format(tmp_path / "a.bmp") == ""


def test_neither_is_what_is_not_there(tmp_path):
    assert image_format(tmp_path / "a.png") == image_format(tmp_path) == ""
