"""The images of cases in one step: those of the two steps, with the same errors."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureTyped, Flipd, ScaleIntensityRanged
from PIL import Image

from monai_sf.data import LoadImageFiled, PrepareImaged, as_unit, case_preprocessing

RANGE = {"range": "type"}


def steps(*more, mode="L", size=None):
    prepare = PrepareImaged("image", mode=mode, size=size, intensity=RANGE)
    return Compose([LoadImageFiled("image", size=size), prepare, *more])


def picture(path, value, size=(30, 40), **options):
    pixels = np.random.default_rng(value).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return str(path)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [None, (16, 24)])
def test_one_step_gives_the_bits_of_two(tmp_path, mode, size):
    both = steps(mode=mode, size=size)
    one = case_preprocessing(both)
    assert len(one.transforms) == 1
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (("a.png", {}), ("b.jpg", {"exif": exif}), ("c.jpg", {"quality": 50})):
        record = {"image": picture(tmp_path / name, 1, (300, 200), **options), "label": 3, "case_id": name}
        expected, got = both(record), one(record)
        assert got.keys() == expected.keys()
        assert type(got["image"]) is torch.Tensor
        assert got["image"].dtype == torch.uint8
        assert got["image"].is_contiguous()
        assert torch.equal(as_unit(got["image"]), expected["image"].as_tensor())


def test_channel_files_and_what_follows(tmp_path):
    files = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
    centred = ScaleIntensityRanged("image", a_min=0, a_max=1, b_min=-1, b_max=1)  # of float32 in [0, 1]
    both = steps(EnsureTyped("image"), centred, Flipd("image", spatial_axis=1))
    one = case_preprocessing(both)
    assert len(one.transforms) == 4
    got = one({"image": files})["image"]
    assert (got.shape, got.dtype) == ((3, 30, 40), torch.float32)
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
