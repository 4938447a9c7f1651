"""Image files through MONAI's transforms: loaded as they are, then prepared."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor, set_track_meta
from monai.transforms import LoadImage, LoadImaged, ScaleIntensityRange
from PIL import Image, ImageOps

from monai_sf.data.images import ImageFileReader, LoadImageFiled, PrepareImage, PrepareImaged
from monai_sf.data.unit import as_unit, deepened


def load(path, *, mode=None, size=None, intensity=None):
    """(H, W), (3, H, W), or (channels, H, W) of several files."""
    prepare = PrepareImaged("image", mode=mode, size=size, intensity=intensity)
    channels = np.asarray(prepare(LoadImageFiled("image", size=size)({"image": path}))["image"])
    return channels[0] if len(channels) == 1 else channels


def letter():
    """An F: any turn or flip of it is another picture."""
    image = np.zeros((40, 30), np.uint8)
    image[5:35, 5:10] = image[5:10, 5:25] = image[18:23, 5:18] = 255
    return image


def test_pictures_are_neither_turned_nor_mirrored(tmp_path):
    Image.fromarray(letter()).save(tmp_path / "f.png")
    np.testing.assert_array_equal(load(tmp_path / "f.png", mode="L"), letter())
    small = load(tmp_path / "f.png", mode="L", size=[20, 15])
    assert small.shape == (20, 15)
    np.testing.assert_allclose(small, letter().reshape(20, 2, 15, 2).mean((1, 3)), atol=64)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_every_8_bit_mode_becomes_the_one_that_is_asked_for(tmp_path, mode):
    Image.fromarray(letter()).convert(mode).save(tmp_path / "f.tiff")
    for wanted, shape in (("L", (40, 30)), ("RGB", (3, 40, 30))):
        picture = load(tmp_path / "f.tiff", mode=wanted)
        assert picture.shape == shape
        assert np.abs(picture.reshape(-1, 40, 30)[0] - letter().astype(float)).max() <= 1


def test_six_files_are_six_channels_in_their_order(tmp_path):
    for i in range(6):
        Image.fromarray(np.full((8, 9), 10 * i, np.uint8)).save(tmp_path / f"w{i}.png")
    channels = load([str(tmp_path / f"w{i}.png") for i in (0, 1, 2, 5, 4, 3)], mode="L")
    assert channels.shape == (6, 8, 9)
    assert channels[:, 0, 0].tolist() == [0, 10, 20, 50, 40, 30]


@given(scale=st.integers(2, 16), quality=st.sampled_from([75, 95]))
def test_a_large_jpeg_decoded_small_is_the_same_picture(tmp_path_factory, scale, quality):
    rows, columns = np.mgrid[0 : 16 * scale, 0 : 24 * scale] / scale
    smooth = (127 + 100 * np.sin(rows / 5) * np.cos(columns / 7)).astype(np.uint8)
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    Image.fromarray(smooth).save(path, quality=quality)
    whole = Image.open(path).resize((24, 16), Image.Resampling.BOX)
    assert np.abs(load(path, mode="L", size=[16, 24]) - np.asarray(whole, float)).mean() < 4


def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path):
    Image.fromarray(np.tile(letter(), (4, 4))).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(OSError, match=r"half\.jpg cannot be read: .*truncated"):
        load(tmp_path / "half.jpg", mode="RGB", size=[16, 16])
    with pytest.raises(OSError, match=r"whole\.jpg, .*half\.jpg cannot be read: .*truncated"):
        load([tmp_path / "whole.jpg", tmp_path / "half.jpg"], mode="L")
    with pytest.raises(ValueError, match='"RGB" or "L"'):
        PrepareImage(mode="CMYK")


def test_no_other_reader_takes_a_picture_that_was_refused(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "good.png")
    Image.new("RGB", (40, 30)).save(
        tmp_path / "pages.tif", save_all=True, append_images=[Image.new("L", (4, 4))]
    )
    assert load(str(tmp_path / "good.png"), mode="RGB", size=(8, 9)).shape == (3, 8, 9)
    with pytest.raises(OSError, match="holds 2 images"):
        load(str(tmp_path / "pages.tif"), mode="RGB", size=(8, 9))


def test_arrays_with_objects_are_refused_and_named(tmp_path):
    np.save(tmp_path / "good.npy", np.ones((4, 5), np.int16))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert load(str(tmp_path / "good.npy")).shape == (4, 5)
    with pytest.raises(OSError, match=r"objects\.npy cannot be read: .*[Oo]bject"):
        load(str(tmp_path / "objects.npy"))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("stored", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("size", [None, (24, 20)])
def test_pictures_of_8_bits_are_pillows_to_the_bit(tmp_path, mode, stored, name, size):
    """What the published bundles are trained on: decoded small, turned, converted, resized, scaled."""
    if (stored, name) == ("RGBA", "a.jpg"):
        return
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels, "RGBA").convert(stored).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        if size is not None and name == "a.jpg":
            image.draft(None, size)  # on its side
        picture = ImageOps.exif_transpose(image).convert(mode)
    picture = picture if size is None else picture.resize(size[::-1], Image.Resampling.BILINEAR)
    expected = ScaleIntensityRange(0, 255, 0.0, 1.0)(torch.from_numpy(np.array(picture, np.float32)))
    got = load(tmp_path / name, mode=mode, size=size, intensity={"range": "type"})
    np.testing.assert_array_equal(got if mode == "L" else got.transpose(1, 2, 0), expected)


def test_a_window_is_monais_rounded_to_16_bits(tmp_path):
    hu = np.random.default_rng(0).integers(-1024, 3072, (64, 64)).astype(np.int16)
    np.save(tmp_path / "a.npy", hu)
    scale = ScaleIntensityRange(-1000, 400, 0.0, 1.0, clip=True)
    got = load(tmp_path / "a.npy", mode="L", intensity={"window": [-1000, 400]})
    expected = scale(torch.from_numpy(hu.astype(np.float32))).double().numpy()
    np.testing.assert_allclose(got * 65535.0, expected * 65535, atol=0.51)
    np.testing.assert_allclose(got * 65535.0, np.rint(got * 65535.0), atol=0.01)


def test_the_reader_serves_any_monai_pipeline(tmp_path):
    Image.fromarray(letter()).save(tmp_path / "f.png")
    Image.fromarray(letter().astype(np.uint16) * 257).save(tmp_path / "deep.png")
    prepare = PrepareImage(intensity={"range": "type"})
    expected = letter()[None] / np.float32(255)
    for name, first in itertools.product(("f.png", "deep.png"), (False, True)):
        load_image = LoadImage(reader=ImageFileReader(), ensure_channel_first=first)  # gives float32
        np.testing.assert_allclose(prepare(load_image(tmp_path / name)), expected, atol=1e-7)
    loaded = LoadImaged("image", reader=ImageFileReader())({"image": tmp_path / "f.png"})
    image = PrepareImaged("image", intensity={"range": "type"})(loaded)["image"]
    np.testing.assert_array_equal(image, expected)
    assert isinstance(image, MetaTensor)
    assert image.meta["filename_or_obj"] == str(tmp_path / "f.png")
    assert "image_data" not in image.meta  # it described the values as they were
    six = LoadImage(reader=ImageFileReader(), ensure_channel_first=True)([tmp_path / "f.png"] * 6)
    assert six.shape == (6, 40, 30)
    Image.new("L", (5, 5)).save(tmp_path / "other.png")
    with pytest.raises(OSError, match=r"f\.png, .*other\.png are the channels of one image, .*of one size"):
        load([tmp_path / "f.png", tmp_path / "other.png"])
    Image.new("RGB", (30, 40)).save(tmp_path / "red.png")
    assert load([tmp_path / "f.png", tmp_path / "red.png"], mode="L").shape == (2, 40, 30)
    with pytest.raises(OSError, match=r"red\.png, .*f\.png are the channels of one image, and must be grey"):
        load([tmp_path / "red.png", tmp_path / "f.png"])
    with pytest.raises(OSError, match="must be grey"):
        load([tmp_path / "f.png", tmp_path / "red.png"])


@pytest.mark.parametrize("track", [True, False])
def test_a_loaded_image_is_that_of_the_file_and_its_metadata_are_plain(tmp_path, track):
    set_track_meta(track)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    loaded = LoadImageFiled("image")({"image": str(tmp_path / "a.png")})
    np.testing.assert_array_equal(loaded["image"], pixels.transpose(2, 0, 1))
    assert loaded["image"].dtype == np.uint8
    meta = loaded["image_meta_dict"]
    (entry,) = meta["image_data"]
    assert entry == {
        **{
            "kind": "picture uint8",
            "mode": "colour uint8",
            "type": "uint8",
            "planes": 3,
            "span": [0.0, 255.0],
        }
    }
    assert meta["original_channel_dim"] == 0
    assert meta["spatial_shape"].tolist() == [20, 30]
    prepared = PrepareImaged("image", intensity={"range": "type"})(loaded)
    assert prepared.keys() == {"image"}
    assert isinstance(prepared["image"], MetaTensor) == track
    assert prepared["image"].dtype == torch.float32


@given(st.integers(0, 255))
def test_8_bits_are_the_same_as_16_to_the_bit(value):
    image = torch.full((1, 2, 3), value, dtype=torch.uint8)
    expected = np.float32(value) / np.float32(255)
    assert (as_unit(image).numpy() == expected).all()
    assert deepened(image).dtype == torch.uint16
    assert (as_unit(deepened(image)).numpy() == expected).all()


def test_every_16_bits_are_divided_as_numpy_does():
    values = np.arange(2**16, dtype=np.uint16)
    np.testing.assert_array_equal(
        as_unit(torch.from_numpy(values)).numpy(), values.astype(np.float32) / np.float32(65535)
    )
    for kind in (torch.float32, torch.float64):
        real = torch.rand(3, dtype=kind)
        assert as_unit(real) is real
    on_meta = as_unit(torch.empty(2, 3, 4, 4, dtype=torch.uint16, device="meta"))
    assert (on_meta.device.type, on_meta.dtype, on_meta.shape) == ("meta", torch.float32, (2, 3, 4, 4))
    with pytest.raises(TypeError, match=r"must be uint8, uint16 or floating point, got torch\.int32"):
        as_unit(torch.zeros(3, dtype=torch.int32))


def test_channels_of_several_types_keep_their_own_ranges(tmp_path):
    np.save(tmp_path / "a.npy", letter())
    np.save(tmp_path / "b.npy", letter().astype(np.uint16) * 257)
    both = load([tmp_path / "a.npy", tmp_path / "b.npy"], intensity={"range": "type"})
    np.testing.assert_allclose(both[0], both[1], atol=1e-7)
    assert both.max() == 1


def test_values_that_were_changed_after_loading_are_refused(tmp_path):
    Image.fromarray(letter()).save(tmp_path / "f.png")
    loaded = LoadImageFiled("image")({"image": tmp_path / "f.png"})
    image, meta = loaded["image"], loaded["image_meta_dict"]
    prepare = PrepareImage(intensity={"range": "type"})
    with pytest.raises(OSError, match=r"f\.png holds other values than the uint8 that were read"):
        prepare(image / 100, meta)
    with pytest.raises(OSError, match=r"f\.png was read with other channels than those of an array of shape"):
        prepare(np.concatenate([image, image]), meta)


#: Arrays that MONAI Deploy hands over, or that a program has without metadata, to the image that they are.
DEPLOY = {"filename": "x.png", "original_shape": (40, 30, 3), "source_format": ".png"}
CT = {"row_pixel_spacing": 1.0, "original_channel_dim": "no_channel", "modality": "CT"}
COLOUR = np.random.default_rng(1).integers(0, 256, (3, 40, 30)).astype(np.uint8)
HU = np.random.default_rng(2).integers(-1024, 3072, (40, 30)).astype(np.int16)
ELSEWHERE = {
    "grey of 8 bits": (letter()[None], {}, {"range": "type"}, letter()[None] / np.float32(255)),
    "colour of 8 bits": (COLOUR, {}, {"range": "type"}, COLOUR / np.float32(255)),
    "six channels": (
        np.stack([letter()] * 6),
        {},
        {"range": "type"},
        np.stack([letter()] * 6) / np.float32(255),
    ),
    "a picture of Deploy": (COLOUR.astype(np.float32), DEPLOY, {"range": "type"}, COLOUR / np.float32(255)),
    "a CT of Deploy": (
        HU.T[..., None],
        CT,
        {"window": [-1000, 400]},
        np.clip((HU[None] + 1000.0) / 1400, 0, 1),
    ),
    "values in a window": (HU[None], {}, {"window": [-1000, 400]}, np.clip((HU[None] + 1000.0) / 1400, 0, 1)),
}


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("kind", [np.asarray, lambda array: torch.from_numpy(array.copy())])
def test_arrays_of_other_programs(name, kind):
    array, meta, rule, expected = ELSEWHERE[name]
    got = PrepareImage(intensity=rule)(kind(array), meta)
    np.testing.assert_allclose(got, expected, atol=0.5 / 65535 + 1e-6)
    tracked = MetaTensor(torch.from_numpy(array.copy()), meta=dict(meta))
    np.testing.assert_array_equal(PrepareImage(intensity=rule)(tracked), got)


@pytest.mark.parametrize(
    ("array", "meta", "rule", "said"),
    [
        (HU[None], {}, {"range": "type"}, "without its file's metadata .*LoadImageFiled.* as int16"),
        (HU[None].astype(np.uint16), {}, {"range": "type"}, "whose range is no range of brightness"),
        (COLOUR / np.float32(255), {}, {"range": "type"}, "whose range is no range of brightness"),
        (COLOUR / np.float32(255), DEPLOY, {"range": "type"}, r"x\.png holds other values than the uint8"),
        (COLOUR * np.float32(257), DEPLOY, {"range": "type"}, r"x\.png holds .*no range of brightness"),
        (HU.T[..., None], CT, {"window": "dicom"}, "has no window among its metadata: load it with"),
        (
            HU.T[..., None],
            {**CT, "modality": "DX"},
            {"percentiles": [1, 99]},
            "of modality DX, .*MONOCHROME1",
        ),
        (np.stack([HU.T] * 2, -1), CT, {"window": [0, 1]}, "only one slice"),
        (
            letter(),
            {},
            {"range": "type"},
            r"has the shape \(40, 30\), and must be \(channels, height, width\)",
        ),
        (COLOUR.transpose(1, 2, 0), {}, {"range": "type"}, r"has the shape \(40, 30, 3\)"),
        (np.full((1, 2, 2), np.nan), {}, {"window": [0, 1]}, "NaN"),
    ],
)
def test_what_is_uncertain_is_refused_with_the_reason(array, meta, rule, said):
    with pytest.raises(OSError, match=said):
        PrepareImage(intensity=rule)(array, meta)
