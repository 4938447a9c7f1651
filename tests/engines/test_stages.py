"""The methods as stages: each learns its own, freezes the rest, and resumes to the same bits anywhere."""

import os
import signal
from functools import partial

import pytest
import torch
from ignite.engine import Events
from monai.networks.nets import EfficientNetBN
from monai.optimizers import WarmupCosineSchedule
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

from helpers.forks import fork, status_of
from helpers.toy_engines import HEADS, StopError, same, stages_of, trainer_of, weights
from helpers.toy_problem import tiny_network
from monai_sf.engines.stages import Stage, StageRunner
from monai_sf.losses import ClassificationLoss
from monai_sf.networks import ClassifierOutput, ConfidenceClassifier, dropout_layers
from monai_sf.networks.heads import ConfidNetHead, ReservationHead


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folders = {}
    for method in HEADS:
        folders[method] = tmp_path_factory.mktemp(method)
        trainer_of(method, folders[method]).run()
    return folders


def state_of(path):
    return torch.load(path, weights_only=True)


def equal(one, two):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


STOPS = [(method, epoch) for method in HEADS for epoch in range(1, sum(s.epochs for s in stages_of(method)))]


@pytest.mark.parametrize(("method", "complete"), STOPS)
def test_every_stage_resumes_to_the_bits_of_an_unbroken_run(unbroken, tmp_path, method, complete):
    broken = trainer_of(method, tmp_path)

    def stop(engine):
        if engine.state.iteration == 3 * complete + 2:  # in the middle of an epoch of 3 batches
            raise StopError

    broken.add_event_handler(Events.ITERATION_COMPLETED, stop)
    with pytest.raises(StopError):
        broken.run()
    trainer_of(method, tmp_path, seed=99).run()
    for file in sorted(path.name for path in unbroken[method].glob("*.pt")):
        assert equal(state_of(tmp_path / file), state_of(unbroken[method] / file)), file


@pytest.mark.parametrize(("method", "epoch"), [("confidnet", 3), ("confidnet", 5), ("deepgamblers", 3)])
def test_stopped_between_the_two_files_of_a_stages_first_epoch(
    unbroken, tmp_path, monkeypatch, method, epoch
):
    broken = trainer_of(method, tmp_path)
    write = broken.checkpoint._write

    def stop(path, content):
        if path.name == "last.pt" and content["epoch"] == epoch:
            raise StopError
        write(path, content)

    monkeypatch.setattr(broken.checkpoint, "_write", stop)
    with pytest.raises(StopError):
        broken.run()
    trainer_of(method, tmp_path, seed=99).run()
    assert equal(state_of(tmp_path / "last.pt"), state_of(unbroken[method] / "last.pt"))


def test_killed_while_fine_tuning(unbroken, tmp_path):
    def killed():
        trainer = trainer_of("confidnet", tmp_path)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED(once=17), lambda: os.kill(os.getpid(), signal.SIGKILL)
        )
        trainer.run()

    assert status_of(fork(killed)) == -signal.SIGKILL
    assert state_of(tmp_path / "last.pt")["history"][-1]["stage"] == "finetuning"
    trainer_of("confidnet", tmp_path, seed=99).run()
    assert equal(state_of(tmp_path / "last.pt"), state_of(unbroken["confidnet"] / "last.pt"))


def part(state, name):
    return {key: value for key, value in state.items() if key.startswith(f"{name}.")}


def test_confidnet_leaves_the_classifier_alone_to_the_last_bit(unbroken):
    folder = unbroken["confidnet"]
    classifier, confidnet, final = (
        weights(folder / name) for name in ("best-classifier.pt", "best-confidnet.pt", "best.pt")
    )
    for name in ("backbone", "head"):
        assert any("running_mean" in key for key in part(classifier, "backbone"))
        assert same(part(classifier, name), part(confidnet, name))
        assert same(part(classifier, name), part(final, name))
    # the encoder begins as the classifier's backbone, and only its weights are fine-tuned
    encoder = {key.replace("encoder.", "backbone."): v for key, v in part(confidnet, "encoder").items()}
    assert same(encoder, part(classifier, "backbone"))
    tuned = {key.replace("encoder.", "backbone."): v for key, v in part(final, "encoder").items()}
    moved = {key for key in tuned if not torch.equal(tuned[key], encoder[key])}
    assert moved
    assert not any("running" in key or "num_batches" in key for key in moved)
    assert not same(part(classifier, "confidence"), part(confidnet, "confidence"))
    assert not same(part(confidnet, "confidence"), part(final, "confidence"))


