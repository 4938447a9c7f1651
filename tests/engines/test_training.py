"""Training: learn, resume to the same bits, say which case is at fault."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset
from monai.engines import IterationEvents
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.forks import fork, status_of
from helpers.toy_engines import flip_a_bit, make_evaluator, make_trainer, same, weights
from helpers.toy_problem import tiny_network, toy_cases, toy_dataset, toy_records
from monai_sf.engines.stages import Stage
from monai_sf.files.locks import BusyError, locked
from monai_sf.losses import ClassificationLoss
from monai_sf.networks.distributed import working_on


def test_training_learns_and_leaves_its_files(unbroken):
    summary = json.loads((unbroken / "training.json").read_text())
    assert summary["best"]["accuracy"] == 1.0
    assert [entry["epoch"] for entry in summary["history"]] == [1, 2, 3, 4, 5, 6]
    first = next(e["epoch"] for e in summary["history"] if e["accuracy"] == summary["best"]["accuracy"])
    assert torch.load(unbroken / "best.pt", weights_only=True)["epoch"] == summary["best"]["epoch"] == first
    assert list((unbroken / "tensorboard").iterdir())


def test_resuming_after_an_error_gives_the_weights_of_an_unbroken_run(unbroken, tmp_path):
    class StopError(Exception):
        pass

    def stop(engine):
        if engine.state.iteration == 9:  # in the middle of the third epoch
            raise StopError

    broken = make_trainer(tmp_path, epochs=6)
    broken.add_event_handler(Events.ITERATION_COMPLETED, stop)
    with pytest.raises(StopError):
        broken.run()
    assert not broken.is_complete
    resumed = make_trainer(tmp_path, epochs=6, network=tiny_network(seed=99))
    epochs = []
    resumed.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: epochs.append(engine.state.epoch))
    resumed.run()
    assert epochs == [3, 4, 5, 6]
    for name in ("best.pt", "last.pt"):
        assert same(weights(tmp_path / name), weights(unbroken / name))
    assert (tmp_path / "training.json").read_text().split("sha256")[0] == (
        unbroken / "training.json"
    ).read_text().split("sha256")[0]


def test_resuming_after_kill_minus_nine(unbroken, tmp_path):
    def killed():
        trainer = make_trainer(tmp_path, epochs=6)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED(once=14), lambda: os.kill(os.getpid(), signal.SIGKILL)
        )
        trainer.run()

    assert status_of(fork(killed)) == -signal.SIGKILL
    make_trainer(tmp_path, epochs=6, network=tiny_network(seed=99)).run()
    assert same(weights(tmp_path / "last.pt"), weights(unbroken / "last.pt"))


def test_a_complete_training_is_not_run_again(unbroken):
    trainer = make_trainer(unbroken, epochs=6)
    trainer.add_event_handler(Events.STARTED, lambda: pytest.fail("trained again"))
    trainer.run()


def test_another_seed_gives_other_weights(unbroken, tmp_path):
    make_trainer(tmp_path, epochs=6, seed=4).run()
    assert not same(weights(tmp_path / "last.pt"), weights(unbroken / "last.pt"))


def test_every_epoch_has_its_own_order(tmp_path):
    seen = {}
    trainer = make_trainer(tmp_path, epochs=3)

    @trainer.on(Events.ITERATION_COMPLETED)
    def remember(engine):
        seen.setdefault(engine.state.epoch, []).extend(engine.state.batch["case_id"])

    trainer.run()
    assert seen[1] != seen[2] != seen[3] != seen[1]


def test_nan_loss_names_the_cases(tmp_path):
    records = toy_records(toy_cases()[:28], "train")
    records[5]["image"] = np.full_like(records[5]["image"], np.nan)
    broken = Dataset(records, toy_dataset(toy_cases()[:1], "train").transform)
    with pytest.raises(
        FloatingPointError, match=r"loss is nan in epoch 1, iteration \d+; .*case05.*learning rate"
    ):
        make_trainer(tmp_path, dataset=broken).run()


def test_a_nan_that_is_read_late_is_still_no_network(tmp_path):
    records = toy_records(toy_cases()[:28], "train")
    records[5]["image"] = np.full_like(records[5]["image"], np.nan)
    trainer = make_trainer(
        tmp_path, dataset=Dataset(records, toy_dataset(toy_cases()[:1], "train").transform)
    )
    trainer.losses.behind = 8  # as on a GPU: later than the epoch's three batches
    batches = {}
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: batches.setdefault(engine.state.iteration, engine.state.batch["case_id"]),
    )
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1") as caught:
        trainer.run()
    first = min(i for i, cases in batches.items() if "case05" in cases)
    assert f"iteration {first}; the batch holds the cases {', '.join(batches[first])}." in str(caught.value)
    assert len(batches) == 3
    assert not list(tmp_path.glob("*.pt"))


def spoil_gradient(trainer, epoch, value=np.nan):
    """Let the gradient of an epoch's last step overflow, whose loss is finite."""

    def spoil(engine):
        if engine.state.iteration == epoch * engine.state.epoch_length:
            next(trainer.network.parameters()).grad.fill_(value)

    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, spoil)


