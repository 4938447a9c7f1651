import numpy as np
import pytest
from drawings import composite, phantom
from gallery import main, tiles
from monai_sf.transforms import MODALITIES

CHANNELS = {"dermoscopy": 3, "xray": 1, "fluorescence": 6, "ct": 1}


@pytest.mark.parametrize("modality", MODALITIES)
def test_phantoms_look_natural(modality):
    image = phantom(modality, 64)
    assert image.shape == (CHANNELS[modality], 64, 64)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.std() > 0.05
    assert ((image == 0) | (image == 1)).mean() < 0.2
    assert np.array_equal(image, phantom(modality, 64))


def test_unknown_phantom():
    with pytest.raises(ValueError, match="modality must be one of dermoscopy"):
        phantom("mr")


def test_composites_are_colour_pictures():
    assert np.array_equal(composite(phantom("dermoscopy", 32))[3, 5], phantom("dermoscopy", 32)[:, 3, 5])
    grey = composite(phantom("ct", 32))
    assert np.array_equal(grey[..., 0], phantom("ct", 32)[0])
    assert np.array_equal(grey[..., 0], grey[..., 2])
    only_second = np.zeros((6, 4, 4), np.float32)
    only_second[1] = 1
    assert composite(only_second)[0, 0] == pytest.approx([0.1, 0.9, 0.3])


@pytest.mark.parametrize("modality", MODALITIES)
def test_tiles_begin_with_the_clean_image_in_every_row(modality):
    picture = tiles(modality, 32).reshape(5, 38, 6, 38, 3)[:, 3:-3, :, 3:-3]
    clean = composite(phantom(modality, 32))
    for row in range(5):
        assert np.array_equal(picture[row, :, 0], clean)
        assert not np.array_equal(picture[row, :, 5], clean)


def test_the_command_writes_a_picture_of_each_modality(tmp_path):
    main([str(tmp_path), "--size", "24"])
    assert {file.name for file in tmp_path.iterdir()} == {f"corruptions_{name}.webp" for name in MODALITIES}
    assert all(file.stat().st_size > 5_000 for file in tmp_path.iterdir())
