"""A config's checks of itself, through MONAI's own workflow."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from monai.bundle import ConfigWorkflow

import monai_sf
from monai_sf import bundle
from monai_sf.benchmark.configs import fingerprint
from monai_sf.bundle.published import copy_bundle
from monai_sf.files import write_json
from monai_sf.networks.checkpoints import save_checkpoint, summarise_training
from monai_sf.results import Results

BASE = {
    "imports": ["$import monai_sf", "$import monai_sf.bundle"],
    "bundle_root": "$monai_sf.bundle.root()",
    "epochs": 3,
    "seed": 0,
    "output_dir": "runs",
    "run_dir": "$@output_dir + '/a'",
    "initialize": "$monai_sf.bundle.start()",
    "run": "$monai_sf.bundle.claim_run_dir(@run_dir, 'train')",
    "train": {"trainer": {"max_epochs": "@epochs"}},
}


@pytest.fixture
def workflow(tmp_path):
    configs = tmp_path / "some bundle" / "configs"
    configs.mkdir(parents=True)

    def make(**overrides):
        (configs / "train.yaml").write_text(yaml.safe_dump(BASE))
        (configs / "evaluate.yaml").write_text("metric: '@threshold'\n")
        made = ConfigWorkflow(
            str(configs / "train.yaml"),
            logging_file=False,
            **{"output_dir": str(tmp_path / "runs"), **overrides},
        )
        made.initialize()
        return made

    return make


def failure(error):
    """MONAI wraps what an expression raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def test_root_is_the_bundles_folder_wherever_it_is_run(workflow, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    made = workflow()
    assert made.parser.get_parsed_content("bundle_root") == str(tmp_path / "some bundle")
    assert bundle.root() == "."


def test_a_misspelt_key_is_named_with_its_neighbours_and_all_keys(workflow):
    with pytest.raises(RuntimeError) as caught:
        workflow(epochz=5)
    cause = failure(caught.value)
    assert isinstance(cause, ValueError)
    assert (
        "nothing reads the config key 'epochz' (did you mean epochs?). Keys that exist: bundle_root,"
        in str(cause)
    )


def test_keys_that_another_config_of_the_bundle_reads_are_fine(workflow):
    workflow(threshold=0.5, epochs=4)


@pytest.mark.parametrize("key", ["val_interval", "postprocessing", "train#batch_size", "train#key_metric"])
def test_keys_that_other_bundles_have_and_nothing_reads_here_are_refused(workflow, key):
    with pytest.raises(RuntimeError) as caught:
        workflow(**{key: 2})
    assert f"nothing reads the config key '{key}'" in str(failure(caught.value))


def test_another_config_in_the_same_folder_is_refused_and_the_difference_named(workflow, tmp_path):
    workflow().run()
    begun = json.loads((tmp_path / "runs" / "a" / "train.config.json").read_text())
    assert begun["epochs"] == 3
    assert "output_dir" not in begun
    workflow().run()
    (tmp_path / "runs" / "a" / "last.pt").write_text("")
    with pytest.raises(RuntimeError) as caught:
        workflow(epochs=5, seed=1).run()
    assert "another config (epochs: 3 there, 5 now; seed: 0 there, 1 now). Choose another output_dir" in str(
        failure(caught.value)
    )


def test_another_config_of_an_evaluation_costs_no_training(workflow, tmp_path):
    evaluate = {"run": "$monai_sf.bundle.claim_run_dir(@run_dir, 'evaluate')"}
    workflow(**evaluate).run()
    for name in ("results", "validation"):
        (tmp_path / "runs" / "a" / name).mkdir()
    with pytest.raises(RuntimeError) as caught:
        workflow(epochs=5, **evaluate).run()
    said = str(failure(caught.value))
    assert "another config (epochs: 3 there, 5 now). Choose another output_dir, or remove " in said
    assert "remove the folder" not in said
    removed = said.partition("or remove ")[2].removesuffix(" to evaluate again").split(", ")
    for path in removed:
        os.rmdir(path)
    workflow(epochs=5, **evaluate).run()


def test_a_network_is_used_as_it_was_trained_or_not_at_all(workflow, tmp_path):
    images = {"preprocessing": {"size": "@image_size"}, "train": {"trainer": {"x": "@preprocessing"}}}
    workflow(image_size=[32, 32], network_def={"dropout": 0.1}, **images).run()
    later = {"run": "$monai_sf.bundle.check_trained_alike(@run_dir)", "epochs": 9, **images}
    workflow(image_size=[32, 32], network_def={"dropout": 0.1}, **later).run()
    with pytest.raises(RuntimeError) as caught:
        workflow(image_size=[64, 64], network_def={"dropout": 0.2}, **later).run()
    assert str(failure(caught.value)).endswith(
        "was trained with another network or other images (image_size: [32, 32] there, [64, 64] now; "
        'network_def: {"dropout": 0.1} there, {"dropout": 0.2} now). Give the overlays and values of its '
        "training"
    )
    elsewhere = {"output_dir": str(tmp_path / "elsewhere")}  # a network that came without its run's folder
    workflow(image_size=[64, 64], network_def={"dropout": 0.2}, **elsewhere, **later).run()


def test_networks_of_other_trainings_are_no_ensemble(tmp_path):
    common = {
        "train": {"data": "@splits", "lr": "@lr"},
        "splits": "@data",
        "data": "a",
        "lr": 1,
        "study": "iid",
    }
    runs = {
        "one": {**common, "seed": 0, "mc_samples": 10},
        "two": {**common, "seed": 1, "mc_samples": 50},  # which the training does not read
        "again": {**common, "seed": 0},
        "other": {**common, "seed": 2, "data": "b", "study": "acq"},
        "cases": {**common, "seed": 3},
    }
    for name, config in runs.items():
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "train.config.json", config)
        write_json(tmp_path / name / "cases.json", {"train": 9, "sha256": "z" if name == "cases" else "a"})
    one, two, again, other, cases = (tmp_path / name for name in runs)
    bundle.check_ensemble([])
    bundle.check_ensemble([one, str(two), tmp_path / "elsewhere"])
    with pytest.raises(ValueError, match="these runs are no ensemble") as caught:
        bundle.check_ensemble([one, two, again, other, cases])
    assert [part.partition("differs from ")[2] for part in str(caught.value).split("; ")] == [
        f"{one} in nothing, not even the seed",
        f"{one} in data, study",
        f"{one} in training or validation cases",
    ]


