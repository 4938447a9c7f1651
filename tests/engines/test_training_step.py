"""A training step: bytes become images where the network is; any precision has the same bits anywhere."""

import logging
from functools import partial
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset
from monai.optimizers import Novograd
from monai.transforms import Compose, Identityd, OneOf, RandFlip, RandFlipd, ToTensord
from monai_sf.transforms import BatchAugment, BatchRandFlip
from monai_sf.transforms.randomness import case_seed
from torch.optim import SGD, Adam

from helpers.toy_engines import AUGMENTATION, CPU, HEADS, StopError, make_trainer, same, trainer_of, weights
from helpers.toy_problem import tiny_network, toy_cases, toy_dataset, toy_records
from monai_sf.engines.schedules import schedule
from monai_sf.engines.stages import Stage
from monai_sf.engines.training_step import PrepareImages
from monai_sf.losses import ClassificationLoss


def stopped_and_resumed(make, folder, iteration=5):
    """Stop a training in an epoch and let another trainer go on."""
    broken = make(folder)

    @broken.on(Events.ITERATION_COMPLETED(once=iteration))
    def stop():
        raise StopError

    with pytest.raises(StopError):
        broken.run()
    make(folder, seed=99).run()


def bytes_of(records):
    cases = [
        {**one, "image": torch.from_numpy(np.rint(one["image"] * 255).astype(np.uint8))} for one in records
    ]
    return Dataset(cases)


def test_bytes_are_trained_on_as_the_images_that_they_are(tmp_path):
    records = bytes_of(toy_records(toy_cases()[:28], "train"))
    units = Dataset([{**one, "image": one["image"].float() / 255} for one in records.data])
    for name, dataset in (("bytes", records), ("units", units)):
        make_trainer(tmp_path / name, epochs=1, dataset=dataset).run()
    assert same(*(weights(tmp_path / name / "last.pt") for name in ("bytes", "units")))


def test_images_have_the_layout_of_the_network():
    prepare = PrepareImages(tiny_network(), CPU)
    batch = {"image": torch.randint(256, (2, 3, 5, 7), dtype=torch.uint8), "label": torch.tensor([0, 1])}
    images, labels = prepare(batch, CPU, True)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, batch["image"].float() / 255)
    assert torch.equal(labels, batch["label"])


def test_a_case_is_augmented_by_its_own_seed_and_only_in_training(tmp_path):
    trainer = make_trainer(tmp_path, epochs=2)
    validator, seen, validated = trainer.progress.validator, [], []

    def look(images, engine):
        batch = engine.state.batch
        pairs = zip(batch["case_id"], engine.state.output["image"], strict=True)
        images.extend((engine.state.epoch, *pair) for pair in pairs)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: look(seen, trainer))
    validator.add_event_handler(Events.ITERATION_COMPLETED, lambda: look(validated, validator))
    trainer.run()
    originals = {r["case_id"]: torch.from_numpy(r["image"]) for r in toy_records(toy_cases(), "train")}
    augment, changed = BatchAugment(AUGMENTATION), 0
    for epoch, case, image in seen:
        seeds = [case_seed(3, f"epoch {epoch}", case)]
        assert torch.equal(image, augment(originals[case][None], seeds)[0])
        changed += not torch.equal(image, originals[case])
    assert len(seen) // 2 < changed < len(seen)
    held_out = {r["case_id"]: torch.from_numpy(r["image"]) for r in toy_records(toy_cases()[28:], "val")}
    assert {case for _, case, _ in validated} == held_out.keys()
    assert all(torch.equal(image, held_out[case]) for _, case, image in validated)


def test_any_number_of_workers_gives_the_same_weights_and_none_outlives_the_training(tmp_path):
    loss = [Stage("classifier", 2, ClassificationLoss(), {"lr": 0.01})]
    for workers in range(3):
        before = set(active_children())
        trainer = make_trainer(tmp_path / f"{workers}", stages=loss, num_workers=workers)
        trainer.run()
        assert set(active_children()) <= before
    assert same(*(weights(tmp_path / name / "last.pt") for name in "01"))
    assert same(*(weights(tmp_path / name / "last.pt") for name in "02"))


@pytest.mark.parametrize("kind", [StopError, KeyboardInterrupt])
def test_no_worker_outlives_an_error(tmp_path, kind):
    trainer, before, alive = make_trainer(tmp_path, epochs=1, num_workers=1), set(active_children()), []

    @trainer.on(Events.EPOCH_COMPLETED)
    def stop():
        alive.extend(set(active_children()) - before)
        raise kind

    with pytest.raises(kind) as held:  # whose traceback holds the loaders
        trainer.run()
    assert len(alive) == 2
    assert set(active_children()) <= before
    assert held


def small(name):
    return toy_dataset(toy_cases()[:9], name)


@pytest.mark.parametrize("method", HEADS)
def test_bfloat16_trains_in_every_stage(tmp_path, method):
    cases = {"dataset": small("train"), "validation_dataset": small("val")}
    trainer, seen = trainer_of(method, tmp_path, precision="bfloat16", **cases), set()
    first = trainer.network.backbone.features[0]
    first.register_forward_hook(lambda _, inputs, output: seen.add(output.dtype))
    trainer.run()
    assert seen == {torch.bfloat16}
    trained = weights(tmp_path / "last.pt").values()
    assert {tensor.dtype for tensor in trained} == {torch.float32, torch.int64}


