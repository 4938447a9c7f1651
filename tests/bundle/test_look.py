"""What a look at images concludes: colours, values, and the numbers that suit them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.image_files import dicom
from monai_sf.bundle.defaults import choose_defaults
from monai_sf.bundle.look import Look, Seen, copies, look_at
from monai_sf.bundle.plain_values import as_yaml, plain


def looked(folder, *images):
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k}.png")
    return look_at(pd.DataFrame({"image": [f"{k}.png" for k in range(len(images))]}), folder)


def test_colour_files_with_three_equal_channels_are_grey(tmp_path):
    grey = np.arange(1600, dtype=np.uint8).reshape(40, 40)
    look = looked(tmp_path, np.repeat(grey[..., None], 3, 2), grey)
    assert (look.channels, look.modes) == (1, {"colour uint8": 1, "grey uint8": 1})
    assert "three equal channels" in "\n".join(look.lines())
    colour = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    assert looked(tmp_path, colour, grey).channels == 3


@pytest.mark.parametrize(
    ("highest", "intensity"),
    [
        (4095, {"window": [0, 4095]}),
        (4000, {"window": [0, 4095]}),
        (1, {"window": [0, 1]}),
        (60000, {"range": "type"}),
    ],
)
def test_bits_that_are_not_used_are_seen(tmp_path, highest, intensity):
    image = np.zeros((40, 40), np.uint16)
    image[:20] = highest
    assert looked(tmp_path, image).intensity()[0] == intensity
    image[3, 4] = 65535  # one hot pixel
    assert looked(tmp_path, image).intensity()[0] == intensity


def deep(highest):
    return np.linspace(0, highest, 1600).round().astype(np.uint16).reshape(40, 40)


def test_images_of_16_bits_on_two_scales_are_made_comparable_and_named(tmp_path):
    look = looked(tmp_path, deep(4095), deep(65535), deep(3000), deep(60000))
    assert look.intensity() == ({"percentiles": [0.5, 99.5]}, "the images are on different scales")
    (warning,) = look.warnings()
    for words in (
        "2 use at most 12 bits (first: 0.png, 2.png)",
        "2 use more (first: 1.png, 3.png)",
    ):
        assert words in warning
    assert looked(tmp_path, deep(255), deep(4000)).intensity()[0] == {"percentiles": [0.5, 99.5]}


def test_images_of_one_scale_and_several_exposures_stay_on_it(tmp_path):
    look = looked(tmp_path, deep(3000), deep(4500), deep(7000))
    assert look.intensity()[0] == {"window": [0, 8191]}
    assert look.warnings() == []


def test_the_pixels_of_a_constant_image_are_no_copy_and_it_is_named(tmp_path):
    look = looked(tmp_path, np.full((40, 40), 7, np.uint8), deep(200).astype(np.uint8))
    assert [one.digest == "" for one in look.seen.values()] == [True, False]
    assert "1 images have one value only" in look.warnings()[0]
    assert "0.png" in look.warnings()[0]


def test_dicom_files_with_the_same_pixels_and_other_headers_are_copies(tmp_path):
    for name, patient in (("a.dcm", "1"), ("b.dcm", "2")):
        dicom(tmp_path / name, deep(4000), bits=12, PatientID=patient)
    dicom(tmp_path / "c.dcm", np.full((40, 40), 9, np.uint16), bits=12)
    cases = pd.DataFrame({"case_id": list("abc"), "group": list("xyz"), "label_name": ["no", "no", "yes"]})
    cases["image"] = cases["case_id"] + ".dcm"
    look = look_at(cases, tmp_path, [2, 3, 4])
    (found,) = copies(cases, look)
    assert "b.dcm (row 3) is a copy of a.dcm (row 2)" in found
    assert "1 images have one value only, and show nothing:\n  c.dcm (row 4)" in look.warnings()[0]


def test_values_without_a_range_get_percentiles(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32))
    look = look_at(pd.DataFrame({"image": ["a.npy"]}), tmp_path)
    assert look.intensity()[0] == {"percentiles": [0.5, 99.5]}
    assert look.problems() == []


def seen(mode, kind, modality, top, has_window=False):
    return Seen(mode, kind, modality, 64, 64, True, has_window, (0.0, float(top)), top, top, kind)


@pytest.mark.parametrize(
    ("other", "is_refused"),
    [
        (seen("grey uint16", "DICOM radiograph 14 bit", "radiograph", 16383), False),
        (seen("grey uint16", "DICOM MG 12 bit", "MG", 4095), True),
        (seen("grey uint8", "picture uint8", "", 255), True),
    ],
)
def test_what_training_would_take_is_not_refused(other, is_refused):
    """Percentiles make radiographs of 12 and 14 bits comparable, as the check of all images has it."""
    one = seen("grey uint16", "DICOM radiograph 12 bit", "radiograph", 4095, has_window=True)
    look = Look(2, {"a.dcm": one, "b": other})
    assert look.intensity()[0] == {"percentiles": [0.5, 99.5]}
    assert bool(look.problems()) == is_refused


def test_only_a_sample_of_many_images_is_read(tmp_path):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")
    look = look_at(pd.DataFrame({"image": ["a.png"] * 5000}), tmp_path)
    assert look.of == 5000
    assert "looked at" in look.lines()[0]


@pytest.mark.parametrize(
    ("n_train", "side", "has_gpu", "expected"),
    [
        (1400, 64, False, ("densenet-small", None, 64, 9, 32, (0,))),
        (1400, 1024, False, ("densenet-small", None, 64, 9, 32, (0,))),
        (4708, 28, False, ("densenet-small", None, 32, 11, 32, (0,))),
        (50, 64, False, ("densenet-small", None, 64, 40, 16, (0,))),
        (150_000, 64, False, ("densenet-small", None, 64, 4, 64, (0,))),
        (5000, 1024, True, ("densenet121", "imagenet", 256, 20, 32, (0, 1, 2))),
        (5000, 28, True, ("densenet-small", None, 32, 20, 32, (0, 1, 2))),
    ],
)
def test_numbers_suit_the_data_and_the_device(n_train, side, has_gpu, expected):
    found = choose_defaults(n_train, n_train, [side], channels=1, has_gpu=has_gpu)
    assert (
        found.network,
        found.weights,
        found.image_size,
        found.epochs,
        found.batch_size,
        found.seeds,
    ) == expected
    assert found.cache_rate == (found.image_size**2 * 2 * n_train <= 2**30)
    assert len(found.reasons) == 5


@pytest.mark.parametrize(
    "value", ["a", "no", "nan", "2024-01-01", "x: y", "a # b", "{a}", " b", "\n", "'", '"']
)
def test_texts_are_one_line_of_yaml(value):
    import yaml

    text = as_yaml([value, {"k": value}])
    assert "\n" not in text
    assert yaml.safe_load(text) == plain([value, {"k": value}])