def test_a_threshold_is_used_with_the_passes_that_it_was_chosen_with(workflow, tmp_path):
    run = Results.from_arrays(np.eye(2), [0, 1])
    run.run["config"] = {"test_time_augmentation": ["horizontal_flip", "rotate_180"], "mc_samples": 10}
    run.save(tmp_path / "results")

    def decide(csf, views, samples=10):
        check = f"$monai_sf.bundle.check_evaluated_alike({str(tmp_path / 'results' / 'run.json')!r}, {csf!r})"
        workflow(run=check, test_time_augmentation=views, mc_samples=samples).run()

    decide("TTA-PE", ["rotate_180", "horizontal_flip"], 50)
    decide("MCD-MI", [])
    for csf in (None, "MSR"):
        decide(csf, [], 50)
    with pytest.raises(RuntimeError) as caught:
        decide("TTA-PE", ["horizontal_flip"])
    assert "the threshold of TTA-PE in" in str(failure(caught.value))
    assert str(failure(caught.value)).endswith("which is ['horizontal_flip'] here: give the same")
    with pytest.raises(RuntimeError) as caught:
        decide("MCD-MI", [], 1)  # with one sample it would be 0 for all cases, and so defer none
    assert str(failure(caught.value)).endswith(
        "was chosen with mc_samples 10, which is 1 here: give the same"
    )


