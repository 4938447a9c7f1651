"""The batches of an epoch: every case once, whoever takes it, and the same wherever it is read."""

import os
import pickle
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import Dataset, MetaTensor

from monai_sf.data.batches import SharedBatches, collate_cases, shared_loader
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
    positions = [position for batch in together for position in batch]
    assert len(set(positions)) == len(positions)
    if seed is None:
        assert positions == list(range(count))


def test_too_few_cases_for_the_processes(monkeypatch):
    as_rank(monkeypatch, 0, 4)
    with pytest.raises(ValueError, match="10 cases in batches of 3 are not enough for 4 processes: batch"):
        SharedBatches(10, 3, seed=0)
    with pytest.raises(ValueError, match="2 cases in batches of 8 are not enough for 4 processes"):
        SharedBatches(2, 8, seed=0)
    assert [len(batch) for batch in SharedBatches(2, 8, seed=None)] == [1]


class Images(torch.utils.data.Dataset):
    """Cases with images of 8 bits."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        image = torch.full((1, 2, 2), position, dtype=torch.uint8)
        return {"image": image, "label": position % 2, "case_id": f"case {position}"}


def seen(batches, loader, epochs):
    """The cases of each batch of some epochs, and the random number that is drawn after each."""
    found = []
    for epoch in epochs:
        batches.epoch = epoch
        torch.manual_seed(epoch)
        for batch in loader:
            assert batch["image"].dtype == torch.uint8
            assert batch["image"].unique(dim=0).numel() == 4 * len(batch["case_id"])
            assert batch["label"].tolist() == [int(name.split()[1]) % 2 for name in batch["case_id"]]
            found.append((epoch, batch["case_id"], torch.rand(()).item()))
    return found


def test_batches_are_the_same_for_any_number_of_workers_and_from_any_epoch_on():
    found = {}
    for workers in (0, 1, 2):
        batches = SharedBatches(7, 3, seed=5)
        loader = shared_loader(Images(7), batches, workers)
        found[workers] = seen(batches, loader, (1, 2, 3))
        again = SharedBatches(7, 3, seed=5)
        resumed = seen(again, shared_loader(Images(7), again, workers), (3,))
        assert resumed == [one for one in found[workers] if one[0] == 3]
    assert found[0] == found[1] == found[2]
    orders = [[name for epoch, names, _ in found[0] if epoch == e for name in names] for e in (1, 2, 3)]
    assert len({tuple(order) for order in orders}) == 3


def test_workers_go_on_from_epoch_to_epoch():
    batches = SharedBatches(4, 2, seed=0)
    loader = shared_loader(Workers(), batches, 2)
    processes = [sorted(int(p) for batch in loader for p in batch["process"]) for _ in range(2)]
    assert processes[0] == processes[1]
    assert os.getpid() not in processes[0]


class Workers(Images):
    """Cases that say who reads them."""

    def __init__(self):
        super().__init__(4)

    def __getitem__(self, position):
        return {**super().__getitem__(position), "process": os.getpid()}


def test_an_empty_share_has_the_keys_and_shapes_of_the_others(monkeypatch):
    as_rank(monkeypatch, 1, 2)
    data = [{"image": MetaTensor(torch.zeros(1, 4, 4)), "label": 0, "case_id": "a"}]
    loader = shared_loader(Dataset(data), SharedBatches(1, 2, seed=None), 0)
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
