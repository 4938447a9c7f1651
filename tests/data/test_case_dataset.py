"""The cases of a run: images in memory, in one process as in several."""

import numpy as np
import pytest
import torch
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    EnsureTyped,
    Lambdad,
    NormalizeIntensityd,
    OneOf,
    RandFlipd,
    RandZoomd,
    Resized,
    Rotated,
    Zoomd,
)
from PIL import Image

from monai_sf.data import (
    CaseDataset,
    LoadImageFiled,
    PrepareImaged,
    SharedBatches,
    as_unit,
    shared_loader,
)
from monai_sf.data.case_dataset import _Memory


@pytest.fixture
def cases(tmp_path):
    """Seven pictures, one of them larger."""
    records = []
    for i in range(7):
        side = 9 if i == 3 else 8
        pixels = np.random.default_rng(i).integers(0, 256, (side, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        records.append({"image": str(tmp_path / f"{i}.png"), "label": i % 2, "case_id": f"case {i}"})
    return records


def steps(*more):
    prepare = PrepareImaged("image", mode="L", intensity={"range": "type"})
    return Compose([LoadImageFiled("image"), prepare, *more])


def same(case, other):
    """Return whether two cases are equal, images as float32."""
    images = [as_unit(torch.as_tensor(one["image"])) for one in (case, other)]
    return torch.equal(*images) and {**case, "image": 0} == {**other, "image": 0}


@pytest.mark.parametrize(("rate", "count"), [(0.0, 14), (0.5, 11), (1.0, 8)])
def test_images_in_memory_are_decoded_once(cases, decoded, rate, count):
    """One of another shape than the first is not kept."""
    dataset, plain = CaseDataset(cases, steps(), cache_rate=rate), steps()
    for _ in range(2):
        for i, record in enumerate(cases):
            case = dataset[i]
            decoded_before = len(decoded)
            assert same(case, plain(record))
            assert len(decoded) == decoded_before
    assert len(decoded) == count


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_negative_places_count_from_the_end(cases, rate):
    dataset, plain = CaseDataset(cases, steps(), cache_rate=rate), steps()
    for _ in range(2):
        for i in (0, -1, 2, 1, -2, -7, np.int64(-6)):
            assert same(dataset[i], plain(cases[i]))
    for i in (7, -8):
        with pytest.raises(IndexError):
            dataset[i]


def test_workers_share_what_each_has_read(cases, decoded, monkeypatch):
    cases = [case for i, case in enumerate(cases) if i != 3]
    dataset = CaseDataset(cases, steps(), cache_rate=1.0)
    loader = shared_loader(dataset, SharedBatches(6, 2, seed=None), 2)
    first = [batch["image"] for batch in loader]
    assert len(decoded) == 1  # by this process, before it forked the workers
    assert [dataset._memory.read(i) is not None for i in range(6)] == [True] * 6
    again = [batch["image"] for batch in loader]
    plain = [batch["image"] for batch in shared_loader(dataset, SharedBatches(6, 2, seed=None), 0)]
    assert len(decoded) == 1
    for a, b, c in zip(first, again, plain, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_many_images_take_no_handle_each():
    """As the managed list of MONAI's CacheDataset does, which ends at the limit of open files."""
    memory = _Memory(20_000, torch.zeros(1, 2, 2, dtype=torch.uint16))
    for i in range(20_000):
        memory.write(i, torch.full((1, 2, 2), i, dtype=torch.uint16))
    assert memory.read(19_999).tolist() == [[[19_999] * 2] * 2]
    assert memory.read(0).dtype == torch.uint16


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_images_in_memory_are_aligned_whatever_their_number(dtype):
    images = [torch.full((1, 5, 7), i).to(dtype) for i in range(7)]
    memory = _Memory(7, images[0])
    for i, image in enumerate(images):
        memory.write(i, image)
        assert [memory.read(k) is not None for k in range(7)] == [k <= i for k in range(7)]
    for i, image in enumerate(images):
        assert torch.equal(memory.read(i), image)
        assert memory.read(i).data_ptr() % dtype.itemsize == 0


def test_what_changes_more_than_the_image_is_not_kept(cases, decoded):
    dataset = CaseDataset(cases, steps(Lambdad("label", lambda label: label + 5)), cache_rate=1.0)
    assert [dataset[0]["label"] for _ in range(3)] == [5, 5, 5]
    assert len(decoded) == 3
    kept = CaseDataset(cases, steps(EnsureTyped("image", track_meta=False)), cache_rate=1.0)
    assert same(kept[0], kept[0])
    assert len(decoded) == 4


@pytest.mark.parametrize(
    "own",
    [
        [Resized("image", [5, 4])],
        [NormalizeIntensityd("image", subtrahend=0.5, divisor=0.25)],
        [Lambdad("image", lambda image: 1 - image)],
        [CenterSpatialCropd("image", [5, 4])],
        [Zoomd("image", 1.3), Rotated("image", 0.2), Zoomd("image", 0.9)],
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_transforms_of_one_s_own_get_what_they_get_in_inference(cases, caplog, own, lazy):
    """There the preprocessing of the config is run as it is."""
    preprocessing = Compose(steps(*own).transforms, lazy=lazy)
    with caplog.at_level("INFO"):
        dataset = CaseDataset(cases, preprocessing)
    assert f"float32 in [0, 1] instead of bytes, as {type(own[0]).__name__}" in caplog.text
    for case, record in zip(dataset, cases, strict=True):
        expected = preprocessing(record)["image"].as_tensor()
        assert expected.dtype == torch.float32
        assert torch.equal(as_unit(torch.as_tensor(case["image"])), expected)


def test_what_is_wrong_is_said(cases):
    with pytest.raises(ValueError, match=r"is random \(OneOf\): put random"):
        CaseDataset(cases, OneOf([steps()]))
    other = Compose([RandFlipd("image"), OneOf([RandZoomd("image")])], map_items=False)
    with pytest.raises(ValueError, match=r"is random \(RandFlipd, RandZoomd, OneOf\)"):
        CaseDataset(cases, Compose([steps(), other]))
    with pytest.raises(ValueError, match=r"is random \(RandFlipd\): put random transforms into augmentation"):
        CaseDataset(cases, Compose([steps(), Compose([RandFlipd("image")])]))
    with pytest.raises(ValueError, match=r"cache_rate must be a number in \[0, 1\], got 2"):
        CaseDataset(cases, steps(), cache_rate=2)
    for rate in (None, "0.5", float("nan")):
        with pytest.raises(ValueError, match=f"cache_rate must be a number in .*, got {rate!r}"):
            CaseDataset(cases, steps(), cache_rate=rate)
    with pytest.raises(TypeError, match="must be a Compose of transforms, got LoadImageFiled: put it into"):
        CaseDataset(cases, LoadImageFiled("image"))
    with pytest.raises(MemoryError, match=r"cache_rate asks for .* GiB of memory"):
        _Memory(2**62, torch.zeros(1, 1, 1, dtype=torch.uint8))
    bad = [{**cases[0], "image": cases[0]["image"] + ".absent"}]
    with pytest.raises(OSError, match=r"0\.png\.absent is not there"):
        CaseDataset(bad, steps())[0]
