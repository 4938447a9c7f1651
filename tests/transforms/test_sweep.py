import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureTyped, Lambdad
from monai_sf.transforms import CORRUPTIONS, Corruptd, CorruptionSweep, SweepLoader

IMAGES = torch.rand(4, 3, 30, 26, generator=torch.Generator().manual_seed(0))
IDS = ["a", "b", "c", "d"]


def batch():
    return {"image": IMAGES.clone(), "label": torch.arange(4), "case_id": list(IDS)}


def test_every_kind_and_severity_with_the_pixels_of_corruptd():
    sweep = CorruptionSweep(modality="ct", seed=3)
    found = list(sweep(batch()))
    assert [(kind, severity) for kind, severity, _ in found] == [
        (k, s) for k in CORRUPTIONS for s in range(1, 6)
    ]
    assert len(sweep) == 25
    for kind, severity, corrupted in found:
        transform = Corruptd("image", kind, severity, modality="ct", seed=3)
        for image, case_id, result in zip(IMAGES, IDS, corrupted["image"], strict=True):
            assert torch.equal(transform({"image": image, "case_id": case_id})["image"], result)


def test_the_batch_is_left_alone_and_the_rest_is_passed_on():
    given = batch()
    for _, _, corrupted in CorruptionSweep(severities=(0, 5))(given):
        assert corrupted["label"] is given["label"]
        assert corrupted["case_id"] == IDS
        corrupted["image"].zero_()
    assert torch.equal(given["image"], IMAGES)


def test_order_and_choice():
    sweep = CorruptionSweep(kinds=("elastic", "brightness_up"), severities=(5, 0))
    found = list(sweep(batch()))
    assert [(k, s) for k, s, _ in found] == [
        ("elastic", 5),
        ("elastic", 0),
        ("brightness_up", 5),
        ("brightness_up", 0),
    ]
    assert torch.equal(found[1][2]["image"], IMAGES)


@pytest.mark.parametrize("ids", [torch.arange(4), [0, 1, 2, 3], ("0", "1", "2", "3")])
def test_ids_as_loaders_make_them(ids):
    sweep = CorruptionSweep(("gaussian_noise",), (2,))
    (_, _, found), *_ = sweep({**batch(), "case_id": ids})
    expected = Corruptd("image", "gaussian_noise", 2)({"image": IMAGES[3], "case_id": 3})["image"]
    assert torch.equal(found["image"][3], expected)


def test_one_case_without_a_batch():
    case = {"scan": IMAGES[1], "uid": "b"}
    sweep = CorruptionSweep(("elastic",), (4,), image_key="scan", case_id_key="uid")
    ((_, _, found),) = sweep(case)
    expected = Corruptd("scan", "elastic", 4, case_id_key="uid")(case)["scan"]
    assert torch.equal(found["scan"], expected)


def test_metadata_of_a_batch_is_kept_for_decollation():
    dataset = Dataset(
        [{"image": MetaTensor(i, meta={"name": n}), "case_id": n} for i, n in zip(IMAGES, IDS, strict=True)]
    )
    (loaded,) = DataLoader(dataset, batch_size=4)
    for _, _, corrupted in CorruptionSweep()(loaded):
        split = decollate_batch(corrupted)
        assert [case["image"].meta["name"] for case in split] == IDS
        assert split[0]["image"].shape == IMAGES[0].shape


def test_every_file_is_read_once():
    reads = []

    def read(name):
        reads.append(name)
        return IMAGES[IDS.index(name)]

    data = [{"image": name, "case_id": name} for name in IDS]
    loader = DataLoader(Dataset(data, Compose([Lambdad("image", read), EnsureTyped("image")])), batch_size=3)
    tasks = SweepLoader(loader, CorruptionSweep())
    found = list(tasks)
    assert reads == IDS
    assert len(found) == len(tasks) == 2 * 25
    assert found[0]["corruption"] == ["brightness_up"] * 3
    assert found[-1]["severity"] == [5]


def test_a_monai_evaluator_runs_over_the_sweep():
    dataset = Dataset([{"image": i, "label": 0, "case_id": n} for i, n in zip(IMAGES, IDS, strict=True)])
    tasks = SweepLoader(DataLoader(dataset, batch_size=2), CorruptionSweep(severities=(1, 5)))
    seen = []
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        tasks,
        network=torch.nn.Flatten(),
        val_handlers=None,
        decollate=True,
        postprocessing=lambda case: (
            seen.append((case["corruption"], case["severity"], case["case_id"])) or case
        ),
    )
    evaluator.run()
    assert seen == [
        (kind, severity, name)
        for pair in (IDS[:2], IDS[2:])
        for kind in CORRUPTIONS
        for severity in (1, 5)
        for name in pair
    ]


def test_missing_ids_say_what_to_do():
    with pytest.raises(KeyError, match="name another with case_id_key"):
        next(CorruptionSweep()({"image": IMAGES}))


def test_too_few_ids():
    with pytest.raises(ValueError, match="each of the 4 cases, got 3"):
        next(CorruptionSweep()({"image": IMAGES, "case_id": IDS[:3]}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ("blur",)}, "kind must be one of"),
        ({"severities": (1, 7)}, "severity must be an integer from 0 to 5, got 7"),
        ({"modality": "mr"}, "modality must be None or one of"),
        ({"kinds": ()}, "must not be empty"),
        ({"severities": ()}, "must not be empty"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CorruptionSweep(**arguments)


def test_a_seed_that_is_no_integer():
    with pytest.raises(TypeError, match="seed must be an integer"):
        CorruptionSweep(seed=0.5)
