"""Image files that are damaged, ambiguous, hostile, or not what their names say."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image

from helpers.image_files import HEIGHT, WIDTH, dicom, itk, nifti, png16, ramp
from monai_sf.files import images
from monai_sf.files.images import read_image
from monai_sf.files.naming import named

HU = ramp(4000, np.int16)
VOLUME = np.stack([HU, HU + 1, HU + 2])


def refusal(path, **options):
    with pytest.raises(OSError, match=r"a\.\w+") as caught, named(path):
        read_image(path, **options)
    return str(caught.value).removeprefix(f"{path} ")


WRITERS = {
    "a.png": lambda path: path.write_bytes(png16(np.stack([ramp(65535)] * 3, -1))),
    "a.tif": lambda path: Image.fromarray(ramp(65535)).save(path),
    "a.dcm": lambda path: dicom(path, ramp(4095), bits=12),
    "a.nii": lambda path: nifti(path, HU.T),
    "a.nii.gz": lambda path: nifti(path, HU.T),
    "a.nrrd": lambda path: itk(path, HU),
    "a.mha": lambda path: itk(path, HU, True),
    "a.npy": lambda path: np.save(path, HU),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.97])
def test_truncated_files_are_errors(tmp_path, name, share):
    WRITERS[name](tmp_path / name)
    read_image(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    assert refusal(tmp_path / name)


OTHERS = {
    "a.jpg": lambda path: Image.fromarray(ramp(255, np.uint8)).save(
        path, exif=b"Exif\0\0MM\0*\0\0\0\10\0\0\0\0\0\0"
    ),
    "a.gif": lambda path: Image.fromarray(ramp(255, np.uint8)).save(path),
    "a.bmp": lambda path: Image.fromarray(ramp(255, np.uint8)).save(path),
    "a.webp": lambda path: Image.fromarray(np.stack([ramp(255, np.uint8)] * 3, -1)).save(path),
}


@pytest.mark.parametrize("name", [*WRITERS, *OTHERS])
def test_small_files_are_read_in_memory_as_large_ones_are_from_the_disk(tmp_path, monkeypatch, name):
    (WRITERS | OTHERS)[name](tmp_path / name)
    data, found = (tmp_path / name).read_bytes(), []
    for share in (1.0, 0.9, 0.5, 0.03):
        (tmp_path / name).write_bytes(data[: int(share * len(data))])
        for small in (0, 2**16):
            monkeypatch.setattr(images, "_SMALL", small)
            if share == 1.0:
                image = read_image(tmp_path / name)
                found.append((image.values.tobytes(), image.shape, image.mode, image.kind, image.span))
            else:
                found.append(refusal(tmp_path / name))
    assert found[::2] == found[1::2]


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("values", [HU, HU.astype(">i2"), HU.T, ramp(9, np.float64), np.stack([HU] * 3, -1)])
def test_arrays_are_those_of_numpy(tmp_path, version, values):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, values, version)
    for more in (b"", b"and more"):
        with open(tmp_path / "a.npy", "ab") as file:
            file.write(more)
        image = read_image(tmp_path / "a.npy")
        np.testing.assert_array_equal(image.values, values)
        assert image.values.flags.writeable
        assert image.values.flags.c_contiguous


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_and_absent_pixels_of_a_metaimage(tmp_path, compressed):
    itk(tmp_path / "a.mhd", VOLUME, compressed)
    pixels = tmp_path / ("a.zraw" if compressed else "a.raw")
    data = pixels.read_bytes()
    pixels.write_bytes(data[:-20])
    assert "truncated or damaged" in refusal(tmp_path / "a.mhd", slice=2)
    pixels.unlink()
    assert refusal(tmp_path / "a.mhd", slice=2).startswith(
        f"names {pixels.name} as the file of its pixels, which is not"
    )


@pytest.mark.parametrize("name", [*WRITERS, "a.mhd"])
def test_bytes_of_any_kind_are_errors(tmp_path, name):
    rng = np.random.default_rng(0)
    for size in (1, 3, 500, 5000):
        (tmp_path / name).write_bytes(rng.bytes(size))
        assert refusal(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
def test_flipped_bits_of_a_header_are_errors_or_an_image(tmp_path, name):
    WRITERS[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        changed = bytearray(data)
        for at in rng.integers(0, min(len(data), 600), 3):
            changed[at] ^= 1 << int(rng.integers(8))
        (tmp_path / name).write_bytes(changed)
        try:
            with named(tmp_path / name):
                values = read_image(tmp_path / name).values
        except OSError:
            continue
        assert values.ndim in (2, 3)


@pytest.mark.parametrize("name", [*WRITERS, "a.mhd"])
def test_pipes_and_folders_are_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert refusal(tmp_path / name) == "is not a file, but a folder, pipe or device"
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert refusal(tmp_path / name) == "is not a file, but a folder, pipe or device"


def test_a_header_cannot_name_other_files_as_its_pixels(tmp_path):
    itk(tmp_path / "a.mhd", HU)
    header = (tmp_path / "a.mhd").read_bytes()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/b.raw").write_bytes(bytes(HU.nbytes))
    os.mkfifo(tmp_path / "pipe.raw")
    for name in ("secret/b.raw", "/dev/zero", "../b.raw", "pipe.raw", "LIST", "%03d.raw 1 3 1", ".", ""):
        (tmp_path / "a.mhd").write_bytes(header.replace(b"a.raw", name.encode()))
        assert refusal(tmp_path / "a.mhd").startswith("names ")
    (tmp_path / "a.mhd").write_bytes(
        header.replace(b"ElementDataFile = ", b"x = 1\nElementDataFile : ").replace(b"a.raw", b"/dev/zero")
    )
    assert refusal(tmp_path / "a.mhd")
    for before in (
        b"\n",
        b"\r\n\r\n",
        b"Comment = ElementDataFile = LOCAL\n",
        b"Offset = 0\nElementDataFile = LOCAL\n",
    ):
        (tmp_path / "a.mhd").write_bytes(
            header.replace(b"ElementDataFile", before + b"ElementDataFile").replace(b"a.raw", b"secret/b.raw")
        )
        assert refusal(tmp_path / "a.mhd").startswith("names ")
    itk(tmp_path / "a.nrrd", HU)
    nrrd = (tmp_path / "a.nrrd").read_bytes()
    for field in (b"data file: pipe.raw", b"datafile: /dev/zero", b"data file: LIST"):
        (tmp_path / "a.nrrd").write_bytes(nrrd.replace(b"\n\n", b"\n" + field + b"\n\n", 1))
        assert refusal(tmp_path / "a.nrrd").startswith("names ")


def huge_npy(path):
    np.save(path, HU)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(40, 33), }      ", b"(400000, 330000), }")[: len(data)])


def huge_dicom(path):
    dicom(path, HU.astype(np.uint16), Rows=65535, Columns=65535)


def huge_nifti(path):
    nifti(path, HU.T)
    data = bytearray(path.read_bytes())
    data[42:46] = struct.pack("<hh", 32767, 32767)
    path.write_bytes(data)


def huge_itk(path):
    itk(path, HU)
    old, new = (
        (b"sizes: 33 40", b"sizes: 33000000 40000")
        if path.suffix == ".nrrd"
        else (b"= 33 40", b"= 330000 400000")
    )
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))


def deep_itk(path):
    itk(path, VOLUME)
    path.write_bytes(path.read_bytes().replace(b"DimSize = 33 40 3", b"DimSize = 3300 4000 3000000"))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", huge_npy),
        ("a.dcm", huge_dicom),
        ("a.nii", huge_nifti),
        ("a.nrrd", huge_itk),
        ("a.mha", huge_itk),
        ("a.mha", deep_itk),
    ],
)
def test_huge_dimensions_take_no_memory(tmp_path, name, write):
    write(tmp_path / name)
    said = refusal(tmp_path / name, slice=0)
    assert "pixels, and more than" in said or "more than 2147483648" in said or "mmap length" in said, said


def test_the_content_says_the_format_and_not_the_name(tmp_path):
    dicom(tmp_path / "a.png", ramp(4095), bits=12)
    assert read_image(tmp_path / "a.png").kind == "DICOM radiograph 12 bit"
    Image.fromarray(ramp(255, np.uint8)).save(tmp_path / "a.dcm", "PNG")
    assert read_image(tmp_path / "a.dcm").kind == "picture uint8"
    with (tmp_path / "a.jpg").open("wb") as file:
        np.save(file, HU)
    assert read_image(tmp_path / "a.jpg").kind == "array"
    nifti(tmp_path / "a.nii", HU.T).rename(tmp_path / "a.tif")
    assert refusal(tmp_path / "a.tif") == "is NIfTI: give it a name that ends in .nii or .nii.gz"
    itk(tmp_path / "a.nrrd", HU).rename(tmp_path / "a.tif")
    assert refusal(tmp_path / "a.tif") == "is NRRD: give it a name that ends in .nrrd"
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"something else" * 100))
    assert refusal(tmp_path / "a.nii.gz") == "cannot be read: it is damaged, or not gz as its name says"


def test_dicom_files_that_are_not_one_image(tmp_path):
    path = tmp_path / "a.dcm"
    pixels = ramp(4095)
    dicom(path, pixels, NumberOfFrames=3, PixelData=pixels.tobytes() * 3)
    assert refusal(path).startswith("holds 3 frames, and only one can be classified")
    dicom(path, pixels, modality="SR", PixelData=None)
    assert refusal(path) == "is a DICOM file without an image (modality SR): leave it out"
    dicom(path, ramp(255, np.uint8), modality="SEG")
    assert refusal(path) == "is a DICOM file without an image (modality SEG): leave it out"
    dicom(path, pixels, bits=12, RescaleSlope=0, RescaleIntercept=3)
    assert refusal(path).startswith("has RescaleSlope 0 and RescaleIntercept 3")
    dicom(path, pixels, PhotometricInterpretation="HSV")
    assert refusal(path).startswith("is HSV with pixels uint16 (40, 33)")


def test_dicom_windows_that_mean_nothing_are_none(tmp_path):
    for tags in ({"WindowCenter": 100, "WindowWidth": 0}, {"WindowCenter": 100}, {}):
        dicom(tmp_path / "a.dcm", ramp(4095), bits=12, **tags)
        assert read_image(tmp_path / "a.dcm").window is None


def test_dicom_bits_that_are_not_the_lower_ones(tmp_path):
    dicom(tmp_path / "a.dcm", ramp(4095) << 4, bits=12, HighBit=15)
    assert refusal(tmp_path / "a.dcm").startswith("stores 12 bits up to bit 15, and not up to 11")


def test_dicom_without_a_preamble(tmp_path):
    dicom(tmp_path / "a.dcm", ramp(4095), bits=12)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    for name in ("bare", "bare.dcm"):
        pydicom.dcmwrite(
            tmp_path / name, data, implicit_vr=False, little_endian=True, enforce_file_format=False
        )
        raw = (tmp_path / name).read_bytes()
        start = raw.index(b"\x08\0\x16\0")
        (tmp_path / name).write_bytes(raw[start:])
        np.testing.assert_array_equal(read_image(tmp_path / name).values, ramp(4095))


def test_arrays_that_are_no_image(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([[{"a": 1}]], object), allow_pickle=True)
    assert "object" in refusal(path).lower()
    for values, said in (
        (np.zeros((3, 8, 9)), r"has the shape (3, 8, 9), which is not one image"),
        (np.zeros(9), "has the shape (9,)"),
        (np.zeros((8, 9), complex), "holds complex128, which are not real numbers"),
        (np.zeros((8, 9), bool), "holds bool, which are not real numbers"),
        (np.full((8, 9), np.inf), "holds NaN or infinity"),
        (np.full((8, 9), 1e300), "holds NaN or infinity"),
        (np.zeros((0, 9)), "has 0 x 9 pixels"),
    ):
        np.save(path, values)
        assert refusal(path).startswith(said)


def test_pictures_whose_numbers_pillow_garbles_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(ramp(255, np.uint8)).save(path, tiffinfo={339: 2})
    assert refusal(path).startswith("holds numbers (unsigned of 32 bits, or signed of 8)")
    itk(path, np.stack([ramp(65535)] * 3, -1))
    data = path.read_bytes()
    entry = data.index(struct.pack("<HHIH", 274, 3, 1, 1))
    path.write_bytes(data[:entry] + struct.pack("<HHIH", 274, 3, 1, 6) + data[entry + 10 :])
    assert refusal(path).startswith("is a TIFF of 16 bits per colour channel that is to be rotated")
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"has no slice 2: it is not a volume"):
        read_image(tmp_path / "b.png", slice=2)


def test_compressed_pixels_that_end_too_early_are_no_file_without_an_image(tmp_path):
    path = tmp_path / "a.dcm"
    dicom(path, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 4096)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(path) == "is a DICOM file that ends too early, or is empty: get it again"
