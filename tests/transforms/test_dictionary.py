from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import (
    CacheDataset,
    CacheNTransDataset,
    DataLoader,
    Dataset,
    LMDBDataset,
    MetaTensor,
    PersistentDataset,
    decollate_batch,
    pickle_hashing,
)
from monai.transforms import Compose, EnsureTyped, Lambdad, LoadImaged
from monai_sf.transforms import CORRUPTIONS, Corrupt, Corruptd, RandCorruptd, corrupt
from monai_sf.transforms.randomness import case_seed


def cases(count=5):
    generator = torch.Generator().manual_seed(1)
    return [
        {"image": torch.rand(2, 20, 24, generator=generator), "label": i % 2, "case_id": f"case_{i}"}
        for i in range(count)
    ]


def pixels(dataset):
    return {case["case_id"]: torch.as_tensor(case["image"]) for case in dataset}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_equals_the_function_with_the_seed_of_the_case(kind):
    case = cases(1)[0]
    result = Corruptd("image", kind, 3, modality="xray", seed=5)(case)
    seed = case_seed(5, kind, "case_0")
    assert torch.equal(result["image"], corrupt(case["image"], kind, 3, modality="xray", seeds=seed))
    assert (result["label"], result["case_id"]) == (0, "case_0")
    assert result is not case
    assert torch.equal(case["image"], cases(1)[0]["image"])


def test_the_field_of_an_image_does_not_depend_on_other_keys():
    case = cases(1)[0]
    alone = Corruptd("image", "elastic", 3)(case)["image"]
    for keys in (("image", "other"), ("other", "image")):
        result = Corruptd(keys, "elastic", 3)({**case, "other": case["image"]})
        assert torch.equal(result["image"], alone)
        assert torch.equal(result["other"], alone)


def test_all_severities_share_one_field():
    case = {"image": torch.full((1, 50, 50), 0.5), "case_id": "a"}
    weak, strong = (Corruptd("image", "gaussian_noise", s)(case)["image"] - 0.5 for s in (1, 2))
    torch.testing.assert_close(weak * 2, strong, rtol=0, atol=1e-6)


def test_another_key_for_the_id_and_another_seed():
    case = {**cases(1)[0], "uid": 3}
    by_uid = Corruptd("image", "gaussian_noise", 1, case_id_key="uid", seed=1)(case)["image"]
    assert torch.equal(
        by_uid, corrupt(case["image"], "gaussian_noise", 1, seeds=case_seed(1, "gaussian_noise", 3))
    )
    assert not torch.equal(by_uid, Corruptd("image", "gaussian_noise", 1, case_id_key="uid")(case)["image"])


@pytest.mark.parametrize("case_id", [7, np.int64(7), torch.tensor(7), "7"])
def test_ids_as_loaders_make_them(case_id):
    case = {**cases(1)[0], "case_id": case_id}
    expected = Corrupt("elastic", 2)(case["image"], case_seed(0, "elastic", 7))
    assert torch.equal(Corruptd("image", "elastic", 2)(case)["image"], expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_same_pixels_in_every_loader(workers, batch_size):
    transform = Compose([EnsureTyped("image"), *(Corruptd("image", kind, 2) for kind in CORRUPTIONS)])
    expected = pixels(Dataset(cases(), transform))
    for dataset in (Dataset(cases(), transform), CacheDataset(cases()[::-1], transform, progress=False)):
        loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers)
        found = pixels(case for batch in loader for case in decollate_batch(batch))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


def test_repeated_runs_give_the_same_pixels():
    first, second = (pixels(Dataset(cases(), Corruptd("image", "elastic", 4))) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(*(Corruptd("image", "elastic", 4)(c)["image"] for c in cases(2)))


def test_metadata_and_arrays_are_kept():
    case = {
        "image": MetaTensor(torch.rand(1, 9, 9), meta={"name": "x"}),
        "array": np.full((1, 9, 9), 0.5),
        "case_id": 1,
    }
    result = Corruptd(("image", "array"), "motion_blur", 5)(case)
    assert result["image"].meta["name"] == "x"
    assert isinstance(result["array"], np.ndarray)
    assert result["array"].dtype == np.float64


def test_from_a_bundle_config():
    config = {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "monai_sf.transforms.Corruptd", "keys": "@keys", "kind": "elastic", "severity": 5}
        ],
    }
    transform = ConfigParser({"keys": ["image"], "t": config}).get_parsed_content("t")
    case = cases(1)[0]
    assert torch.equal(transform(case)["image"], Corruptd("image", "elastic", 5)(case)["image"])


def test_a_missing_id_says_what_to_do():
    with pytest.raises(
        KeyError, match=r"no entry 'case_id'.*name another with case_id_key; there are 'image'"
    ):
        Corruptd("image", "elastic", 1)({"image": torch.rand(1, 4, 4)})