@pytest.mark.parametrize("value", [np.nan, 1e30], ids=["weights", "optimizer"])
def test_a_network_that_is_not_finite_is_not_saved_and_the_former_one_is_kept(tmp_path, value):
    """A gradient of 1e30 leaves finite weights, and a second moment of Adam that stops them for ever."""
    trainer = make_trainer(tmp_path, epochs=3)
    spoil_gradient(trainer, 2, value)
    bad = r"network\.backbone" if value != 1e30 else r"optimizer\.state"
    with pytest.raises(
        FloatingPointError, match=rf"end of epoch 2, stage classifier: .*{bad}.*learning rate"
    ):
        trainer.run()
    for name in ("last.pt", "best.pt"):
        assert torch.load(tmp_path / name, weights_only=True)["epoch"] == 1
        assert all(tensor.isfinite().all() for tensor in weights(tmp_path / name).values())
    make_trainer(tmp_path, epochs=3, network=tiny_network(seed=99)).run()
    make_trainer(tmp_path / "whole", epochs=3).run()
    assert same(weights(tmp_path / "last.pt"), weights(tmp_path / "whole" / "last.pt"))


def test_nothing_is_saved_where_the_validation_loss_is_not_finite(tmp_path):
    held_out = toy_dataset(toy_cases()[28:], "val")
    held_out.data[5]["image"][:] = np.nan
    with pytest.raises(
        FloatingPointError, match=r"end of epoch 1, .* the loss of the validation cases is \(nan"
    ):
        make_trainer(tmp_path, epochs=1, validation_dataset=held_out).run()
    assert not list(tmp_path.glob("*.pt"))


def scalars_of(folder):
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_losses_that_are_read_late_are_the_same(unbroken, tmp_path):
    trainer = make_trainer(tmp_path, epochs=6)
    trainer.losses.behind = 2
    trainer.run()
    assert same(weights(tmp_path / "last.pt"), weights(unbroken / "last.pt"))
    found = scalars_of(tmp_path)
    assert found == scalars_of(unbroken)
    assert [step for step, _ in found["train_loss"]] == [*range(1, 19)]
    last = [value for step, value in found["train_loss"] if step > 15]
    assert trainer.losses.mean == pytest.approx(sum(last) / 3, rel=1e-6)
    assert [step for step, _ in found["accuracy"]] == [1, 2, 3, 4, 5, 6]


def test_checkpoint_of_another_network_or_a_damaged_one(tmp_path):
    make_trainer(tmp_path, epochs=1).run()
    (tmp_path / "training.json").unlink()
    other = make_trainer(tmp_path, epochs=1, network=tiny_network(filters=8))
    with pytest.raises(ValueError, match=r"last\.pt is a checkpoint of another network"):
        other.run()
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last\.pt is not the file that the training wrote"):
        make_trainer(tmp_path, epochs=2).run()
    (tmp_path / "checkpoints.json").unlink()
    with pytest.raises(ValueError, match=r"last\.pt is no readable checkpoint"):
        make_trainer(tmp_path, epochs=2).run()
    torch.save({"network": {}, "epoch": 1}, last)
    with pytest.raises(ValueError, match="belongs to another training"):
        make_trainer(tmp_path, epochs=2).run()


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_flipped_bit_is_no_other_network(tmp_path, name):
    broken = make_trainer(tmp_path, epochs=2)
    broken.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.run()
    flip_a_bit(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} is not the file that the training wrote"):
        make_trainer(tmp_path, epochs=2).run()
    assert not (tmp_path / "training.json").exists()


def test_the_next_stage_starts_from_the_network_that_the_stage_before_wrote(tmp_path):
    stages = [Stage(name, 1, ClassificationLoss(), {"lr": 0.01}) for name in ("one", "two")]
    trainer = make_trainer(tmp_path, stages=stages)

    def damage(engine):
        if engine.state.epoch == 1:
            flip_a_bit(tmp_path / "best-one.pt")

    trainer.add_event_handler(Events.EPOCH_COMPLETED, damage)
    with pytest.raises(ValueError, match=r"best-one\.pt is not the file that the training wrote"):
        trainer.run()


def test_a_network_from_elsewhere_is_not_trained_over(unbroken, tmp_path):
    (tmp_path / "best.pt").write_bytes((unbroken / "best.pt").read_bytes())
    with pytest.raises(ValueError, match=r"best\.pt exists, .* would be overwritten"):
        make_trainer(tmp_path, epochs=1).run()
    assert (tmp_path / "best.pt").read_bytes() == (unbroken / "best.pt").read_bytes()


def test_two_trainings_of_one_run_are_kept_apart(tmp_path):
    def refused(engine):
        with (
            pytest.raises(BusyError, match=f"busy .*process {os.getpid()} on"),
            locked(tmp_path / ".lock", "busy"),
        ):
            pass

    trainer = make_trainer(tmp_path, epochs=1)
    trainer.add_event_handler(Events.EPOCH_STARTED, refused)
    trainer.run()
    assert not (tmp_path / ".lock").exists()


def test_a_second_process_says_that_the_first_works_on_the_run(unbroken, tmp_path):
    (tmp_path / "best.pt").write_bytes((unbroken / "best.pt").read_bytes())

    def second():
        said = f"another process works on {tmp_path}: wait.*process {os.getppid()} on"
        for make in (make_trainer, make_evaluator):
            with pytest.raises(BusyError, match=said):
                make(tmp_path).run()

    with working_on(tmp_path):
        assert status_of(fork(second)) == 0
    assert not (tmp_path / "results").exists()


def test_numbers_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        make_trainer(tmp_path, batch_size=0)
    with pytest.raises(
        ValueError,
        match=r"the stages have 3 together \(3 classifier\): leave it out and set theirs, in .* epochs,",
    ):
        make_trainer(tmp_path, max_epochs=4)


def test_a_last_batch_of_one_case_is_left_out(tmp_path):
    trainer = make_trainer(tmp_path, epochs=1, dataset=toy_dataset(toy_cases()[:28], "train"))
    assert len(trainer.data_loader) == 3  # 28 = 3 * 9 + 1
    sizes = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: sizes.append(len(e.state.batch["label"])))
    trainer.run()
    assert sizes == [9, 9, 9]