def test_no_case_that_was_trained_on_is_tested(tmp_path):
    splits = pd.DataFrame(
        {"case_id": list("abcd"), "label": [0, 1, 0, 1], "split": ["train", "train", "val", "iid"]}
    )
    bundle.claim_cases(tmp_path, splits[:2], "train")
    bundle.claim_cases(tmp_path, splits, "train")  # nothing was trained yet
    (tmp_path / "last.pt").write_text("")
    for stage in ("train", "evaluate"):
        bundle.claim_cases(tmp_path, splits[::-1], stage)
        bundle.claim_cases(tmp_path, splits.assign(split=["train", "train", "val", "target"]), stage)
        for wrong in (
            splits.assign(split=["train", "iid", "val", "train"]),
            splits.assign(label=[1, 1, 0, 1]),
        ):
            with pytest.raises(
                ValueError, match=r"trained on other cases \(2 of them, 1 for validation; now 2"
            ):
                bundle.claim_cases(tmp_path, wrong, stage)
    bundle.claim_cases(tmp_path / "foreign", splits, "evaluate")


def test_a_first_try_that_computed_nothing_does_not_hold_the_folder(workflow, tmp_path):
    workflow(epochs=-1).run()
    workflow(epochs=4).run()
    assert json.loads((tmp_path / "runs" / "a" / "train.config.json").read_text())["epochs"] == 4


def test_damaged_config_of_a_run(workflow, tmp_path):
    workflow().run()
    (tmp_path / "runs" / "a" / "last.pt").write_text("")
    (tmp_path / "runs" / "a" / "train.config.json").write_text("{")
    with pytest.raises(RuntimeError) as caught:
        workflow().run()
    assert "train.config.json is damaged, it is not JSON" in str(caught.value.__cause__)


def test_output_that_cannot_be_written(workflow, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError) as caught:
        workflow(output_dir=str(tmp_path / "file")).run()
    cause = caught.value
    while not isinstance(cause, OSError):
        cause = cause.__cause__
    assert "cannot write" in str(cause)
    assert str(tmp_path / "file" / "a") in str(cause)


@pytest.mark.parametrize("name", ["cases.json", "train.config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\xff", "[" * 100_000])
def test_a_damaged_file_of_a_run_is_named(workflow, tmp_path, name, content):
    splits = pd.DataFrame({"case_id": ["a"], "label": [0], "split": ["train"]})
    folder = tmp_path / "runs" / "a"
    workflow().run()
    bundle.claim_cases(folder, splits, "train")
    (folder / "last.pt").write_text("")
    (folder / name).write_text(content, encoding="latin-1")
    used = {"cases.json": lambda: bundle.claim_cases(folder, splits, "evaluate")}
    with pytest.raises((RuntimeError, ValueError)) as caught:
        used.get(name, workflow().run)()
    chain = [caught.value]
    while (chain[-1].__cause__) is not None:
        chain.append(chain[-1].__cause__)
    assert f"{name} is damaged, it " in " ".join(map(str, chain))


def test_a_complete_training_holds_its_folder_without_what_it_would_be_resumed_from(workflow, tmp_path):
    folder = tmp_path / "runs" / "a"
    splits = pd.DataFrame({"case_id": ["a", "b"], "label": [0, 1], "split": ["train", "val"]})
    workflow().run()
    bundle.claim_cases(folder, splits, "train")
    save_checkpoint(folder / "best.pt", {"network": {}})
    summarise_training(folder, {})
    with pytest.raises(RuntimeError) as caught:
        workflow(epochs=5).run()
    assert "another config (epochs: 3 there, 5 now)" in str(failure(caught.value))
    with pytest.raises(ValueError, match="trained on other cases"):
        bundle.claim_cases(folder, splits.assign(case_id=["b", "a"]), "train")
    check = "$monai_sf.bundle.check_trained_alike(@run_dir)"
    workflow(run=check).run()
    for name in ("cases.json", "best.pt"):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(b"{}")
        with pytest.raises(RuntimeError, match="check_trained_alike") as caught:
            workflow(run=check).run()
        assert str(folder / name) in str(caught.value.__cause__)
        (folder / name).write_bytes(good)


