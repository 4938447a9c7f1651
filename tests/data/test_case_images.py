"""The images of cases in one step: those of the two steps, with the same errors."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureTyped, Flipd
from PIL import Image

from monai_sf.data import LoadImageFiled, PrepareImaged, case_preprocessing

RANGE = {"range": "type"}


def steps(*more, mode="L", size=None, as_bytes=True):
    prepare = PrepareImaged("image", mode=mode, size=size, intensity=RANGE, as_bytes=as_bytes)
    return Compose([LoadImageFiled("image", size=size), prepare, *more])


def picture(path, value, size=(30, 40), **options):
    pixels = np.random.default_rng(value).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return str(path)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [None, (16, 24)])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_one_step_gives_the_bits_of_two(tmp_path, mode, size, as_bytes):
    both = steps(mode=mode, size=size, as_bytes=as_bytes)
    one = case_preprocessing(both)
    assert len(one.transforms) == 1
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (("a.png", {}), ("b.jpg", {"exif": exif}), ("c.jpg", {"quality": 50})):
        record = {"image": picture(tmp_path / name, 1, (300, 200), **options), "label": 3, "case_id": name}
        expected, got = both(record), one(record)
        assert got.keys() == expected.keys()
        assert type(got["image"]) is torch.Tensor
        assert got["image"].dtype == (torch.uint8 if as_bytes else torch.float32)
        assert got["image"].is_contiguous()
        assert torch.equal(got["image"], expected["image"].as_tensor())


def test_channel_files_and_what_follows(tmp_path):
    files = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
    both = steps(EnsureTyped("image"), Flipd("image", spatial_axis=1))
    one = case_preprocessing(both)
    assert len(one.transforms) == 3
    got = one({"image": files})["image"]
    assert got.shape == (3, 30, 40)
    assert torch.equal(torch.as_tensor(got), torch.as_tensor(both({"image": files})["image"]))


def test_errors_are_those_of_two_steps(tmp_path):
    good = picture(tmp_path / "good.png", 0)
    small = picture(tmp_path / "small.png", 0, (8, 9))
    (tmp_path / "half.png").write_bytes((tmp_path / "good.png").read_bytes()[:700])
    half, absent = str(tmp_path / "half.png"), str(tmp_path / "absent.png")
    for files, mode in (
        (half, "L"),
        (absent, "L"),
        ([good, small], "L"),
        ([good, good], "RGB"),
        ([good, half], "L"),
    ):
        said = []
        for transform in (steps(mode=mode), case_preprocessing(steps(mode=mode))):
            with pytest.raises(RuntimeError) as caught:
                transform({"image": files})
            cause = caught.value.__cause__
            assert isinstance(cause, OSError)
            said.append(str(cause))
        assert said[0] == said[1]
        assert ".png" in said[0]


def test_any_other_preprocessing_is_left_as_it_is():
    load, prepare = steps().transforms
    for others in (
        [],
        [load],
        [EnsureTyped("image"), load, prepare],
        [type("Own", (LoadImageFiled,), {})("image"), prepare],
        [LoadImageFiled(["image", "mask"]), PrepareImaged(["image", "mask"], intensity=RANGE)],
    ):
        given = Compose(others)
        assert case_preprocessing(given) is given
