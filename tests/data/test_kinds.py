"""Every kind of image file, from known pixels to what training, check and inference see of it."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import Dataset
from PIL import Image
from pydicom.pixels import apply_voi, apply_windowing, convert_color_space
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

import monai_sf
from helpers.image_files import (
    HEIGHT,
    RAMP,
    WIDTH,
    coded,
    colours,
    dicom,
    encapsulated,
    itk,
    lookup,
    nifti,
    png16,
    ramp,
    recoded,
    table,
)
from monai_sf.data import as_unit, case_preprocessing, case_records
from monai_sf.datasets.leaks import check_leaks
from monai_sf.datasets.preflight import PreflightError, check_images
from monai_sf.files.images import read_image
from monai_sf.prediction.engine import _Readable
from monai_sf.prediction.image_files import image_records
from monai_sf.results.given_images import _THUMBNAIL, _thumbnail

CONFIGS = monai_sf.__path__[0] + "/bundle/configs"
RANGE, WINDOW, DICOM = {"range": "type"}, {"window": [-1000, 400]}, {"window": "dicom"}
HU = (ramp(4000, np.int32) - 1500).astype(np.int16)
IN_WINDOW = np.clip((HU + 1000.0) / 1400, 0, 1)
SIGN = {"RescaleSlope": 1, "RescaleIntercept": -1024}
VOLUME = np.stack([HU - 7, HU, HU + 9])  # slices, rows, columns


def pillow(pixels, **options):
    return lambda path: Image.fromarray(pixels).save(path, **options)


def ybr(path, pixels, syntax=None):
    dicom(
        path,
        convert_color_space(pixels, "RGB", "YBR_FULL"),
        PhotometricInterpretation="YBR_FULL",
        modality="US",
    )


def jpeg_ybr(path):
    """What ultrasound machines write: a JPEG with halved colours."""
    frame = coded(SMOOTH, format="JPEG", quality=98, subsampling=1)
    dicom(path, SMOOTH, modality="US")
    encapsulated(path, frame, JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL_422")


def jpeg2000(path):
    frame = coded(ramp(4095), format="JPEG2000", no_jp2=True, irreversible=False)
    encapsulated(dicom(path, ramp(4095), bits=12), frame, JPEG2000Lossless)


def rle(path):
    data = pydicom.dcmread(dicom(path, ramp(4095), bits=12))
    data.compress(RLELossless)
    data.save_as(path)


def palette(path):
    tables = {"Red": np.arange(256), "Green": np.arange(256)[::-1], "Blue": np.full(256, 40)}
    tags = {}
    for name, colour in tables.items():
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = (colour * 257).astype("<u2").tobytes()
    dicom(path, ramp(255, np.uint8), modality="US", PhotometricInterpretation="PALETTE COLOR", **tags)


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()[6:]


SMOOTH = np.full((HEIGHT, WIDTH, 3), (200, 60, 90), np.uint8)
SMOOTH[HEIGHT // 2 :] = (30, 160, 220)
DEEP = colours(65535)
GREY = ramp(65535)
B8 = ramp(255, np.uint8)
C8 = colours(255, np.uint8)
PALETTED = np.stack([B8, 255 - B8, np.full_like(B8, 40)], -1) / 255
GAMMA = (np.linspace(0, 1, 4096) ** 2 * 1023).astype(int)
EXPECTED = {  # name: (file, writer, rule, values in [0, 1], mode, kind)
    "png 8": ("a.png", pillow(B8), RANGE, B8 / 255, "grey uint8", "picture uint8"),
    "bmp": ("a.bmp", pillow(C8), RANGE, C8 / 255, "colour uint8", "picture uint8"),
    "webp": ("a.webp", pillow(C8, lossless=True), RANGE, C8 / 255, "colour uint8", "picture uint8"),
    "png 16": ("a.png", pillow(GREY), RANGE, GREY / 65535, "grey uint16", "picture uint16"),
    "tiff 16": ("a.tif", pillow(GREY), RANGE, GREY / 65535, "grey uint16", "picture uint16"),
    "tiff 16, turned": (
        "a.tif",
        pillow(np.rot90(GREY).copy(), tiffinfo={0x0112: 6}),
        *(RANGE, GREY / 65535, "grey uint16", "picture uint16"),
    ),
    "tiff 16, white is zero": (
        "a.tif",
        pillow(65535 - GREY, tiffinfo={262: 0}),
        *(RANGE, GREY / 65535, "grey uint16", "picture uint16"),
    ),
    "png 16 colour": (
        "a.png",
        lambda path: path.write_bytes(png16(DEEP)),
        *(RANGE, DEEP / 65535, "colour uint16", "picture uint16"),
    ),
    "png 16 colour, alpha": (
        "a.png",
        lambda path: path.write_bytes(png16(np.dstack([DEEP, GREY]))),
        *(RANGE, DEEP / 65535, "colour+alpha uint16", "picture uint16"),
    ),
    "tiff 16 colour": (
        "a.tif",
        lambda path: itk(path, DEEP),
        RANGE,
        DEEP / 65535,
        "colour uint16",
        "picture uint16",
    ),
    "tiff float": (
        "a.tif",
        pillow(RAMP.astype(np.float32) * 3),
        *({"window": [0, 3]}, RAMP, "grey float32", "picture float32"),
    ),
    "DX 12 bit": (
        "a.dcm",
        lambda path: dicom(path, ramp(4095), bits=12),
        *(RANGE, ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    ),
    "CR 12 bit, no ending": (
        "IM00001",
        lambda path: dicom(path, ramp(4095), bits=12, modality="CR"),
        *(RANGE, ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    ),
    "CR, MONOCHROME1": (
        "a.dcm",
        lambda path: dicom(
            path, 4095 - ramp(4095), bits=12, PhotometricInterpretation="MONOCHROME1", modality="CR"
        ),
        *(RANGE, ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    ),
    "MG, window of MONOCHROME1": (
        "a.dcm",
        lambda path: dicom(
            path,
            4095 - ramp(4095),
            bits=12,
            modality="MG",
            PhotometricInterpretation="MONOCHROME1",
            **{"WindowCenter": [1000, 2000], "WindowWidth": [501, 4096]},
        ),
        *(
            DICOM,
            1 - np.clip((4095.0 - ramp(4095) - 999.5) / 500 + 0.5, 0, 1),
            "grey uint16",
            "DICOM MG 12 bit",
        ),
    ),
    "CT in Hounsfield units": (
        "a.dcm",
        lambda path: dicom(path, (HU + 1024).astype(np.int16), bits=16, modality="CT", **SIGN),
        *(WINDOW, IN_WINDOW, "grey int16", "DICOM CT HU"),
    ),
    "CT, unsigned of 16 bits": (
        "a.dcm",
        lambda path: dicom(
            path,
            (HU.astype(int) + 2000).astype(np.uint16),
            modality="CT",
            RescaleSlope=1,
            RescaleIntercept=-2000,
        ),
        *(WINDOW, IN_WINDOW, "grey int16", "DICOM CT HU"),
    ),
    "CT, its own window": (
        "a.dcm",
        lambda path: dicom(
            path, HU, modality="CT", RescaleSlope=1, RescaleIntercept=0, WindowCenter=-600, WindowWidth=1500
        ),
        *(DICOM, np.clip((HU + 600.5) / 1499 + 0.5, 0, 1), "grey int16", "DICOM CT HU"),
    ),
    "DX, VOI LUT": (
        "a.dcm",
        lambda path: dicom(path, ramp(4095), bits=12, **lookup(0, GAMMA, 10)),
        *(DICOM, GAMMA[ramp(4095)] / 1023, "grey uint16", "DICOM radiograph 12 bit"),
    ),
    "DX, modality LUT": (
        "a.dcm",
        lambda path: dicom(
            path, ramp(4095), bits=12, **lookup(0, np.arange(4096)[::-1], 16, "ModalityLUTSequence")
        ),
        *(RANGE, 1 - ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    ),
    "DX, run lengths": ("a.dcm", rle, RANGE, ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    "DX, JPEG 2000": ("a.dcm", jpeg2000, RANGE, ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    "DX, JPEG lossless": (
        "a.dcm",
        lambda path: recoded(dicom(path, ramp(4095), bits=12), "JPEGLosslessProcess14_1"),
        *(RANGE, ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    ),
    "DX, JPEG-LS": (
        "a.dcm",
        lambda path: recoded(dicom(path, ramp(4095), bits=12), "JPEGLSLossless"),
        *(RANGE, ramp(4095) / 4095, "grey uint16", "DICOM radiograph 12 bit"),
    ),
    "XC, RGB": (
        "a.dcm",
        lambda path: dicom(path, C8, modality="XC"),
        *(RANGE, C8 / 255, "colour uint8", "DICOM photograph 8 bit"),
    ),
    "XC, RGB in planes": (
        "a.dcm",
        lambda path: dicom(
            path, C8, modality="XC", PlanarConfiguration=1, PixelData=np.moveaxis(C8, 2, 0).tobytes()
        ),
        *(RANGE, C8 / 255, "colour uint8", "DICOM photograph 8 bit"),
    ),
    "US, YBR": ("a.dcm", lambda path: ybr(path, C8), RANGE, C8 / 255, "colour uint8", "DICOM US 8 bit"),
    "US, JPEG of YBR": ("a.dcm", jpeg_ybr, RANGE, SMOOTH / 255, "colour uint8", "DICOM US 8 bit"),
    "US, palette": ("a.dcm", palette, RANGE, PALETTED, "palette uint8", "DICOM US 8 bit"),
    "NIfTI, 2-D": ("a.nii", lambda path: nifti(path, HU.T), WINDOW, IN_WINDOW, "grey int16", "volume LP"),
    "NIfTI, one slice": (
        "a.nii.gz",
        lambda path: nifti(path, HU.T[..., None, None]),
        *(WINDOW, IN_WINDOW, "grey int16", "volume LP"),
    ),
    "NIfTI, slope": (
        "a.nii.gz",
        lambda path: nifti(path, ((HU.T.astype(int) + 1000) // 2).astype(np.int16), slope=2),
        *(WINDOW, np.clip((HU.astype(int) + 1000) // 2 * 2 / 1400, 0, 1), "grey float32", "volume LP"),
    ),
    "NRRD": ("a.nrrd", lambda path: itk(path, GREY), RANGE, GREY / 65535, "grey uint16", "volume uint16"),
    "MetaImage": ("a.mha", lambda path: itk(path, HU, True), WINDOW, IN_WINDOW, "grey int16", "volume"),
    "MetaImage, two files": ("a.mhd", lambda path: itk(path, HU), WINDOW, IN_WINDOW, "grey int16", "volume"),
    "MetaImage, colour": (
        "a.mha",
        lambda path: itk(path, C8),
        RANGE,
        C8 / 255,
        "colour uint8",
        "volume uint8",
    ),
    "NPY": ("a.npy", lambda path: np.save(path, HU), WINDOW, IN_WINDOW, "grey int16", "array"),
    "NPY, float64 and big-endian": (
        "a.npy",
        lambda path: np.save(path, (RAMP * 3).astype(">f8")),
        *({"window": [0, 3]}, RAMP, "grey float32", "array"),
    ),
    "NPY, colour": (
        "a.npy",
        lambda path: np.save(path, DEEP),
        RANGE,
        DEEP / 65535,
        "colour uint16",
        "array uint16",
    ),
}


#: What 16 bits round, and float32.
ROUNDED = 0.5 / 65535 + 1e-6


def preprocessing(intensity, mode="RGB", size=None):
    """What the shared config makes of image files."""
    config = ConfigParser()
    config.read_config([f"{CONFIGS}/pictures.yaml"])
    config.update({"intensity": intensity, "picture_mode": mode, "image_size": size})
    return config.get_parsed_content("preprocessing")


@pytest.mark.parametrize("name", EXPECTED)
def test_known_pixels_in_training_check_and_inference(tmp_path, name):
    file, write, rule, expected, mode, kind = EXPECTED[name]
    write(tmp_path / file)
    image = read_image(tmp_path / file)
    assert (image.mode, image.kind) == (mode, kind)
    colour = expected.ndim == 3
    steps = preprocessing(rule, "RGB" if colour else "L")
    (record,) = case_records(table(file), "train", tmp_path)
    (trained,) = Dataset([record], steps)
    got = np.asarray(trained["image"])
    assert got.dtype == np.float32
    wanted = expected.transpose(2, 0, 1) if colour else expected[None]
    lossy = {"US, JPEG of YBR": 0.05, "US, YBR": 0.012}  # at the edge, and by rounding to 8 bits twice
    np.testing.assert_allclose(got, wanted, atol=lossy.get(name, ROUNDED))
    (direct,) = Dataset([record], case_preprocessing(steps))
    assert direct["image"].dtype in (torch.uint8, torch.uint16)
    np.testing.assert_array_equal(as_unit(direct["image"]), got)
    assert {**direct, "image": 0} == {**record, "image": 0}
    assert check_images(table(file), tmp_path, intensity=rule, modes=[mode]).decoded == 1
    pattern = [
        "*.png",
        "*.tif",
        "*.bmp",
        "*.webp",
        "*.dcm",
        "*.nii",
        "*.nii.gz",
        "*.nrrd",
        "*.mha",
        "*.mhd",
        "*.npy",
    ]
    readable = _Readable(Dataset(image_records(tmp_path, pattern), steps), batch_size=1)
    ((seen,),) = readable
    assert readable.faults == {}
    np.testing.assert_array_equal(seen["image"], got)
    assert _thumbnail(0, tmp_path / file).shape == (_THUMBNAIL, _THUMBNAIL, 3)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_slices_that_the_table_names(tmp_path, name, index):
    if name.startswith("a.nii"):
        nifti(tmp_path / name, VOLUME.transpose(2, 1, 0))
    else:
        itk(tmp_path / name, VOLUME)
    cases = table(name, slice=[float(index)])  # as pandas reads a column with empty cells
    (record,) = Dataset(case_records(cases, "train", tmp_path), preprocessing(WINDOW, "L"))
    np.testing.assert_allclose(
        record["image"][0], np.clip((VOLUME[index] + 1000.0) / 1400, 0, 1), atol=ROUNDED
    )
    assert check_images(cases, tmp_path, intensity=WINDOW, kinds=["volume LP"]).decoded == 1
    (direct,) = Dataset(
        case_records(cases, "train", tmp_path), case_preprocessing(preprocessing(WINDOW, "L"))
    )
    assert torch.equal(as_unit(direct["image"]), record["image"].as_tensor())
    both = table(name, name, name, slice=[0, "1", 1])
    assert check_images(both, tmp_path, intensity=WINDOW).decoded == 2
    with pytest.raises(PreflightError) as caught:
        check_images(table(name, name, name, slice=[3, None, "x"]), tmp_path, intensity=WINDOW)
    assert caught.value.faults == {
        f"{name} slice 3": "has no slice 3: it has 3, counted from 0",
        name: "is a volume of 3 slices, and only one can be classified: name it in a column slice",
        f"{name} slice x": "has the slice 'x', which must be a whole number, counted from 0",
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colours_of_16_bits_stand_upright(tmp_path, orientation):
    turned = {
        **{1: DEEP, 2: DEEP[:, ::-1], 3: DEEP[::-1, ::-1], 4: DEEP[::-1], 5: DEEP.swapaxes(0, 1)},
        **{6: np.rot90(DEEP), 7: DEEP[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(DEEP, -1)},
    }[orientation]
    (tmp_path / "a.png").write_bytes(png16(turned, exif(orientation)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").values, DEEP)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("width", [2, 600.5, 4096])
def test_windows_are_those_of_pydicom(tmp_path, function, width):
    tags = {"WindowCenter": 1500.5, "WindowWidth": width, "VOILUTFunction": function}
    data = pydicom.dcmread(dicom(tmp_path / "a.dcm", ramp(4095), bits=12, **tags))
    image = read_image(tmp_path / "a.dcm")
    np.testing.assert_allclose(
        image.window(image.values), apply_windowing(data.pixel_array, data) / 4095, atol=1e-6
    )


def test_lookup_tables_are_those_of_pydicom(tmp_path):
    data = pydicom.dcmread(dicom(tmp_path / "a.dcm", ramp(4095), bits=12, **lookup(900, GAMMA[:2000], 10)))
    image = read_image(tmp_path / "a.dcm")
    np.testing.assert_allclose(
        image.window(image.values), apply_voi(data.pixel_array, data) / 1023, atol=1e-6
    )


def test_values_are_scaled_before_they_are_averaged(tmp_path):
    np.save(tmp_path / "a.npy", np.tile(np.array([[-3000, 1000]], np.int16), (8, 4)))
    (record,) = Dataset(
        case_records(table("a.npy"), "train", tmp_path), preprocessing({"window": [0, 1000]}, "L", [4, 2])
    )
    np.testing.assert_allclose(record["image"][0], 0.5, atol=0.1)  # black would say that -3000 counted


def test_percentiles_are_of_each_image(tmp_path):
    np.save(tmp_path / "a.npy", RAMP * 100)
    np.save(tmp_path / "b.npy", RAMP * 7 - 900)
    a, b = Dataset(
        case_records(table("a.npy", "b.npy"), "train", tmp_path),
        preprocessing({"percentiles": [10, 90]}, "L"),
    )
    np.testing.assert_allclose(a["image"][0], np.clip((RAMP - 0.1) / 0.8, 0, 1), atol=2e-5)
    np.testing.assert_allclose(a["image"], b["image"], atol=1e-4)


def test_percentiles_and_windows_are_of_the_whole_jpeg(tmp_path):
    """Decoded small, its fine lines would be gone before their percentiles are taken."""
    lines = np.tile(np.array([[0, 200]], np.uint8), (256, 128))
    Image.fromarray(lines).save(tmp_path / "a.jpg", quality=100)
    for rule in ({"percentiles": [5, 95]}, {"window": [0, 200]}):
        (record,) = Dataset(
            case_records(table("a.jpg"), "train", tmp_path), preprocessing(rule, "L", [32, 32])
        )
        np.testing.assert_allclose(record["image"], 0.5, atol=0.02)
    (record,) = Dataset(
        case_records(table("a.jpg"), "train", tmp_path), preprocessing({"window": [99, 101]}, "L", [32, 32])
    )
    np.testing.assert_allclose(record["image"], 0.5, atol=0.02)


def test_a_grey_image_is_three_equal_channels_and_colour_its_luminance(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    (tmp_path / "colour.png").write_bytes(png16(DEEP))
    records = case_records(table("grey.png", "colour.png"), "train", tmp_path)
    grey, _ = Dataset(records, preprocessing(RANGE, "RGB"))
    np.testing.assert_allclose(grey["image"], np.stack([GREY] * 3) / 65535, atol=ROUNDED)
    _, colour = Dataset(records, preprocessing(RANGE, "L", [HEIGHT, WIDTH]))
    np.testing.assert_allclose(colour["image"][0], DEEP @ [0.299, 0.587, 0.114] / 65535, atol=ROUNDED)


def test_inference_finds_dicom_without_an_ending_and_reports_what_no_pattern_names(tmp_path, caplog):
    dicom(tmp_path / "IM0001", ramp(4095), bits=12)
    dicom(tmp_path / "1.2.840.17", ramp(4095), bits=12)
    (tmp_path / "README").write_text("hello")
    (tmp_path / "a.jp2").write_bytes(b"x")
    records = image_records(tmp_path, ["*.png", "*.dcm"])
    assert [record["case_id"] for record in records] == ["1.2.840.17", "IM0001"]
    assert "2 of 4 files below" in caplog.text
    assert "1 no ending" in caplog.text
    assert "1 .jp2" in caplog.text


def test_copies_of_an_image_are_found_in_every_format(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        coarse = Image.fromarray(rng.random((8, 8)).astype(np.float32))
        scan = np.asarray(coarse.resize((64, 64), Image.Resampling.BILINEAR)) * 4000
        dicom(tmp_path / f"{i}.dcm", scan.astype(np.uint16), bits=12)
        inverted = (4095 - scan).astype(np.uint16)
        dicom(tmp_path / f"{i}-1.dcm", inverted, bits=12, PhotometricInterpretation="MONOCHROME1")
        Image.fromarray((scan / 16).astype(np.uint8)).save(tmp_path / f"{i}.png")
        nifti(tmp_path / f"{i}.nii", np.stack([0 * scan.T, scan.T], 2).astype(np.int16))
    names = [f"{i}{end}" for i in range(2) for end in (".dcm", "-1.dcm", ".png", ".nii")]
    cases = table(*names, group=[f"g{i}" for i in range(8)], slice=[None, None, None, 1] * 2).drop(
        columns="split"
    )
    leaks = check_leaks(cases, tmp_path, near_duplicates=4)
    found = {frozenset(pair) for pair in zip(leaks["case_a"], leaks["case_b"], strict=True)}
    assert {name[0] for pair in found for name in pair} == {"0", "1"}
    assert all(len({name[0] for name in pair}) == 1 for pair in found)
    assert {name for pair in found for name in pair} == set(names)