@pytest.mark.parametrize("function", [bundle.merged_config, bundle.start])
def test_outside_of_a_workflow(function):
    with pytest.raises(RuntimeError, match=r"monai\.bundle run"):
        function()


def test_shared_files_lie_under_the_config_and_under_overrides(workflow, monkeypatch, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "wiring.yaml").write_text("epochs: 1\nrounds: $@epochs + 1\nnested: {a: 1, b: '@rounds'}\n")
    monkeypatch.setattr("monai_sf.bundle.bases.SHARED", shared)
    monkeypatch.setattr("monai_sf.bundle.keys.SHARED", shared)
    made = workflow(_base_=["wiring"], nested={"a": 5}, train={"trainer": {"x": "@nested"}})
    assert made.parser.get_parsed_content("nested") == {"a": 5, "b": 4}
    assert "_base_" not in made.parser


def test_the_command_line_may_write_null_true_and_false_as_a_config_does(workflow):
    made = workflow(epochs="null", train={"trainer": {"max_epochs": "false", "names": ["null", "true"]}})
    assert made.parser["epochs"] is None
    assert made.parser["train"] == {"trainer": {"max_epochs": False, "names": ["null", "true"]}}


def test_describe_run(monkeypatch, tmp_path):
    monkeypatch.setattr("monai_sf.bundle.claims.merged_config", lambda: {"epochs": 3})
    cases = pd.DataFrame(
        {
            "case_id": ["a", "b", "c"],
            "label": [1, 0, 1],
            "label_name": ["bad", "good", "bad"],
            "source": ["rendered", "ct", "ct"],
            "data_kind": ["rendered", "real", "real"],
        }
    )
    soft = {
        "soft": {"kind": "manifestation", "target": {"texture": {"below": 3}}, "description": "Not solid"}
    }
    names = {
        "run_dir": tmp_path,
        "dataset": "d",
        "study": "soft",
        "method": "m",
        "seed": 4,
        "num_classes": 3,
        "studies": soft,
    }
    about = bundle.describe_run(cases, cases.assign(split=["iid", "train", "train"]), **names)
    assert about["class_names"] == ["good", "bad", "class 2"]  # one name an output of the network
    assert about["study_description"] == "target: Not solid (texture below 3)"
    cases.attrs["classes"] = ["good", "bad", "worse"]
    worse = bundle.describe_run(cases, cases.assign(split=["iid", "train", "train"]), **names)
    assert worse["class_names"] == ["good", "bad", "worse"]
    assert about["data_kind"] == "rendered"  # one rendered image is enough to say so
    assert about["split_counts"] == {"iid": {"bad": 1, "good": 0}, "train": {"bad": 1, "good": 1}}
    assert about["config"] == {"epochs": 3}
    assert {key: about["trained_on"][key] for key in ("train", "val")} == {"train": 2, "val": 0}
    other = bundle.describe_run(cases, cases.assign(split=["train", "iid", "train"]), **names)
    assert other["trained_on"]["sha256"] != about["trained_on"]["sha256"] == worse["trained_on"]["sha256"]
    assert about["versions"]["torch"]
    assert json.dumps(about)
    real = bundle.describe_run(cases.assign(data_kind="real"), cases.assign(split="iid"), **names)
    assert real["data_kind"] == "real"


