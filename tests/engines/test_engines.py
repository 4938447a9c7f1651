"""Training and evaluation: learn, resume to the same bits, say which case is at fault."""

import errno
import json
import math
import os
import shutil
import signal
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.engines import IterationEvents
from monai_sf.transforms import CorruptionSweep, corrupt
from monai_sf.transforms.randomness import case_seed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.forks import fork, status_of
from helpers.toy_engines import KINDS, make_evaluator, make_trainer, same, weights
from helpers.toy_problem import tiny_network, toy_cases, toy_dataset, toy_records
from monai_sf.data import TestBatches, case_records
from monai_sf.engines.stages import Stage
from monai_sf.files.locks import BusyError, locked
from monai_sf.handlers import CollectOutputs, thumbnails
from monai_sf.inferers import MCDropoutInferer
from monai_sf.losses import ClassificationLoss
from monai_sf.networks.distributed import working_on
from monai_sf.results import ARRAYS, ResultsError, TestSetWriter, load_results

DROPOUT_ARRAYS = ("mcd_log_softmax", "mcd_entropy", "mcd_softmax_variance", "mcd_waic")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    make_trainer(folder, epochs=6).run()
    return folder


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


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(bytes(data))


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


@pytest.fixture(scope="module")
def evaluated(unbroken, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "best.pt").write_bytes((unbroken / "best.pt").read_bytes())
    make_evaluator(folder).run()
    return folder


def test_results_hold_every_case_of_every_test_set_once(evaluated):
    results = load_results(evaluated / "results")
    names = ["iid", *(f"corruption-{k}-{s}" for k in KINDS for s in (1, 3)), "target"]
    assert list(results.test_sets) == names
    assert results.run["sha256"]["checkpoint"]
    for name, test_set in results.test_sets.items():
        assert len(test_set) == (5 if name == "target" else 7)
        assert set(test_set.arrays) == {"logits", "features", "images", *DROPOUT_ARRAYS}
        assert sorted(results.cases_of(name)["case_id"]) == sorted(
            toy_cases()["case_id"][35:] if name == "target" else toy_cases()["case_id"][28:35]
        )


def test_outputs_are_the_networks_on_the_corrupted_images(evaluated):
    """Slow and obvious: one image at a time, corrupted alone, through the loaded network."""
    results = load_results(evaluated / "results")
    network = tiny_network().eval()
    network.load_state_dict(weights(evaluated / "best.pt"))
    images = {r["case_id"]: torch.from_numpy(r["image"]) for r in make_evaluator("unused").dataset.data}
    for name, test_set in results.test_sets.items():
        for i, case_id in enumerate(results.cases_of(name)["case_id"]):
            image = images[case_id]
            if test_set.corruption:
                seed = case_seed(0, test_set.corruption, case_id)
                image = corrupt(image, test_set.corruption, test_set.severity, seeds=seed)
            with torch.no_grad():
                expected = network(image[None].float())[0]
            np.testing.assert_allclose(test_set.arrays["logits"][i], expected, rtol=1e-4, atol=1e-5)
            shown = (image[0].numpy() * 255).round()
            np.testing.assert_allclose(test_set.arrays["images"][i], shown, atol=1)


