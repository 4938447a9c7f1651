"""Picture files through MONAI's reader."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from monai_sf.data.images import LoadPictured, PictureReader


def load(path, **options):
    transform = LoadPictured("image", PictureReader(**options), image_only=True)
    return np.asarray(transform({"image": path})["image"])


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
    for wanted, shape in (("L", (40, 30)), ("RGB", (40, 30, 3))):
        picture = load(tmp_path / "f.tiff", mode=wanted)
        assert picture.shape == shape
        assert np.abs(picture.reshape(40, 30, -1)[..., 0] - letter().astype(float)).max() <= 1


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
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(OSError, match=r"deep\.png is I;16, which has more than 8 bits: convert it first$"):
        load(tmp_path / "deep.png", mode="L")
    Image.fromarray(np.tile(letter(), (4, 4))).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(OSError, match=r"half\.jpg cannot be read: .*truncated"):
        load(tmp_path / "half.jpg", mode="RGB", size=[16, 16])
    with pytest.raises(OSError, match=r"whole\.jpg, .*half\.jpg cannot be read: .*truncated"):
        load([tmp_path / "whole.jpg", tmp_path / "half.jpg"], mode="L")
    with pytest.raises(ValueError, match='"RGB" or "L"'):
        PictureReader(mode="CMYK")


def test_no_other_reader_takes_a_picture_that_was_refused(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "good.png")
    Image.fromarray(np.zeros((30, 40), np.uint16)).save(tmp_path / "deep.png")
    assert load(str(tmp_path / "good.png"), mode="RGB", size=(8, 9)).shape == (8, 9, 3)
    with pytest.raises(OSError, match="more than 8 bits"):
        load(str(tmp_path / "deep.png"), mode="RGB", size=(8, 9))


def test_arrays_with_objects_are_refused_and_named(tmp_path):
    np.save(tmp_path / "good.npy", np.ones((4, 5), np.int16))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    load = LoadPictured("image", "NumpyReader", image_only=True)
    assert load({"image": str(tmp_path / "good.npy")})["image"].shape == (4, 5)
    with pytest.raises(OSError, match=r"objects\.npy cannot be read: .*allow_pickle"):
        load({"image": str(tmp_path / "objects.npy")})