def test_each_stage_keeps_its_best_epoch(unbroken):
    for method in HEADS:
        last = state_of(unbroken[method] / "last.pt")
        final = stages_of(method)[-1]
        entries = [entry for entry in last["history"] if entry["stage"] == final.name]
        key = "loss" if final.select == "loss" else "accuracy"
        wanted = (min if key == "loss" else max)(entry[key] for entry in entries)
        best = state_of(unbroken[method] / "best.pt")
        assert best[key] == wanted
        assert best["epoch"] == next(entry["epoch"] for entry in entries if entry[key] == wanted)
    assert not (unbroken["deepgamblers"] / "best-pretraining.pt").exists()


def test_reservation_learns_only_from_the_gamblers_loss(tmp_path, unbroken):
    trainer = trainer_of("deepgamblers", tmp_path)
    start = part({k: v.clone() for k, v in trainer.network.state_dict().items()}, "confidence")
    seen = {}
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda engine: seen.setdefault(
            engine.state.epoch,
            part({k: v.clone() for k, v in engine.network.state_dict().items()}, "confidence"),
        ),
    )
    trainer.run()
    assert same(seen[2], start)
    assert not same(seen[3], start)


def test_one_cosine_spans_a_stage_that_continues(tmp_path):
    trainer = trainer_of("deepgamblers", tmp_path)
    rates = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: rates.append(engine.optimizer.param_groups[0]["lr"])
    )
    trainer.run()
    n = len(trainer.data_loader)
    assert rates[::n] == pytest.approx([0.01, 0.00853553, 0.005, 0.00146447], rel=1e-5)


def test_lambda_is_part_of_the_checkpoint(unbroken):
    found = state_of(unbroken["devries"] / "last.pt")["loss"]["lambda_"].item()
    nine_steps = [0.1 / (1.01**down * 0.99 ** (9 - down)) for down in range(10)]
    assert any(found == pytest.approx(value, rel=1e-9) for value in nine_steps)


def test_frozen_parts_stay_in_evaluation_mode_without_gradients():
    network = tiny_network(confidence=HEADS["confidnet"])
    network.train_only(["confidence"])
    network.train()
    assert network.training
    assert network.confidence.training
    assert not any(m.training for m in (*network.backbone.modules(), *network.head.modules()))
    assert not any(p.requires_grad for p in network.backbone.parameters())
    parameters = network.train_only(["encoder", "confidence"])
    network.train()
    assert not any(m.training for m in network.encoder.modules())  # dropout off while it is fine-tuned
    assert len(parameters) == len([*network.encoder.parameters(), *network.confidence.parameters()])
    network.train_only(["backbone", "head"])
    network.train()
    assert all(layer.training for layer in dropout_layers(network.backbone))
    with pytest.raises(ValueError, match=r"parts to train must be some of .*'head'.* got \['tail'\]"):
        network.train_only(["tail"])
    with pytest.raises(ValueError, match=r"parts to train must be some of \['backbone', 'head'\]"):
        tiny_network().train_only(["confidence"])


def test_learned_confidence_sees_the_encoder_and_not_the_backbone():
    network = tiny_network(confidence=HEADS["confidnet"]).eval()
    images = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        before = network.outputs(images)
        for parameter in network.encoder.parameters():
            parameter.add_(0.1)
        after = network.outputs(images)
    assert torch.equal(before.logits, after.logits)
    assert not torch.equal(before.confidence_logit, after.confidence_logit)