def test_evaluating_a_case_over_all_corruptions_reads_it_once(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    evaluator = make_evaluator(tmp_path, sweep=CorruptionSweep(), samples=0)
    reads, read = [], evaluator.dataset.transform

    def counted(record):
        reads.append(record["case_id"])
        return read(record)

    evaluator.dataset.transform = counted
    evaluator.run()
    assert len(load_results(tmp_path / "results").test_sets) == 1 + 25 + 1
    assert reads == list(toy_cases()["case_id"][28:])


def test_mc_dropout_differs_from_the_plain_pass(evaluated):
    arrays = load_results(evaluated / "results").test_sets["iid"].arrays
    plain = torch.from_numpy(np.array(arrays["logits"])).softmax(1).numpy()
    assert (np.abs(np.exp(arrays["mcd_log_softmax"]) - plain) > 1e-6).all()


@pytest.mark.parametrize("after", [1, 4, 7])
def test_an_interrupted_evaluation_goes_on(evaluated, tmp_path, after):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    broken = make_evaluator(tmp_path)

    def interrupt(engine):
        if engine.state.iteration == after:
            raise KeyboardInterrupt

    broken.add_event_handler(Events.ITERATION_COMPLETED, interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    with pytest.raises(FileNotFoundError, match="has not finished"):
        load_results(tmp_path / "results")
    resumed = make_evaluator(tmp_path)
    resumed.run()
    one, two = load_results(evaluated / "results"), load_results(tmp_path / "results")
    assert list(one.test_sets) == list(two.test_sets)
    for name, test_set in one.test_sets.items():
        np.testing.assert_array_equal(test_set.rows, two.test_sets[name].rows)
        for key, array in test_set.arrays.items():
            np.testing.assert_array_equal(array, two.test_sets[name].arrays[key])


def test_a_complete_evaluation_is_not_run_again(evaluated):
    evaluator = make_evaluator(evaluated)
    evaluator.add_event_handler(Events.STARTED, lambda: pytest.fail("evaluated again"))
    evaluator.run()


def interrupted(folder, after=3, **changes):
    broken = make_evaluator(folder, **changes)

    def interrupt(engine):
        if engine.state.iteration == after:
            raise KeyboardInterrupt

    broken.add_event_handler(Events.ITERATION_COMPLETED, interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.run()


def replace_best(path):
    state = torch.load(path, weights_only=True)
    torch.save({**state, "network": tiny_network(seed=77).state_dict()}, path)


def test_an_evaluation_is_of_one_checkpoint(evaluated, tmp_path):
    best = tmp_path / "best.pt"
    best.write_bytes((evaluated / "best.pt").read_bytes())
    interrupted(tmp_path)
    replace_best(best)
    with pytest.raises(
        ResultsError, match=r"results was made with .*checkpoint: \w+ there, .* give what it was made with"
    ):
        make_evaluator(tmp_path).run()
    best.write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path).run()
    for name, test_set in load_results(evaluated / "results").test_sets.items():
        logits = load_results(tmp_path / "results").test_sets[name].arrays["logits"]
        np.testing.assert_array_equal(logits, test_set.arrays["logits"])
    replace_best(best)
    with pytest.raises(ResultsError, match=r"results of another checkpoint than .*best\.pt, which was repl"):
        make_evaluator(tmp_path).run()
    (tmp_path / "results" / "run.json").unlink()
    with pytest.raises(ResultsError, match="made with something else .checkpoint: "):
        make_evaluator(tmp_path).run()
    (tmp_path / "results" / "evaluation.json").unlink()
    with pytest.raises(ResultsError, match=r"no evaluation\.json that says what"):
        make_evaluator(tmp_path).run()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inferer": MCDropoutInferer(2, precision="bfloat16")}, "precision: float32 there, bfloat16 now"),
        ({"inferer": MCDropoutInferer(3)}, "dropout_samples: 2 there, 3 now"),
        ({"inferer": MCDropoutInferer(2, seed=1)}, "dropout_seed: 0 there, 1 now"),
        (
            {"inferer": MCDropoutInferer(2, views=["horizontal_flip"])},
            r'views: \[\] there, \["horizontal_flip"\] now',
        ),
        ({"network": tiny_network(seed=5, dropout=0.3)}, r"dropout: \[0\.2\] there, \[0\.3\] now"),
        ({"corrupted_features": "float16"}, "corrupted_features: float32 there, float16 now"),
        ({"sweep": CorruptionSweep(KINDS, (1, 3), seed=1)}, "corruption_seed: 0 there, 1 now"),
        ({"sweep": CorruptionSweep(KINDS, (1, 3), modality="ct")}, "modality: null there, ct now"),
        ({"sweep": CorruptionSweep(KINDS, (1, 2))}, r"severities: \[1, 3\] there, \[1, 2\] now"),
        ({"sweep": CorruptionSweep(KINDS[:1], (1, 3))}, "corruptions: .* there, .* now"),
        ({"sweep": None}, "severities: .* there, absent now"),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_an_evaluation_goes_on_as_it_was_started(evaluated, tmp_path, changes, said):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    interrupted(tmp_path)
    for folder in (tmp_path, evaluated):
        with pytest.raises(ResultsError, match=f"results was made with something else .*{said}.*remove"):
            make_evaluator(folder, **changes).run()


def test_what_changes_no_output_may_change(evaluated):
    make_evaluator(evaluated, batch_size=3, inferer=MCDropoutInferer(2, max_batch=4), target_risk=0.2).run()


def test_outputs_that_scores_are_fitted_to_do_not_depend_on_the_samples(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())

    def val(records):
        records[0]["split"] = "val"

    def stamps():
        return {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/evaluation.json")}

    make_evaluator(tmp_path, records_changed=val).run()
    made = stamps()
    assert made["validation"].keys() == {"checkpoint", "precision"}
    shutil.rmtree(tmp_path / "results")
    make_evaluator(tmp_path, samples=3, records_changed=val).run()
    assert stamps() == {**made, "results": {**made["results"], "dropout_samples": 3}}
    inferer = MCDropoutInferer(3, precision="bfloat16")
    both = f"remove {tmp_path / 'validation'} and {tmp_path / 'results'} to evaluate again"
    with pytest.raises(ResultsError, match=both):
        make_evaluator(tmp_path, inferer=inferer, records_changed=val).run()


def test_a_checkpoint_that_is_replaced_while_it_is_evaluated_is_noticed(evaluated, tmp_path):
    best = tmp_path / "best.pt"
    best.write_bytes((evaluated / "best.pt").read_bytes())
    evaluator = make_evaluator(tmp_path)
    evaluator.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: replace_best(best))
    evaluator.run()
    ran = load_results(tmp_path / "results")
    assert ran.run["sha256"]["checkpoint"] == load_results(evaluated / "results").run["sha256"]["checkpoint"]
    with pytest.raises(ResultsError, match="results of another checkpoint"):
        make_evaluator(tmp_path).run()


def test_a_flipped_bit_of_the_checkpoint_is_not_evaluated(unbroken, tmp_path):
    for name in ("best.pt", "training.json"):
        (tmp_path / name).write_bytes((unbroken / name).read_bytes())
    flip_a_bit(tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"best\.pt is not the file .*training\.json has"):
        make_evaluator(tmp_path).run()
    assert not (tmp_path / "results").exists()


def test_evaluation_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*best\.pt: train first"):
        make_evaluator(tmp_path).run()


def test_no_worker_outlives_an_evaluation_that_cannot_read(evaluated, tmp_path):
    before, alive = set(active_children()), []
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    evaluator = make_evaluator(
        tmp_path, num_workers=2, records_changed=lambda records: records[8].update(image="no image")
    )

    @evaluator.on(Events.ITERATION_COMPLETED(once=1))
    def look():
        alive.extend(set(active_children()) - before)

    with pytest.raises(AttributeError, match="in DataLoader worker process") as held:
        evaluator.run()
    assert len(alive) == 2
    assert set(active_children()) <= before
    assert held.tb  # which holds the reader


def test_nan_image_names_the_case(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())

    def spoil(records):
        records[8]["image"] = np.full_like(records[8]["image"], np.nan)

    with pytest.raises(FloatingPointError, match="test set target: logits, .* are not finite .* case36"):
        make_evaluator(tmp_path, records_changed=spoil, sweep=None).run()


def test_nan_image_names_the_case_though_its_corruption_fails_meanwhile(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())

    def spoil(records):
        records[2]["image"] = np.full_like(records[2]["image"], np.nan)

    with pytest.raises(
        FloatingPointError, match="test set iid: logits, .* are not finite for the cases case30"
    ):
        make_evaluator(tmp_path, records_changed=spoil).run()


def test_an_error_in_writing_ends_the_evaluation_and_loses_nothing(evaluated, tmp_path, monkeypatch):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    wrote, write, seen = [], TestSetWriter.write, []

    def full(self, rows, arrays):
        if len(wrote) == 3:
            raise OSError(errno.ENOSPC, "no space left", str(self.path))
        write(self, rows, arrays)
        wrote.append((self.name, list(rows)))

    with monkeypatch.context() as patched:
        patched.setattr(TestSetWriter, "write", full)
        evaluator = make_evaluator(tmp_path)
        evaluator.add_event_handler(Events.GET_BATCH_STARTED, lambda engine: seen.append(1))
        with pytest.raises(OSError, match="no space left"):
            evaluator.run()
    assert len(seen) == 5  # the fourth batch fails while the network works on the fifth
    for name, rows in wrote:
        partial = tmp_path / "results" / f".{name}.partial"
        flags = dict(zip(np.load(partial / "rows.npy").tolist(), np.load(partial / "done.npy"), strict=True))
        assert all(flags[row] for row in rows)
    make_evaluator(tmp_path).run()
    for name, test_set in load_results(evaluated / "results").test_sets.items():
        for key, array in test_set.arrays.items():
            np.testing.assert_array_equal(
                load_results(tmp_path / "results").test_sets[name].arrays[key], array
            )


def test_features_of_corrupted_cases_in_16_bits(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path, corrupted_features="float16").run()
    one, two = load_results(evaluated / "results"), load_results(tmp_path / "results")
    said = [results.run["corrupted_features"] for results in (one, two)]
    assert said == ["float32", "float16"]
    for name, test_set in one.test_sets.items():
        for key, array in test_set.arrays.items():
            narrow = key == "features" and test_set.kind == "corruption"
            expected = array.astype(np.float16) if narrow else array
            found = two.test_sets[name].arrays[key]
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def collected(folder, narrow=(), **outputs):
    """Collect the outputs of the cases a and b, and return the writer."""
    writer = TestSetWriter(folder, np.arange(2), {"name": "blurred"})
    collect = CollectOutputs({"blurred": writer}, {"a": 0, "b": 1}, (), narrow=narrow)
    engine = Engine(lambda engine, batch: None)
    engine.state.batch = {"test_set": "blurred", "case_id": ["a", "b"]}
    engine.state.output = {"pred": {"logits": torch.zeros(2, 2), **outputs}}
    collect(engine)
    collect.close()
    return writer


@pytest.mark.parametrize("too_large", [False, True])
def test_features_that_16_bits_do_not_hold_name_the_case(tmp_path, too_large):
    features = torch.tensor([[65504.0], [65520.0 if too_large else 65519.0]])  # 65520 is rounded to infinity
    if too_large:
        message = "test set blurred: features are beyond 65504, .*corrupted_features: float32.* the cases b$"
        with pytest.raises(FloatingPointError, match=message):
            collected(tmp_path, narrow=("blurred",), features=features)
    else:
        assert collected(tmp_path, narrow=("blurred",), features=features).done.all()


@pytest.mark.parametrize("narrow", [(), ("blurred",)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_output_that_is_not_finite_is_stored(tmp_path, bad, narrow):
    lengths = {"": (2,), "C": (2, 2), "F": (2, 3)}
    shapes = {name: lengths[shape] for name, (shape, _) in ARRAYS.items() if shape in lengths}
    for name, shape in {**shapes, "a_head_s_own": (2, 1, 1)}.items():
        spoiled = torch.zeros(shape, dtype=torch.float64 if shape == (2,) else torch.float32)
        spoiled.view(-1)[-1] = bad
        if bad == -math.inf and (
            name.endswith("_log_softmax") or name == "mcd_waic"
        ):  # of a probability of 0
            assert collected(tmp_path / name, narrow, **{name: spoiled}).done.all()
            continue
        with pytest.raises(FloatingPointError, match=f"test set blurred: {name} are .* the cases b$"):
            collected(tmp_path / name, narrow, **{name: spoiled})
    both = {name: torch.full((2,), bad) for name in ("mcd_entropy", "tta_entropy")}
    message = "mcd_entropy, tta_entropy are not finite for the cases a, b$"
    with pytest.raises(FloatingPointError, match=message):
        collected(tmp_path / "both", narrow, **both)


def test_an_evaluation_says_in_which_precision_it_was(evaluated, tmp_path):
    assert load_results(evaluated / "results").run["precision"] == "float32"
    with pytest.raises(ValueError, match="device cpu is not computed in float16: take float32"):
        make_evaluator(tmp_path, inferer=MCDropoutInferer(2, precision="float16"))
    with pytest.raises(ValueError, match="corrupted_features must be float32 or float16, got 'half'"):
        make_evaluator(tmp_path, corrupted_features="half")


def test_batches_that_are_made_ahead_give_the_same_files(evaluated, tmp_path, monkeypatch):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    init = TestBatches.__init__

    def on_gpu(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self._ahead = True

    monkeypatch.setattr(TestBatches, "__init__", on_gpu)
    make_evaluator(tmp_path).run()
    files = [file.relative_to(evaluated) for file in evaluated.rglob("results/**/*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        assert (tmp_path / file).read_bytes() == (evaluated / file).read_bytes()


def test_results_of_other_cases_are_not_overwritten(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path).run()
    (tmp_path / "results" / "run.json").unlink()
    other = make_evaluator(tmp_path)
    other.cases = other.cases.assign(brightness=0.0)
    with pytest.raises(ResultsError, match="results of other cases"):
        other.run()


def test_thumbnails_keep_orientation_range_and_colour():
    letter = torch.zeros(1, 3, 4, 8)
    letter[0, 0, 0, :] = 1.0  # red bar at the top
    letter[0, 2, :, 0] = 1.0  # blue bar at the left
    picture = thumbnails(letter, 64)
    assert picture.shape == (1, 4, 8, 3)
    assert picture[0, 0, 5].tolist() == [255, 0, 0]
    assert picture[0, 3, 0].tolist() == [0, 0, 255]
    assert thumbnails(torch.full((2, 1, 128, 64), 0.5), 64).shape == (2, 64, 32)
    assert (thumbnails(torch.full((2, 1, 128, 64), 0.5), 64) == 128).all()
    assert thumbnails(torch.rand(1, 6, 8, 8), 64).shape == (1, 8, 8, 3)
    assert thumbnails(torch.rand(1, 2, 8, 8), 64).shape == (1, 8, 8)


def test_images_of_the_weakest_corruptions_are_left_out_where_there_are_too_many(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path, thumbnail_limit=2 * 7).run()  # two kinds, seven cases: one severity
    sets = load_results(tmp_path / "results").test_sets
    assert {name for name, found in sets.items() if "images" not in found.arrays} == {
        f"corruption-{kind}-1" for kind in KINDS
    }


def test_case_records():
    cases = toy_cases(4).assign(split=["train", "val", "train", "iid"])
    records = case_records(cases, "train", "/data")
    assert list(records) == [
        {"image": "/data/0.npy", "label": 0, "case_id": "case00", "split": "train"},
        {"image": "/data/2.npy", "label": 0, "case_id": "case02", "split": "train"},
    ]
    assert [r["split"] for r in case_records(cases, ["iid", "val"], "/data")] == ["val", "iid"]
    several = cases.assign(image=[["a.png", "b.png"]] * 4)
    assert case_records(several, "val", "/d")[0]["image"] == ["/d/a.png", "/d/b.png"]
    with pytest.raises(ValueError, match=r"no case is in \['target'\]; the splits are"):
        case_records(cases, "target", "/data")
    for path in ("../x.npy", "/etc/passwd", "a/../../x.npy"):
        with pytest.raises(ValueError, match=r"1 images lie outside of dataset_dir: cases \['case01'\]"):
            case_records(cases.assign(image=["a", path, "b", "c"]), ["train", "val"], "/data")