def test_a_run_says_what_it_was_trained_with_whatever_the_evaluation_was_given(workflow, tmp_path):
    training = {
        "optimizer": {"lr": "@learning_rate"},
        "train": {"trainer": {"max_epochs": "@epochs", "with": ["@optimizer", "@batch_size"]}},
    }
    workflow(**training, learning_rate=0.5, epochs=7, batch_size=2, mc_samples=9).run()
    steps = [
        "$monai_sf.bundle.claim_run_dir(@run_dir, 'evaluate')",
        "$setattr(monai_sf, 'said', monai_sf.bundle.claims.config_of_run(@run_dir))",
        "$print(@mc_samples, @batch_size)",
    ]
    evaluation = {**training, "run": steps, "learning_rate": 0.1, "batch_size": 64, "mc_samples": 50}
    workflow(**evaluation).run()
    said = monai_sf.__dict__.pop("said")
    given = ("learning_rate", "epochs", "batch_size", "mc_samples", "seed")
    assert [said[key] for key in given] == [0.5, 7, 2, 50, 0]  # of the training all that it has read
    assert said["run"] == steps
    with pytest.raises(RuntimeError) as caught:
        workflow(**evaluation, seed=4).run()
    assert "was trained as another run (seed: 0 there, 4 now)" in str(failure(caught.value))


def test_tracking_is_accepted_and_makes_no_other_run(workflow, tmp_path, monkeypatch):
    handlers = {"train": {"trainer": {"max_epochs": "@epochs"}, "handlers": []}}
    workflow(**handlers).run()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mlflow" else 1)
    with pytest.raises(RuntimeError) as caught:
        workflow(tracking="mlflow", **handlers)
    assert "pip install 'monai-sf[mlflow]'" in str(failure(caught.value))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: 1)
    tracked = workflow(tracking="mlflow", experiment_name="mine", **handlers)
    assert tracked.parser["train#handlers"][0]["_target_"] == "MLFlowHandler"
    (tmp_path / "runs" / "a" / "last.pt").write_text("")
    tracked.run()
    begun = json.loads((tmp_path / "runs" / "a" / "train.config.json").read_text())
    assert begun["train"]["handlers"] == []
    assert "tracking_uri" not in begun
    with pytest.raises(RuntimeError) as caught:
        workflow(experiment_name="mine")
    assert "nothing reads the config key 'experiment_name'" in str(failure(caught.value))
    with pytest.raises(RuntimeError) as caught:
        workflow(tracking="mlflow", experimentname="mine")
    assert "nothing reads the config key 'experimentname'" in str(failure(caught.value))


@pytest.mark.parametrize("files", ["train.yaml", "train.yaml evaluate.yaml", "benchmark.yaml", "demo.yaml"])
def test_tracking_leaves_a_run_where_it_is(files, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: 1)
    there = copy_bundle("lung_nodule_ct", tmp_path / "lung")
    configs = [str(there / "configs" / name) for name in files.split()]

    def places(**tracking):
        made = ConfigWorkflow(configs, workflow_type="train", logging_file=False, **tracking)
        made.initialize()
        found = [made.parser.get_parsed_content("output_dir")]
        return found + [made.parser.get_parsed_content(key) for key in ("tracking_uri",) if tracking]

    (usual,) = places()
    assert places(tracking="mlflow") == [usual, f"sqlite:///{usual}/mlruns.db"]
    own = str(tmp_path / "own")
    assert places(tracking="mlflow", output_dir=own) == [own, f"sqlite:///{own}/mlruns.db"]
    assert {path.name for path in there.iterdir()} <= {"configs", "docs", "data"}  # no config of MONAI's


def test_tracking_of_a_benchmark_is_that_of_its_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: 1)
    monkeypatch.setattr("monai_sf.benchmark.run_benchmark", lambda **arguments: arguments["overrides"])
    config = Path(__file__).parents[2] / "bundles" / "chest_xray" / "configs" / "benchmark.yaml"

    def overrides(**tracking):
        made = ConfigWorkflow(
            str(config), logging_file=False, output_dir=str(tmp_path), overrides={"epochs": 1}, **tracking
        )
        made.initialize()
        return made.run()[0]

    assert overrides() == {"epochs": 1}
    found = overrides(tracking="mlflow", experiment_name="mine")
    assert found.pop("tracking_uri") == f"sqlite:///{tmp_path}/mlruns.db"  # one for all tasks
    assert found == {"epochs": 1, "tracking": "mlflow", "experiment_name": "mine"}
    assert fingerprint(found) == fingerprint({"epochs": 1})  # no other runs