def test_heads_of_an_efficientnet_see_what_its_last_layer_sees():
    backbone = EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=1, num_classes=2)
    network = ConfidenceClassifier(backbone, 2, confidence=ReservationHead).eval()
    with torch.no_grad():
        output = network.outputs(torch.rand(2, 1, 32, 32))
        torch.testing.assert_close(output.reservation_logit, network.confidence(output.features))
    assert output.confidence_logit is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "stage a: epochs must be positive, got 0"),
        (
            {"continues": True},
            "stage a continues with the optimizer of the stage before, and cannot change its lr",
        ),
        ({"select": "auroc"}, "stage a: select must be accuracy or loss, got 'auroc'"),
        ({"name": "a/b"}, "name of a stage must be letters, digits, _ and -, got 'a/b'"),
    ],
)
def test_a_stage_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Stage(**{"name": "a", "epochs": 1, "loss": ClassificationLoss(), "optimizer": {"lr": 1.0}, **changes})


def test_stages_that_do_not_fit(tmp_path):
    loss = ClassificationLoss()
    with pytest.raises(ValueError, match=r"at least one, of different names, got \[\]"):
        runner(tmp_path, [])
    with pytest.raises(ValueError, match=r"of different names, got \['a', 'a'\]"):
        runner(tmp_path, [Stage("a", 1, loss)] * 2)
    with pytest.raises(ValueError, match="stage a continues one that must stand before it"):
        runner(tmp_path, [Stage("a", 1, loss, continues=True)])
    with pytest.raises(ValueError, match="stage b continues .* train the same parts"):
        runner(tmp_path, [Stage("a", 1, loss), Stage("b", 1, loss, continues=True, trains=("head",))])


def runner(folder, stages, optimizer=Adam, lr_scheduler=CosineAnnealingLR):
    return StageRunner(stages, tiny_network(confidence=ConfidNetHead), folder, optimizer, lr_scheduler)


def test_adam_and_cosine_are_to_the_bit_what_torch_makes_of_them(tmp_path):
    made = runner(
        tmp_path, [Stage("a", 7, ClassificationLoss(), {"lr": 3e-4})], partial(Adam, weight_decay=0.1)
    )
    parameters = list(made.network.backbone.parameters()) + list(made.network.head.parameters())
    wanted = Adam(parameters, 3e-4, weight_decay=0.1, fused=True)
    assert made.optimizer.state_dict() == wanted.state_dict() | {
        "param_groups": [{**wanted.state_dict()["param_groups"][0], "initial_lr": 3e-4}]
    }
    assert made.scheduler.T_max == 7


def test_a_stage_has_its_own_arguments_of_the_optimizer(tmp_path):
    made = runner(tmp_path, stages_of("confidnet"), partial(SGD, lr=0.5, weight_decay=0.25, momentum=0.9))
    seen = []
    for index in range(3):
        made.enter(index)
        assert isinstance(made.optimizer, SGD)
        group = made.optimizer.param_groups[0]
        seen.append([group[name] for name in ("lr", "weight_decay", "momentum", "fused")])
    assert seen == [[0.01, 0.25, 0.9, True], [0.01, 0.25, 0.9, True], [0.001, 0.25, 0.9, True]]


@pytest.mark.parametrize(
    ("lr_scheduler", "steps"),
    [
        (partial(CosineAnnealingLR, eta_min=0.1), {"T_max": 4}),
        (partial(CosineAnnealingLR, T_max=9), {"T_max": 9}),
        (partial(OneCycleLR, max_lr=1.0), {"total_steps": 4}),
        (partial(WarmupCosineSchedule, warmup_steps=1), {"t_total": 4}),
        (partial(StepLR, step_size=3), {"step_size": 3}),
    ],
)
def test_a_schedule_spans_the_epochs_of_its_stages_unless_it_says_otherwise(tmp_path, lr_scheduler, steps):
    made = runner(tmp_path, stages_of("deepgamblers"), Adam, lr_scheduler).scheduler
    assert {name: getattr(made, name) for name in steps} == steps


