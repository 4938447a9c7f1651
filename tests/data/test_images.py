"""Picture files through MONAI's reader."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import LoadImage, LoadImaged, ScaleIntensityRange
from PIL import Image, ImageOps

from monai_sf.data.images import ImageFileReader, LoadImageFiled


def load(path, **options):
    """(H, W), (3, H, W), or (channels, H, W) of several files."""
    transform = LoadImageFiled("image", ImageFileReader(**options), image_only=True)
    channels = np.asarray(transform({"image": path})["image"])
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
        ImageFileReader(mode="CMYK")


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


def test_a_window_is_monais_to_the_bit(tmp_path):
    hu = np.random.default_rng(0).integers(-1024, 3072, (64, 64)).astype(np.int16)
    np.save(tmp_path / "a.npy", hu)
    scale = ScaleIntensityRange(-1000, 400, 0.0, 1.0, clip=True)
    got = load(tmp_path / "a.npy", mode="L", intensity={"window": [-1000, 400]})
    np.testing.assert_array_equal(got, scale(torch.from_numpy(hu.astype(np.float32))))


def test_the_reader_serves_any_monai_pipeline(tmp_path):
    Image.fromarray(letter()).save(tmp_path / "f.png")
    reader = ImageFileReader(intensity={"range": "type"})
    for first in (False, True):
        image = LoadImage(reader=reader, ensure_channel_first=first)(tmp_path / "f.png")
        np.testing.assert_array_equal(image, letter()[None] / np.float32(255))
    assert LoadImaged("image", reader=reader)({"image": tmp_path / "f.png"})["image"].shape == (1, 40, 30)
    six = LoadImage(reader=reader, ensure_channel_first=True)([tmp_path / "f.png"] * 6)
    assert six.shape == (6, 40, 30)
    Image.new("L", (5, 5)).save(tmp_path / "other.png")
    with pytest.raises(OSError, match=r"f\.png, .*other\.png .* must be grey and of one size"):
        load([tmp_path / "f.png", tmp_path / "other.png"])
