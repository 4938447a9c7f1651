"""Transforms of single images, applied to every image of a batch."""

import pytest
import torch
from monai.transforms import (
    Compose,
    Flip,
    Lambda,
    OneOf,
    RandFlip,
    RandGaussianNoise,
    Randomizable,
    RandSpatialCrop,
    RandZoom,
)
from monai_sf.transforms import BatchAugment, EachImage

from helpers.augmentations import images


@pytest.mark.parametrize(
    "transform",
    [
        RandGaussianNoise(prob=0.7),
        RandZoom(prob=0.9, min_zoom=0.5),
        Compose([RandFlip(0.5), OneOf([RandGaussianNoise(prob=1), RandFlip(1.0)])]),
    ],
)
def test_a_transform_gives_what_it_gives_with_its_seed(transform):
    each = EachImage(transform)
    batch, seeds = images(4, 2, 12, 15), [0, 1, 2**32 - 1, 77]
    expected = [
        transform.set_random_state(seed=seed)(image) for image, seed in zip(batch, seeds, strict=True)
    ]
    result = each.apply(batch, seeds)
    assert type(result) is torch.Tensor
    assert torch.equal(result, torch.stack([torch.as_tensor(one) for one in expected]))


def test_beside_others_and_changing_the_number_of_channels():
    def doubled(image):
        return torch.cat((image, image))

    augment = BatchAugment(
        [EachImage(Compose([Lambda(doubled), RandFlip(0.5)])), EachImage(RandGaussianNoise())]
    )
    assert augment(images(3, 2, 8, 8), range(3)).shape == (3, 4, 8, 8)


@pytest.mark.parametrize("transform", [Flip(1), lambda image: image, "RandFlip", RandFlip])
def test_transforms_that_are_not_random(transform):
    with pytest.raises(TypeError, match="needs a random MONAI transform of single images"):
        EachImage(transform)


class Darkened(Randomizable):
    """Changes the image that it is given, as some transforms do."""

    def __call__(self, image):
        return image.mul_(self.R.rand())


def test_the_images_of_the_batch_stay_as_they_are():
    batch = images(3, 1, 4, 4)
    before = batch.clone()
    assert EachImage(Darkened())(batch, range(3)).max() < before.max()
    assert torch.equal(batch, before)


def test_results_of_different_shapes():
    with pytest.raises(ValueError, match=r"EachImage\(RandSpatialCrop\) .* of one shape, got \(1, "):
        EachImage(RandSpatialCrop(2, random_size=True))(images(8, 1, 9, 9), range(8))


def test_results_that_are_no_tensors():
    with pytest.raises(TypeError, match=r"EachImage\(Compose\) must return a tensor, got dict"):
        EachImage(Compose([Lambda(lambda image: {"image": image})]))(images(1, 1, 4, 4), [0])