@pytest.mark.parametrize(
    ("optimizer", "lr_scheduler", "message"),
    [
        (
            Adam([torch.nn.Parameter(torch.zeros(1))]),
            CosineAnnealingLR,
            "give the component _mode_: callable",
        ),
        (
            partial(Adam, lr=0.0),
            CosineAnnealingLR,
            r"stage a: learning rates .* must be positive, got \[0.0\]",
        ),
        (
            partial(Adam, weight_decay=-1.0),
            CosineAnnealingLR,
            "stage a, optimizer cannot be made: Invalid weight",
        ),
        (partial(Adam, momentum=0.9), CosineAnnealingLR, "stage a, optimizer cannot be made: .*'momentum'"),
        (len, CosineAnnealingLR, "stage a: optimizer must return an optimiser of torch, got "),
        (Adam, partial(CosineAnnealingLR, gamma=1), "stage a, lr_scheduler cannot be made: .*'gamma'"),
        (Adam, StepLR, "stage a, lr_scheduler cannot be made: .*'step_size'"),
        (
            Adam,
            ReduceLROnPlateau,
            "stage a: lr_scheduler must return a schedule of torch whose step needs no metric",
        ),
        (Adam, lambda made: None, "stage a: lr_scheduler must return a schedule .* got None"),
        (Adam, lambda made: Opaque(made), "stage a: the state of lr_scheduler does not consist of tensors"),
    ],
)
def test_what_cannot_be_trained_with_is_said_before_the_training(tmp_path, optimizer, lr_scheduler, message):
    with pytest.raises(ValueError, match=message):
        runner(tmp_path, [Stage("a", 2, ClassificationLoss())], optimizer, lr_scheduler)


class Opaque(StepLR):
    """Its state holds a function."""

    def __init__(self, optimizer):
        self.rule = str.upper
        super().__init__(optimizer, 1)


def test_what_a_later_stage_cannot_have_is_said_before_the_first(tmp_path):
    stages = [Stage("a", 1, ClassificationLoss()), Stage("b", 1, ClassificationLoss(), {"lr": -1.0})]
    with pytest.raises(ValueError, match="stage b, optimizer cannot be made: Invalid learning rate: -1"):
        runner(tmp_path, stages)
    assert runner(tmp_path, stages[:1]).current.name == "a"


def test_another_optimizer_and_schedule_resume_to_the_same_bits(tmp_path):
    other = {
        "optimizer": partial(SGD, momentum=0.9, nesterov=True),
        "lr_scheduler": partial(StepLR, step_size=1, gamma=0.5),
    }
    trainer_of("confidnet", tmp_path / "whole", **other).run()
    broken = trainer_of("confidnet", tmp_path / "broken", **other)

    def stop(engine):
        if engine.state.iteration == 11:
            raise StopError

    broken.add_event_handler(Events.ITERATION_COMPLETED, stop)
    with pytest.raises(StopError):
        broken.run()
    trainer_of("confidnet", tmp_path / "broken", seed=99, **other).run()
    last = [state_of(tmp_path / name / "last.pt") for name in ("whole", "broken")]
    assert equal(*last)
    assert "momentum_buffer" in last[0]["optimizer"]["state"][0]
    assert last[0]["optimizer"]["param_groups"][0]["lr"] == 0.001 / 4


def test_a_loss_of_logits_is_given_the_logits():
    logits, labels = torch.tensor([[2.0, 0.0], [0.5, 1.0]]), torch.tensor([0, 0])
    output = ClassifierOutput(logits=logits, features=torch.zeros(2, 1))
    plain = torch.nn.functional.cross_entropy(logits, labels)
    assert torch.equal(ClassificationLoss()(output, labels), plain)
    smoothed = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    assert torch.equal(ClassificationLoss(smoothed)(output, labels), smoothed(logits, labels))
    assert not torch.equal(ClassificationLoss(smoothed)(output, labels), plain)


def test_a_checkpoint_of_another_method(unbroken, tmp_path):
    (tmp_path / "last.pt").write_bytes((unbroken["devries"] / "last.pt").read_bytes())
    with pytest.raises(ValueError, match="belongs to another training; remove it"):
        trainer_of("deepgamblers", tmp_path).run()


def test_without_the_best_network_of_the_stage_before(unbroken, tmp_path):
    broken = trainer_of("confidnet", tmp_path)
    broken.add_event_handler(
        Events.EPOCH_COMPLETED(once=2), lambda: (tmp_path / "best-classifier.pt").unlink()
    )
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*best-classifier\.pt"):
        broken.run()
