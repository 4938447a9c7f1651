"""What holds for every transform of batches: a case depends on its image and seed alone, on any device."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandFlip, RandFlipd
from monai_sf.transforms import BatchAugment, BatchRandFlip, BatchRandScaleIntensity

from helpers.augmentations import SMALLEST, TRANSFORMS, images

ALL = BatchAugment(list(TRANSFORMS.values()))
SEEDS = [3, 2**64 - 1, 0, 12345678901234567890, 7, 8, 9]
each = pytest.mark.parametrize("name", TRANSFORMS)


@each
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 33, 47), (6, 64, 64), (1, SMALLEST, 9)])
def test_a_case_has_the_same_bits_in_every_batch(name, shape):
    batch = images(7, *shape)
    together = TRANSFORMS[name](batch, SEEDS)
    for first, last in ((0, 1), (6, 7), (0, 2), (4, 7), (1, 6)):
        assert torch.equal(TRANSFORMS[name](batch[first:last], SEEDS[first:last]), together[first:last])
    order = [4, 0, 6, 2, 5, 1, 3]
    shuffled = TRANSFORMS[name](batch[order], [SEEDS[i] for i in order])
    assert torch.equal(shuffled, together[order])


@pytest.mark.parametrize(("side", "sizes"), [(32, (1, 2, 3, 7, 16)), (64, (1, 3, 16)), (224, (1, 2, 3))])
def test_all_of_them_together_have_the_same_bits_in_every_batch(side, sizes):
    batch, seeds = images(max(sizes), 3, side, side), range(max(sizes))
    expected = ALL(batch, seeds)
    for size in sizes:
        parts = [ALL(batch[i : i + size], seeds[i : i + size]) for i in range(0, len(batch), size)]
        assert torch.equal(torch.cat(parts), expected)


def test_chunks_do_not_change_the_bits(monkeypatch):
    batch = images(7, 2, 19, 23)
    expected = ALL(batch, SEEDS)
    monkeypatch.setattr("monai_sf.transforms.augment._CHUNK_CPU", 2 * 19 * 23 * 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    assert torch.equal(ALL(batch, SEEDS), expected)


@each
def test_a_case_is_the_same_in_channels_last_memory_and_with_metadata(name):
    batch = images(7, 3, 20, 24)
    expected = TRANSFORMS[name](batch, SEEDS)
    assert torch.equal(TRANSFORMS[name](batch.to(memory_format=torch.channels_last), SEEDS), expected)
    result = TRANSFORMS[name](MetaTensor(batch), torch.tensor(SEEDS[4:] * 2 + [9]))
    assert type(result) is torch.Tensor
    assert result.is_contiguous()


@each
def test_seeds_differ_and_neither_images_nor_generators_change(name):
    batch = images(1, 3, 24, 24).expand(64, -1, -1, -1).clone()
    before = batch.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    results = TRANSFORMS[name](batch, range(64))
    assert torch.equal(batch, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002
    assert torch.equal(TRANSFORMS[name](batch, range(64)), results)
    assert len(results.flatten(1).unique(dim=0)) > (1 if name.startswith("flip") else 20)


@each
def test_the_same_on_an_image_with_a_gradient(name):
    batch = images(3, 3, 16, 16)
    assert torch.equal(
        TRANSFORMS[name](batch.requires_grad_(), [1, 2, 3]), TRANSFORMS[name](batch.detach(), [1, 2, 3])
    )


# The host may wait in a transform of single images.
@pytest.mark.parametrize("name", [name for name in TRANSFORMS if not name.endswith("each")])
def test_nothing_asks_for_a_value_or_leaves_the_device(name):
    batch = images(16, 3, 40, 56)
    result = TRANSFORMS[name](batch.to("meta"), range(16))
    assert result.device.type == "meta"
    assert result.shape == TRANSFORMS[name](batch, range(16)).shape


@each
def test_no_case(name):
    result = TRANSFORMS[name](torch.zeros(0, 3, 16, 16), [])
    size = (8, 7) if name == "crop" else (16, 16)
    assert result.shape == (0, 3, *size)


@each
def test_double_precision_is_kept(name):
    batch = images(5, 3, 20, 20, dtype=torch.float64)
    result = TRANSFORMS[name](batch, range(5))
    assert result.dtype == torch.float64
    torch.testing.assert_close(TRANSFORMS[name](batch.float(), range(5)), result.float(), atol=2e-5, rtol=0)


def test_each_transform_draws_numbers_of_its_own():
    factors = BatchRandScaleIntensity(factors=0.5, prob=1)
    result = BatchAugment([factors, factors])(torch.ones(500, 1, 1, 1), range(500)).flatten()
    once = factors(torch.ones(500, 1, 1, 1), range(500)).flatten()
    assert abs(np.corrcoef(once, result / once)[0, 1]) < 0.15
    assert not torch.allclose(result, once**2, atol=0.1)


def test_draws_are_fixed_for_ever():
    flip, scale = BatchRandFlip(prob=0.5, spatial_axis=1), BatchRandScaleIntensity(factors=0.5, prob=0.5)
    result = BatchAugment([flip, scale])(torch.tensor([0.0, 1.0]).expand(4, 1, 1, 2), range(4))
    expected = torch.tensor([[0.6114259, 0.0], [1.0, 0.0], [1.3612801, 0.0], [0.0, 0.882828]])
    torch.testing.assert_close(result.flatten(1), expected, atol=1e-6, rtol=0)


def test_no_transforms():
    batch = images(2, 3, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    result = BatchAugment()(batch, [0, 1])
    assert torch.equal(result, batch)
    assert result.is_contiguous()
    assert not result.requires_grad


def test_transforms_of_single_images_are_refused():
    message = "number 0 is a RandFlip, 2 is a RandFlipd; monai_sf.transforms.EachImage makes one"
    with pytest.raises(TypeError, match=message):
        BatchAugment([RandFlip(), BatchRandFlip(), RandFlipd("image")])


@pytest.mark.parametrize("given", [None, BatchRandFlip(), "BatchRandFlip", {}])
def test_transforms_that_are_no_list(given):
    with pytest.raises(TypeError, match=rf"must be a list .*, got {type(given).__name__}: \[\] for none"):
        BatchAugment(given)


GOOD = torch.full((2, 1, 8, 8), 0.5)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (2, 1, 8, 8, 8), (2, 0, 8, 8), (2, 1, 0, 8)])
def test_no_batch_of_images(shape):
    with pytest.raises(ValueError, match=r"be a batch of 2-D images, \(N, C, H, W\), got shape"):
        ALL(torch.zeros(shape), [0, 1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bool])
def test_no_float32_images(dtype):
    with pytest.raises(TypeError, match=rf"be float32 in \[0, 1\], got {dtype}; .*as_unit"):
        ALL(GOOD.to(dtype), [0, 1])


def test_all_that_is_wrong_with_images_is_named():
    with pytest.raises(TypeError, match=r"2-D images.*got shape \(8, 8\), and be float32"):
        ALL(torch.zeros(8, 8, dtype=torch.uint8), [0])


def test_no_tensor():
    with pytest.raises(TypeError, match="images must be a torch.Tensor, got ndarray"):
        ALL(GOOD.numpy(), [0, 1])


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2], 5])
def test_one_seed_for_each_case(seeds):
    with pytest.raises(ValueError, match="one integer for each of the 2 cases, got"):
        ALL(GOOD, seeds)


def test_all_wrong_seeds_are_named():
    with pytest.raises(ValueError, match=r"seeds must lie in \[0, 2\^64\), got -1, 18446744073709551616"):
        ALL(GOOD, [-1, 2**64])
    with pytest.raises(TypeError, match="seeds must be integers, got 0.5, True"):
        ALL(GOOD, [0.5, True])
