"""What a look at images concludes: colours, values, and the numbers that suit them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_sf.bundle.defaults import choose_defaults
from monai_sf.bundle.look import look_at
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
    image[3, 4] = highest
    assert looked(tmp_path, image).intensity()[0] == intensity


def test_values_without_a_range_get_percentiles(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32))
    look = look_at(pd.DataFrame({"image": ["a.npy"]}), tmp_path)
    assert look.intensity()[0] == {"percentiles": [0.5, 99.5]}
    assert look.problems() == []


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
    assert found.cache_rate == (found.image_size**2 * 4 * n_train <= 2**30)
    assert len(found.reasons) == 5


@pytest.mark.parametrize(
    "value", ["a", "no", "nan", "2024-01-01", "x: y", "a # b", "{a}", " b", "\n", "'", '"']
)
def test_texts_are_one_line_of_yaml(value):
    import yaml

    text = as_yaml([value, {"k": value}])
    assert "\n" not in text
    assert yaml.safe_load(text) == plain([value, {"k": value}])
