"""One image a file, upright, or an error that says what to do."""

from __future__ import annotations

import io
import os

import numpy as np
import PIL
import pytest
from PIL import Image, ImageFile

from monai_sf.datasets.leaks import perceptual_hash
from monai_sf.datasets.preflight import image_faults
from monai_sf.files.images import read_image
from monai_sf.files.intensity import as_input
from monai_sf.files.naming import is_utf8, named, reason, shown
from monai_sf.files.pictures import open_image, tile, upright


def picture(path, mode, size=None):
    """Pixels of a file in a mode and size, not scaled."""
    planes = as_input(read_image(path, size=size), None, mode=mode, size=size)
    return np.moveaxis(planes, 0, 2) if len(planes) > 1 else planes[0]


#: What an EXIF orientation is undone by (ExifTags: 6 is "turn right to see it").
STORED_AS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def scene(scale=1):
    """An F in red on green, 48 high and 32 wide: any turn or flip of it is another picture."""
    image = np.full((48, 32, 3), (20, 120, 40), np.uint8)
    image[8:40, 6:11] = image[8:13, 6:26] = image[22:27, 6:19] = (220, 30, 60)
    return image.repeat(scale, 0).repeat(scale, 1)


def save_turned(path, orientation, scale=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](scene(scale))))
    quality = {"quality": 98, "subsampling": 0} if path.suffix == ".jpg" else {}
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    image.save(path, exif=exif, **quality, **lossless)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_pictures_stand_upright_in_every_format(tmp_path, suffix, orientation):
    path = save_turned(tmp_path / f"a{suffix}", orientation)
    got = picture(path, "RGB")
    assert got.shape == (48, 32, 3)
    assert np.abs(got - scene()).mean() < (3 if suffix == ".jpg" else 1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_grey_tiffs_stand_upright(tmp_path, orientation, dtype):
    grey = scene()[..., :1].astype(dtype) * 3
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED_AS[orientation](grey)[..., 0])
    Image.fromarray(stored).save(tmp_path / "a.tif", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").values, grey[..., 0])


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_turned_jpeg_is_decoded_small_and_not_too_small(tmp_path, orientation):
    path = save_turned(tmp_path / "a.jpg", orientation, scale=8)
    with open_image(path) as image:
        small = upright(image, (48, 32))
        assert small.size == (32, 48)
    with open_image(path) as image:  # 384 x 256: an eighth of the height would be too few columns
        assert upright(image, (40, 128)).size == (128, 192)
    got = picture(path, "RGB", (48, 32))
    assert np.abs(got - scene()).mean() < 6


@pytest.mark.parametrize("orientation", STORED_AS)
def test_the_perceptual_hash_is_of_the_upright_image(tmp_path, orientation):
    path = save_turned(tmp_path / "a.png", orientation)
    Image.fromarray(scene()).save(tmp_path / "up.png")
    assert perceptual_hash(path) == perceptual_hash(tmp_path / "up.png")


def test_the_preflight_measures_upright_images(tmp_path):
    save_turned(tmp_path / "a.jpg", 6)
    assert (
        image_faults(["a.jpg"], tmp_path, intensity={"range": "type"}, modes=["colour uint8"], shape=(48, 32))
        == {}
    )
    assert image_faults(
        ["a.jpg"], tmp_path, intensity={"range": "type"}, modes=["colour uint8"], shape=(32, 48)
    ) == {"a.jpg": "is 48 x 32, and must be 32 x 48"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_damaged_exif_data_do_not_pass_for_upright(tmp_path, suffix):
    Image.fromarray(scene()).save(tmp_path / f"a{suffix}", exif=b"Exif\0\0rubbish rubbish")
    for size in (None, (24, 16)):
        said = "has damaged EXIF data .* save it without them"
        with open_image(tmp_path / f"a{suffix}") as image, pytest.raises(ValueError, match=said):
            upright(image, size)


def grey_levels(*levels):
    return [Image.fromarray(np.full((16, 16), level, np.uint8)) for level in levels]


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp", "a.gif", "a.mpo"])
def test_a_file_of_several_images_is_refused(tmp_path, name):
    first, *rest = grey_levels(0, 120, 250)
    options = {"duration": 100} if name != "a.tif" and name != "a.mpo" else {}
    first.save(tmp_path / name, save_all=True, append_images=rest, **options)
    said = rf"{name} holds 3 images .* file of its own"
    with pytest.raises(OSError, match=said), named(tmp_path / name):
        read_image(tmp_path / name)
    with pytest.raises(OSError, match="holds 3 images"):
        perceptual_hash(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp", "a.gif"])
def test_an_animation_of_one_image_is_an_image(tmp_path, name):
    (image,) = grey_levels(120)
    image.save(tmp_path / name, save_all=True)
    assert np.abs(picture(tmp_path / name, "L") - 120).max() <= 1


def test_thumbnails_and_second_views_of_the_same_photo_are_no_further_image(tmp_path):
    photo, small = Image.fromarray(scene()), Image.fromarray(scene()[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}  # NewSubfileType: of reduced resolution
    photo.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    with open_image(tmp_path / "a.tif") as image:
        assert image.n_frames == 2
        assert (np.asarray(upright(image)) == scene()).all()
    photo.save(tmp_path / "a.mpo", save_all=True, append_images=[photo])
    data = (tmp_path / "a.mpo").read_bytes()
    index = data.index(b"MPF\0")
    kind = data.rindex(b"\0\0\3\0", index, index + 120) + 16  # of the entry behind that of the primary image
    assert data[kind : kind + 4] == bytes(4)
    for code, accepted in ((0x010001, True), (0x020002, True), (0x020001, False), (0x020003, False)):
        (tmp_path / "b.mpo").write_bytes(data[:kind] + code.to_bytes(4, "little") + data[kind + 4 :])
        with open_image(tmp_path / "b.mpo") as image:
            assert image.n_frames == 2
            if accepted:
                assert upright(image).size == (32, 48)
            else:
                with pytest.raises(ValueError, match="holds 2 images"):
                    upright(image)


OLD = int(PIL.__version__.split(".")[0]) < 13
UNREADABLE = pytest.mark.xfail(OLD, raises=OSError, reason="Pillow cannot read the TIFF that it writes")
YCBCR = pytest.param("YCbCr", marks=UNREADABLE)


@pytest.mark.parametrize("mode", ["L", "1", "P", "PA", "LA", "RGB", "RGBA", "CMYK", YCBCR])
def test_every_8_bit_mode_has_one_meaning(tmp_path, mode):
    black_and_white = np.where(scene()[..., 0] > 100, 255, 0).astype(np.uint8)
    image = Image.fromarray(black_and_white).convert("LA" if mode == "PA" else mode).convert(mode)
    image.save(tmp_path / "a.tif")
    for wanted in ("L", "RGB"):
        got = picture(tmp_path / "a.tif", wanted).reshape(48, 32, -1)
        assert np.abs(got - black_and_white[..., None]).max() <= 2


def test_transparency_is_dropped_and_hidden_colours_are_kept(tmp_path):
    pixels = np.dstack([scene(), np.zeros((48, 32), np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (picture(tmp_path / "a.png", "RGB") == scene()).all()


def test_the_hash_sees_all_levels_of_16_bits(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        coarse = Image.fromarray(rng.integers(0, 60_000, (8, 8)).astype(np.float32))
        levels = np.asarray(coarse.resize((64, 64), Image.Resampling.BILINEAR))
        Image.fromarray((1000 + levels).astype(np.uint16)).save(tmp_path / f"{i}.png")
        Image.fromarray(((1000 + levels) / 256).astype(np.uint8)).save(tmp_path / f"{i}.bmp")
    deep, low = ([perceptual_hash(tmp_path / f"{i}.{end}") for i in (0, 1)] for end in ("png", "bmp"))
    assert [(a ^ b).bit_count() <= 2 for a, b in zip(deep, low, strict=True)] == [True, True]
    assert (deep[0] ^ deep[1]).bit_count() > 8


def test_too_many_pixels_are_an_error_and_no_warning(tmp_path, monkeypatch):
    Image.fromarray(scene()).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as image:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 - 1)
        with pytest.raises(ValueError, match="has 48 x 32 pixels, and more than 1535 are"):
            upright(image)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32)
        assert upright(image).size == (32, 48)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 8)
    with pytest.raises(OSError, match=r"a\.png cannot be read: DecompressionBombError"), named("a.png"):
        open_image(tmp_path / "a.png")


def test_damaged_files_and_foreign_formats_are_named(tmp_path):
    Image.fromarray(scene(4)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-300])
    (tmp_path / "b.png").write_bytes(b"")
    Image.fromarray(scene()).save(tmp_path / "c.png", "EPS")  # Pillow would start Ghostscript
    for name, said in (
        ("a.jpg", "truncated"),
        ("b.png", "damaged, or of none of the formats BMP"),
        ("c.png", "damaged, or of none of the formats BMP"),
        ("d.png", "is not there"),
    ):
        with pytest.raises(OSError, match=rf"{name} .*{said}"):
            perceptual_hash(tmp_path / name)


@pytest.mark.parametrize(
    "error", [KeyError("x"), MemoryError(), SyntaxError("bad"), IndexError(), OSError("o")]
)
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, error):
    from monai_sf.data.images import LoadImageFiled

    def fail(self):
        raise error

    Image.fromarray(scene()).save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    path = str(tmp_path / "a.png")
    load = LoadImageFiled("image")
    for read in (lambda: perceptual_hash(path), lambda: load({"image": path})):
        with pytest.raises(OSError, match=r"a\.png cannot be read: \w+") as caught:
            read()
        assert caught.value.__cause__ is error


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    for name in ("a.png", "b.png"):
        with pytest.raises(OSError, match=rf"{name} is not a file, but a folder, pipe or device"):
            perceptual_hash(tmp_path / name)


def test_names_that_are_not_utf8_can_be_shown():
    name = os.fsdecode(b"caf\xe9.png")
    assert not is_utf8(name)
    assert is_utf8("café 猫\n.png")
    assert shown(name) == "caf\\xe9.png"
    assert shown("café.png") == "café.png"
    io.TextIOWrapper(io.BytesIO(), "utf-8").write(shown(name))
    with pytest.raises(OSError, match=r"^a, caf\\xe9\.png is not there$"), named("a", name):
        raise FileNotFoundError
    assert reason(IndexError()) == "cannot be read: IndexError: "


def test_a_wide_image_keeps_its_proportions_and_orientation():
    image = np.zeros((10, 40), np.uint8)
    image[:, :10] = 255  # bright on the left
    square = tile(Image.fromarray(image), 16)
    assert square.shape == (16, 16, 3)
    assert (square[6:10, :4] == 255).all()
    assert (square[:6] == 0).all()
    assert (square[10:] == 0).all()
    assert (square[6:10, 5:] == 0).all()


def test_colour_stays():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 200
    np.testing.assert_array_equal(tile(Image.fromarray(image), 16), image)
