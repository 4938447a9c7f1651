"""MLflow knows what was trained with what, epoch by epoch, and how well failures are detected at the end."""

import json

import pytest
from monai.handlers import MLFlowHandler, from_engine

from helpers.toy_engines import StopError, make_evaluator, make_trainer, trainer_of

pytest.importorskip("mlflow", reason="MLflow is an extra")


@pytest.fixture
def handler(tmp_path):
    """As MONAI's tracking makes it."""

    def make(**changes):
        return MLFlowHandler(
            tracking_uri=f"sqlite:///{tmp_path}/mlruns.db",
            artifacts=None,
            output_transform=from_engine(["loss"], first=True),
            close_on_complete=True,
            **changes,
        )

    return make


@pytest.fixture
def runs(handler):
    def found(experiment):
        client = handler().client
        there = client.get_experiment_by_name(experiment)
        return client, {run.info.run_name: run for run in client.search_runs(there.experiment_id)}

    return found


def claim(folder, stage):
    folder.mkdir(exist_ok=True)
    config = {"dataset_name": "toys", "seed": 3, "epochs": "$1 + 1", "stages": [1]}
    (folder / f"{stage}.config.json").write_text(json.dumps(config))


def test_training_and_evaluation_are_logged(tmp_path, handler, runs):
    folder = tmp_path / "iid-classifier-3"
    claim(folder, "train")
    make_trainer(folder, epochs=2, train_handlers=[handler()]).run()
    claim(folder, "evaluate")
    make_evaluator(folder, val_handlers=[handler()]).run()
    client, found = runs("toys")
    train, evaluate = found["train iid-classifier-3"], found["evaluate iid-classifier-3"]
    assert {"dataset_name": "toys", "seed": "3"}.items() <= train.data.params.items()
    assert not {"epochs", "stages"} & train.data.params.keys()
    assert [f.path for f in client.list_artifacts(train.info.run_id)] == ["train.config.json"]
    history = json.loads((folder / "training.json").read_text())["history"]
    logged = client.get_metric_history(train.info.run_id, "classifier/val_loss")
    assert [(m.step, m.value) for m in logged] == [(h["epoch"], h["loss"]) for h in history]
    assert len(client.get_metric_history(train.info.run_id, "classifier/train_loss")) == 2
    rates = client.get_metric_history(train.info.run_id, "classifier/learning_rate")
    assert [rate.value for rate in rates] == pytest.approx([0.01, 0.005])  # half of a cosine
    assert {"AURC/iid/MSR", "AURC/cor/MCD-PE", "AURC/man/MSR"} <= evaluate.data.metrics.keys()
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_a_resumed_training_goes_on_in_its_mlflow_run(tmp_path, handler, runs):
    from ignite.engine import Events

    folder = tmp_path / "iid-confidnet-0"
    claim(folder, "train")
    broken = trainer_of("confidnet", folder, train_handlers=[handler(experiment_name="mine", run_name="own")])

    @broken.on(Events.ITERATION_COMPLETED(once=8))
    def stop():
        raise StopError

    with pytest.raises(StopError):
        broken.run()
    own = handler(experiment_name="mine", run_name="own")
    trainer_of("confidnet", folder, train_handlers=[own]).run()
    _, found = runs("mine")
    assert list(found) == ["own"]
    assert {name.split("/")[0] for name in found["own"].data.metrics} == {
        "classifier",
        "confidnet",
        "finetuning",
    }