@pytest.mark.parametrize("case_id", [None, 1.5, True, ["a"], torch.tensor([1, 2])])
def test_ids_that_are_none(case_id):
    with pytest.raises(TypeError, match="id must be a string or an integer"):
        Corruptd("image", "elastic", 1)({"image": torch.rand(1, 4, 4), "case_id": case_id})


def test_missing_images():
    with pytest.raises(KeyError, match="scan"):
        Corruptd("scan", "elastic", 1)(cases(1)[0])
    allowed = Corruptd(("scan", "image"), "elastic", 1, allow_missing_keys=True)(cases(1)[0])
    assert not torch.equal(allowed["image"], cases(1)[0]["image"])


@pytest.mark.parametrize("seed", [1.0, "1", None])
def test_seeds_that_are_no_integer(seed):
    with pytest.raises(TypeError, match="seed must be an integer, got"):
        Corruptd("image", "elastic", 1, seed=seed)


# In MONAI's caches.


@pytest.mark.parametrize("hashing", [None, pickle_hashing])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", [PersistentDataset, LMDBDataset])
def test_one_cache_folder_serves_every_severity(kind, nested, hashing, tmp_path):
    if kind is LMDBDataset:
        pytest.importorskip("lmdb")
    items = [{**case, "image": str(tmp_path / f"{i}.npy")} for i, case in enumerate(cases(2))]
    for item, case in zip(items, cases(2), strict=True):
        np.save(item["image"], case["image"].numpy())

    def through(severity, dataset=Dataset, **cache):
        chain = [Corruptd("image", "gaussian_noise", severity), EnsureTyped("image")]
        after = [Compose(chain)] if nested else chain
        return pixels(dataset(items, Compose([LoadImaged("image"), *after]), **cache))

    expected = {severity: through(severity) for severity in (4, 1)}
    for severity in (1, 4, 1):
        cached = through(severity, kind, cache_dir=tmp_path / "cache", hash_transform=hashing)
        assert all(torch.equal(image, expected[severity][name]) for name, image in cached.items())
        for item in items:  # from now on, what stands before the corruption comes from the cache
            Path(item["image"]).unlink(missing_ok=True)


@pytest.mark.parametrize("hashing", [None, pickle_hashing])
def test_a_cache_of_corrupted_pixels_is_refused(hashing, tmp_path):
    def through(count, folder=tmp_path, severity=1):
        chain = [EnsureTyped("image"), Corruptd("image", "gaussian_noise", severity)]
        return CacheNTransDataset(cases(2), Compose(chain), count, folder, hash_transform=hashing)

    with pytest.raises(RuntimeError) as caught:
        through(2)[0]
    assert "lower cache_n_trans" in str(caught.value.__cause__)
    assert not list(tmp_path.iterdir())
    expected = pixels(Dataset(cases(2), Corruptd("image", "gaussian_noise", 4)))
    pixels(through(1, severity=2))
    for dataset in (through(1, severity=4), through(2, None, severity=4)):
        assert all(torch.equal(image, expected[name]) for name, image in pixels(dataset).items())


# At random.


def test_random_draws_repeat_and_are_the_same_for_all_keys():
    case = {**cases(1)[0], "other": cases(1)[0]["image"]}
    first, second = (
        [t(case) for _ in range(10)]
        for t in (RandCorruptd(("image", "other"), prob=0.8).set_random_state(2) for _ in range(2))
    )
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["image"], a["other"])
    assert len({result["image"].sum().item() for result in first}) > 4


def test_random_draws_differ_from_worker_to_worker_and_follow_the_seed():
    def epoch():
        transform = Compose([RandCorruptd("image", ("gaussian_noise",), (3,), prob=1.0)]).set_random_state(9)
        same = [{"image": torch.full((1, 8, 8), 0.5), "case_id": str(i)} for i in range(4)]
        dataset = CacheDataset(same, transform, progress=False)
        torch.manual_seed(0)
        return torch.cat([batch["image"] for batch in DataLoader(dataset, batch_size=1, num_workers=2)])

    first = epoch()
    assert torch.equal(first, epoch())
    assert len({image.sum().item() for image in first}) == 4


def test_random_probability_0_leaves_the_image():
    case = cases(1)[0]
    result = RandCorruptd("image", prob=0.0)(case)
    assert result["image"] is case["image"]


def test_random_needs_no_id_but_the_image():
    RandCorruptd("image", prob=1.0)({"image": torch.rand(1, 4, 4)})
    with pytest.raises(KeyError, match="scan"):
        RandCorruptd("scan", prob=1.0)({"image": torch.rand(1, 4, 4)})


def test_random_bad_arguments():
    with pytest.raises(ValueError, match="kind must be one of"):
        RandCorruptd("image", ("blur",))


def test_random_composes_with_other_transforms():
    chain = Compose([Lambdad("image", lambda image: image / 2), RandCorruptd("image", prob=1.0)])
    assert chain(cases(1)[0])["image"].shape == (2, 20, 24)
