"""In a step of training nobody asks the device for a value, and no two devices meet."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset

from helpers.no_waiting import META, NobodyWaits
from helpers.toy_engines import HEADS, StopError, make_evaluator, make_trainer, stages_of, trainer_of
from helpers.toy_problem import tiny_network
from monai_sf.networks import BACKBONES, ConfidenceClassifier, backbone

STAGES = [(method, i) for method in HEADS for i in range(len(stages_of(method)))]


def run_watched(trainer, steps=2):
    """Run some steps of a training, and as many of its validation, in which nobody may wait."""
    trainer.losses.behind = 99  # they are read after the steps that are looked at
    for engine in (trainer, trainer.progress.validator):
        with ExitStack() as watch:

            def stop(engine, watch=watch):
                watch.close()
                if engine.state.iteration == steps:
                    raise StopError

            def begin(engine, watch=watch):
                watch.enter_context(NobodyWaits(engine.state.device))

            engine.add_event_handler(Events.ITERATION_STARTED, begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, stop)
            with pytest.raises(StopError):
                engine.run()


def cases_of(shape, count=4):
    """Images as they are read: bytes in main memory."""
    image = torch.zeros(shape, dtype=torch.uint8)
    return Dataset([{"image": image, "label": i % 2, "case_id": f"case{i}"} for i in range(count)])


@pytest.mark.parametrize(("method", "stage"), STAGES)
def test_no_step_of_any_stage_waits_for_a_device(tmp_path, method, stage):
    one = replace(stages_of(method)[stage], continues=False, optimizer={"lr": 0.01})
    cases = cases_of((1, 16, 16))
    network = tiny_network(confidence=HEADS[method])
    run_watched(
        make_trainer(
            *(tmp_path, one.epochs, network, cases, [one]),
            device=META,
            validation_dataset=cases,
            batch_size=2,
        )
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_no_step_of_a_published_network_waits_for_a_device(tmp_path, name):
    with META:  # costs neither memory nor time
        network = ConfidenceClassifier(backbone(name, in_channels=3, num_classes=2, dropout=0.1), 2)
    cases = cases_of((3, 32, 32))
    run_watched(
        make_trainer(*(tmp_path, 1, network, cases), device=META, validation_dataset=cases, batch_size=2),
        steps=1,
    )


@pytest.mark.parametrize("method", HEADS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_on_a_cpu_asks_for_a_value(tmp_path, method, precision):
    run_watched(trainer_of(method, tmp_path, precision=precision))


def test_no_batch_of_an_evaluation_is_waited_for(tmp_path):
    evaluator = make_evaluator(tmp_path)
    batch = {"image": torch.zeros(2, 1, 16, 16, device=META), "label": torch.tensor([0, 1])}
    with NobodyWaits(META):
        _, labels, _, _ = evaluator.prepare_batch(
            {**batch, "case_id": ["a", "b"], "plain": False}, META, evaluator.non_blocking
        )
    assert labels.device == META


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", HEADS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_no_step_on_a_gpu_waits(tmp_path, method, precision):
    trainer = trainer_of(method, tmp_path, precision=precision, device=torch.device("cuda"))
    trainer.losses.behind = 99
    steps = []

    def begin(engine):
        if steps:  # the first one loads kernels
            torch.cuda.set_sync_debug_mode("error")

    def end(engine):
        torch.cuda.set_sync_debug_mode("default")
        steps.append(engine.state.iteration)
        if len(steps) == 3:
            raise StopError

    trainer.add_event_handler(Events.ITERATION_STARTED, begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, end)
    try:
        with pytest.raises(StopError):
            trainer.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
