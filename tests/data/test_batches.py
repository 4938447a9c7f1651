"""The batches of an epoch: every case once, whoever takes it, and augmented alike wherever it is read."""

import pickle
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose, OneOf, RandFlipd, RandGaussianNoised, RandRotated, RandShiftIntensityd

from monai_sf.data.batches import SeededCases, SharedBatches, collate_cases, shared_loader
from monai_sf.data.unit import as_unit
from monai_sf.networks import distributed


def as_rank(monkeypatch, rank, world):
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    monkeypatch.setattr(distributed, "world_size", lambda: world)


@given(count=st.integers(0, 1000), parts=st.integers(1, 9))
def test_shares_are_a_partition_of_almost_equal_parts_the_first_of_which_comes_first(count, parts):
    shares = [range(count)[distributed.share(count, p, parts)] for p in range(parts)]
    assert [i for share in shares for i in share] == list(range(count))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] == max(sizes)


@given(
    count=st.integers(1, 60), size=st.integers(1, 20), world=st.integers(1, 5), epoch=st.integers(1, 3),
    seed=st.one_of(st.none(), st.integers(0, 9)),
)  # fmt: skip
def test_the_batches_do_not_depend_on_the_number_of_processes(count, size, world, epoch, seed):
    if seed is not None and min(count, size) < world:
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        as_rank(monkeypatch, 0, 1)
        alone = SharedBatches(count, size, seed=seed)
        alone.epoch = epoch
        expected = list(alone)
        shares = []
        for rank in range(world):
            as_rank(monkeypatch, rank, world)
            batches = SharedBatches(count, size, seed=seed)
            batches.epoch = epoch
            shares.append(list(batches))
            assert len(shares[-1]) == len(batches)
        together = [list(chain.from_iterable(parts)) for parts in zip(*shares, strict=True)]
        rest = count % size
        if seed is not None and rest and rest < max(2, world) and count > rest:
            expected = expected[: count // size]  # a batch too small for all to have a share is left out
        assert together == expected
        assert [batches.size_of(i) for i in range(len(batches))] == [len(batch) for batch in together]
    seen = [position for batch in together for _, position in batch]
    assert len(set(seen)) == len(seen)
    if seed is None:
        assert seen == list(range(count))


def test_too_few_cases_for_the_processes(monkeypatch):
    as_rank(monkeypatch, 0, 4)
    with pytest.raises(ValueError, match="10 cases in batches of 3 are not enough for 4 processes: batch"):
        SharedBatches(10, 3, seed=0)
    with pytest.raises(ValueError, match="2 cases in batches of 8 are not enough for 4 processes"):
        SharedBatches(2, 8, seed=0)
    assert [len(batch) for batch in SharedBatches(2, 8, seed=None)] == [1]


def augmented(num_workers=0, order=slice(None), seed=5):
    """Each case's image by epoch and position, from a set with nested random transforms."""
    data = [{"image": np.arange(16.0, dtype=np.float32).reshape(1, 4, 4) + i} for i in range(6)]
    noise = OneOf([RandShiftIntensityd("image", offsets=1.0, prob=1), RandGaussianNoised("image", prob=1)])
    random = Compose([RandRotated("image", range_x=3.0, prob=1), noise, RandFlipd("image", prob=0.5)])
    cases = SeededCases(CacheDataset(data, random, progress=False), seed)
    keys = [(epoch, i) for epoch in (1, 2) for i in range(6)][order]
    loader = torch.utils.data.DataLoader(cases, sampler=keys, batch_size=None, num_workers=num_workers)
    return {key: np.asarray(case["image"]) for key, case in zip(keys, loader, strict=True)}


def test_augmentation_depends_on_seed_epoch_and_case_alone():
    plain = augmented()
    for other in (augmented(num_workers=2), augmented(order=slice(None, None, -1)), augmented()):
        for key, image in plain.items():
            np.testing.assert_array_equal(image, other[key])
    without_offset = [image - key[1] for key, image in plain.items()]
    pairs = [(a, b) for i, a in enumerate(without_offset) for b in without_offset[:i]]
    assert not any(np.allclose(a, b, atol=1e-3) for a, b in pairs)  # no two draws are alike
    assert not np.allclose(plain[1, 0], augmented(seed=6)[1, 0])


def test_monai_loaders_do_not_reseed_the_cases(monkeypatch):
    as_rank(monkeypatch, 0, 1)
    cases = SeededCases(
        CacheDataset([{"image": np.zeros((1, 2, 2))}] * 4, RandGaussianNoised("image", 1.0)), 1
    )
    batches = SharedBatches(4, 2, seed=None)
    first, second = ([b["image"] for b in shared_loader(cases, batches, workers)] for workers in (0, 2))
    assert torch.equal(torch.cat(first), torch.cat(second))


def test_an_empty_share_has_the_keys_and_shapes_of_the_others(monkeypatch):
    as_rank(monkeypatch, 1, 2)
    data = [{"image": MetaTensor(torch.zeros(1, 4, 4)), "label": 0, "case_id": "a"}]
    loader = shared_loader(SeededCases(CacheDataset(data, Compose([])), 0), SharedBatches(1, 2, seed=None), 0)
    (batch,) = loader
    assert batch["image"].shape == (0, 1, 4, 4)
    assert batch["label"].shape == (0,)
    assert list(batch["case_id"]) == []
    pickle.dumps(loader.collate_fn)  # workers that are spawned are sent it


def test_images_of_8_and_16_bits_are_one_batch():
    flat = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4)
    deep = (torch.arange(12).reshape(1, 3, 4) * 5000).to(torch.uint16)
    batch = collate_cases([{"image": flat, "label": 0}, {"image": deep, "label": 1}])
    assert batch["image"].dtype == torch.uint16
    assert torch.equal(as_unit(batch["image"]), torch.stack([as_unit(flat), as_unit(deep)]))
    assert batch["label"].tolist() == [0, 1]
    assert collate_cases([{"image": flat}, {"image": flat}])["image"].dtype == torch.uint8
    with pytest.raises(ValueError, match=r"must all be bytes.* got torch\.float32, torch\.uint8"):
        collate_cases([{"image": flat}, {"image": as_unit(flat)}])
