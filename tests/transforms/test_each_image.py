"""Transforms of single images, applied to every image of a batch."""

import copy
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.transforms import (
    Compose,
    Flip,
    Lambda,
    OneOf,
    RandFlip,
    RandFlipd,
    RandGaussianNoise,
    Randomizable,
    RandSpatialCrop,
    RandZoom,
)
from monai_sf.transforms import BatchAugment, BatchRandFlip, EachImage

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


@pytest.mark.parametrize(
    ("transform", "what"),
    [
        (Flip(1), "Flip is not random"),
        (lambda image: image, "function is not random"),
        ("RandFlip", "str is not random"),
        (RandFlip, "the class RandFlip is not random"),
        (Compose([]), "Compose of nothing is not random"),
        (Compose([Flip(1), Compose([Flip(0)])]), "Compose of Flip, Flip is not random"),
        (RandFlipd("image"), "RandFlipd is one of dictionaries"),
        (
            Compose([RandFlip(), OneOf([RandFlipd("image"), BatchRandFlip()])]),
            "RandFlipd is one of dictionaries, BatchRandFlip is one of batches",
        ),
    ],
)
def test_transforms_that_are_not_random_or_of_something_else(transform, what):
    with pytest.raises(TypeError, match=f"needs a random MONAI transform of single images, .* but {what}$"):
        EachImage(transform)


def test_a_choice_among_transforms_is_random():
    EachImage(OneOf([Flip(0), Flip(1)]))


class Drawing(Randomizable):
    """Draws from a generator that all share, for every image but the first."""

    def __init__(self, draw):
        self.draw, self.calls = draw, 0

    def __call__(self, image):
        self.calls += 1
        return image if self.calls == 1 else image + self.draw()


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("torch", lambda: torch.rand(1)),
        ("NumPy", np.random.rand),
        ("NumPy", np.random.randn),
        ("Python", random.random),
    ],
)
def test_draws_from_a_global_generator_are_refused(name, draw):
    each = EachImage(Drawing(draw))
    each(images(1, 1, 4, 4), [0])
    with pytest.raises(
        ValueError, match=rf"EachImage\(Drawing\) draws from the global generator of {name}, "
    ):
        each(images(1, 1, 4, 4), [0])


def test_threads_and_copies_give_the_same_bits():
    each = EachImage(RandGaussianNoise(prob=1))
    batch, seeds = images(8, 1, 16, 16), range(8)
    expected = each(batch, seeds)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: each(batch, seeds), range(40)))
    assert all(torch.equal(result, expected) for result in results)
    for other in (copy.deepcopy(each), pickle.loads(pickle.dumps(each))):  # noqa: S301 (own)
        assert torch.equal(other(batch, seeds), expected)


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
        EachImage(Compose([RandFlip(), Lambda(lambda image: {"image": image})]))(images(1, 1, 4, 4), [0])