def test_a_training_in_bfloat16_resumes_to_the_same_bits(tmp_path):
    make = partial(trainer_of, "devries", precision="bfloat16")
    make(tmp_path / "whole").run()
    stopped_and_resumed(make, tmp_path / "broken")
    trainer_of("devries", tmp_path / "float32").run()
    whole, broken, other = (weights(tmp_path / n / "last.pt") for n in ("whole", "broken", "float32"))
    assert same(whole, broken)
    assert not same(whole, other)


def test_a_training_is_resumed_in_its_own_precision(tmp_path):
    broken = make_trainer(tmp_path, precision="bfloat16")
    broken.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.run()
    with pytest.raises(ValueError, match=r"last\.pt was trained in bfloat16, and would go on in float32"):
        make_trainer(tmp_path).run()
    make_trainer(tmp_path, precision="bfloat16").run()


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("half", "precision must be one of float32, tf32"),
        ("float16", "on the device cpu is not computed in float16"),
    ],
)
def test_a_precision_that_cannot_be_is_said_before_the_training(tmp_path, precision, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, precision=precision)


def test_the_scale_of_float16_is_part_of_the_checkpoint(tmp_path, monkeypatch):
    """The CPU has no float16, but a scaler, which divides what it multiplies."""
    scaler = partial(torch.amp.GradScaler, "cpu", init_scale=2.0**10, growth_interval=4)
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", scaler)

    def make(folder, **changes):
        trainer = trainer_of("devries", folder, **changes)
        trainer.amp = True  # what a precision of float16 sets
        return trainer

    make(tmp_path / "whole").run()
    stopped_and_resumed(make, tmp_path / "broken")
    one, two = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "broken"))
    assert one["scaler"] == two["scaler"]
    assert one["scaler"]["scale"] == 2.0**12  # nine steps
    assert same(one["network"], two["network"])


@pytest.fixture
def _quick_compiler(monkeypatch):
    """Trace the passes as ``torch.compile`` does, without a C++ compiler."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    whole = torch.compile

    def quick(function, *, options, **others):
        assert options == {"deterministic": True}
        return whole(function, backend="eager", fullgraph=True, **others)

    monkeypatch.setattr(torch, "compile", quick)


@pytest.mark.usefixtures("_quick_compiler")
def test_a_compiled_training_is_the_same_training_in_every_stage(tmp_path):
    make = partial(trainer_of, "confidnet", dataset=small("train"), validation_dataset=small("val"))
    # stopped in the second stage
    stopped_and_resumed(partial(make, compile=True), tmp_path / "compiled", iteration=4)
    make(tmp_path / "plain").run()  # what is only traced has the same bits
    for file in ("best-classifier.pt", "best-confidnet.pt", "best.pt", "last.pt"):
        assert same(weights(tmp_path / "compiled" / file), weights(tmp_path / "plain" / file))


@pytest.mark.usefixtures("_quick_compiler")
def test_only_the_passes_of_the_training_are_compiled(tmp_path):
    trainer, compiling = make_trainer(tmp_path, epochs=1, compile=True), {}

    def note(module, inputs):
        compiling.setdefault(module.training, torch.compiler.is_compiling())

    trainer.network.head[-1].register_forward_pre_hook(note)
    trainer.run()
    assert compiling == {True: True, False: False}


def test_the_fused_kernel_is_used_unless_something_else_is_asked_for():
    def fused(factory, device="cpu"):
        weight = torch.nn.Parameter(torch.zeros(2, device=device))
        plan = partial(torch.optim.lr_scheduler.StepLR, step_size=1)
        return schedule(factory, plan, [weight], {"lr": 0.1}, 1, "stage")[0].defaults.get("fused")

    assert fused(Adam) is fused(SGD) is True
    assert fused(partial(Adam, fused=False)) is False
    assert not fused(partial(Adam, foreach=True))
    assert not fused(partial(SGD, differentiable=True))
    assert not fused(Adam, "meta")  # where torch has none
    assert fused(Novograd) is None


def test_an_optimiser_of_monai_resumes_to_the_same_bits(tmp_path):
    make = partial(trainer_of, "devries", optimizer=Novograd)
    make(tmp_path / "whole").run()
    stopped_and_resumed(make, tmp_path / "broken")
    assert same(*(weights(tmp_path / name / "last.pt") for name in ("whole", "broken")))


@pytest.mark.parametrize("which", ["dataset", "validation_dataset"])
@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (Compose([ToTensord("image"), Compose([RandFlipd("image")])]), "RandFlipd"),
        (RandFlipd("image"), "RandFlipd"),
        (OneOf([ToTensord("image"), Identityd("image")]), "OneOf"),
    ],
    ids=["part", "whole", "choice"],
)
def test_random_transforms_of_a_dataset_are_refused(tmp_path, which, transform, name):
    random = Dataset(toy_records(toy_cases(), "train"), transform)
    with pytest.raises(ValueError, match=rf"is random \({name}\): .* augmentation.*EachImage"):
        make_trainer(tmp_path, **{which: random})


def test_empty_datasets_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^validation_dataset must have cases, got none$"):
        make_trainer(tmp_path, validation_dataset=Dataset([]))
    with pytest.raises(ValueError, match=r"^dataset and validation_dataset must have cases, got none$"):
        make_trainer(tmp_path, dataset=Dataset([]), validation_dataset=Dataset([]))


def test_augmentation_of_single_images_is_refused(tmp_path):
    with pytest.raises(TypeError, match="must act on batches"):
        make_trainer(tmp_path, augmentation=[BatchRandFlip(), RandFlip()])
