"""The lung nodule bundle end to end, shrunk: prepare, train, evaluate, table, report, inference."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export

from helpers.forks import fork, status_of
from helpers.tiny_bundle import accuracy_and_majority, tiny_lung
from monai_sf.data.errors import root_cause
from monai_sf.results import Results, load_results
from monai_sf.tables import collect

BUNDLE = Path(__file__).parents[2] / "bundles" / "lung_nodule_ct"
CONFIGS = BUNDLE / "configs"

#: few patients, few corruptions, few epochs: seconds instead of minutes
TINY = tiny_lung(3, epochs=5, batch_size=16, mc_samples=3, severities=[1, 3])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("lung")
    (root / "tiny.yaml").write_text(TINY)
    (root / "data").mkdir()
    return root


def run(folders, files, out="runs", **overrides):
    workflow = ConfigWorkflow(
        [str(CONFIGS / name) if "/" not in name else name for name in files],
        workflow_type="train" if len(files) < 4 else "infer",
        logging_file=str(CONFIGS / "logging.conf"),
        dataset_dir=str(folders / "data"),
        output_dir=str(folders / out),
        **overrides,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


@pytest.fixture(scope="module")
def trained(folders):
    tiny = str(folders / "tiny.yaml")
    run(folders, ["train.yaml", "small.yaml", tiny], study="texture")
    run(folders, ["train.yaml", "evaluate.yaml", "small.yaml", tiny], study="texture")
    run(folders, ["train.yaml", "small.yaml", tiny])
    run(folders, ["train.yaml", "evaluate.yaml", "small.yaml", tiny])
    return folders / "runs"


@pytest.mark.e2e
@pytest.mark.parametrize("files", [["train.yaml"], ["train.yaml", "evaluate.yaml"], ["prepare.yaml"]])
def test_a_misspelt_folder_is_an_error_and_nothing_is_rendered(tmp_path, files):
    (tmp_path / "data").mkdir()
    for name, error in (("dta", "dta is not there: give the folder"), ("data", "no DICOM file of LIDC-IDRI")):
        workflow = ConfigWorkflow(
            [str(CONFIGS / file) for file in files],
            logging_file=False,
            dataset_dir=str(tmp_path / name),
            output_dir=str(tmp_path / "runs"),
        )
        workflow.initialize()
        with pytest.raises(RuntimeError) as caught:
            workflow.run()
        assert error in str(root_cause(caught.value))
    assert not (tmp_path / "dta").exists()
    assert not list((tmp_path / "data").iterdir())


def test_the_demo_asks_for_rendered_images_and_makes_its_folder(tmp_path):
    workflow = ConfigWorkflow(
        str(CONFIGS / "demo.yaml"), logging_file=False, dataset_dir=str(tmp_path / "data")
    )
    workflow.initialize()
    workflow.parser.get_parsed_content("phantom")
    assert (tmp_path / "data").is_dir()
    assert workflow.parser["overrides"] == {"rendered": True, "target_risk": 0.25}


@pytest.mark.e2e
def test_results_of_two_studies(trained):
    iid = load_results(trained / "iid-confidnet-0" / "results")
    texture = load_results(trained / "texture-confidnet-0" / "results")
    assert list(iid.test_sets) == ["iid", "corruption-brightness_up-1", "corruption-brightness_up-3"]
    assert list(texture.test_sets) == ["iid", "target"]
    assert texture.test_sets["target"].kind == "manifestation"
    assert (texture.cases_of("target")["texture"] < 3).all()
    assert (texture.cases_of("iid")["texture"] >= 3).all()
    for results in (iid, texture):
        assert results.run["data_kind"] == "rendered"
        assert set(results.cases["source"]) == {"rendered"}
        assert results.run["config"]["epochs"] == 5
        assert results.run["split_counts"]["train"]["benign"] > 0
        for test_set in results.test_sets.values():
            softmax = np.exp(np.array(test_set.arrays["mcd_log_softmax"]))
            np.testing.assert_allclose(softmax.sum(1), 1, rtol=1e-5)
            assert test_set.arrays["images"].shape[1:] == (48, 48)
    assert not set(texture.cases_of("iid")["group"]) & set(texture.cases_of("target")["group"])


@pytest.mark.e2e
def test_the_network_has_learned(trained):
    accuracy, majority = accuracy_and_majority(load_results(trained / "iid-confidnet-0" / "results"), "iid")
    assert accuracy > majority + 0.3 * (1 - majority)


@pytest.mark.e2e
def test_same_seed_same_results(trained, folders):
    tiny = str(folders / "tiny.yaml")
    run(folders, ["train.yaml", "small.yaml", tiny], out="again")
    run(folders, ["train.yaml", "evaluate.yaml", "small.yaml", tiny], out="again")
    one = load_results(trained / "iid-confidnet-0" / "results")
    two = load_results(folders / "again" / "iid-confidnet-0" / "results")
    for name, test_set in one.test_sets.items():
        for key, array in test_set.arrays.items():
            np.testing.assert_array_equal(array, two.test_sets[name].arrays[key])


@pytest.mark.e2e
def test_another_config_in_the_same_folder_is_refused(trained, folders):
    with pytest.raises(RuntimeError) as caught:
        run(folders, ["train.yaml", "small.yaml", str(folders / "tiny.yaml")], epochs=3, compile=True)
    said = "started with another config (compile: false there, true now; epochs: 5 there, 3 now)"
    assert said in str(caught.value.__cause__)


@pytest.mark.e2e
def test_table_and_report(trained, folders):
    from monai_sf.report import build_report
    from monai_sf.tables import write_tables

    runs = [trained / f"{study}-confidnet-0" / "results" for study in ("iid", "texture")]
    table = pd.read_csv(write_tables(runs, folders / "tables", n_resamples=0)["csv"])
    assert list(table["csf"].unique()) == ["MSR", "PE", "MCD-MSR", "MCD-PE", "MCD-EE", "ConfidNet"]
    assert list(table["group"].unique()) == ["iid", "cor", "man"]
    assert (table["mean"] > 0).all()
    page = build_report(runs, folders / "report.html", max_points=60).read_text()
    assert "Rendered images, not CT" in page


@pytest.mark.e2e
def test_inference_of_single_images(trained, folders):
    some = sorted((folders / "data" / "rendered").iterdir())
    patient = next(p for p in some if p.is_dir())
    workflow = ConfigWorkflow(
        [str(CONFIGS / "inference.json"), str(CONFIGS / "small.yaml"), str(folders / "tiny.yaml")],
        workflow_type="infer",
        logging_file=str(CONFIGS / "logging.conf"),
        dataset_dir=str(patient),
        run_dir=str(trained / "iid-confidnet-0"),
        output=str(folders / "predictions.csv"),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    table = pd.read_csv(folders / "predictions.csv")
    assert len(table) == len(list(patient.glob("*.npy")))
    assert set(table["class"]) <= {"benign", "malignant"}
    assert table["MSR"].between(0.5, 1).all()


@pytest.mark.e2e
def test_two_seeds_are_an_ensemble_in_tables_and_inference(trained, folders):
    files = ["train.yaml", "small.yaml", str(folders / "tiny.yaml")]
    run(folders, files, out="more", seed=1)
    run(folders, [files[0], "evaluate.yaml", *files[1:]], out="more", seed=1)
    seeds = [trained / "iid-confidnet-0", folders / "more" / "iid-confidnet-1"]
    ensemble = Results.ensemble([load_results(folder / "results") for folder in seeds])
    assert ensemble.run["config"]["split_seed"] == 0
    assert "seed" not in ensemble.run["config"]
    cells = collect(seeds, n_resamples=0).cells
    assert set(cells.loc[cells["csf"] == "DE-MSR", "members"]) == {"0 1"}
    patient = next(p for p in sorted((folders / "data" / "rendered").iterdir()) if p.is_dir())
    workflow = ConfigWorkflow(
        [str(CONFIGS / "inference.json"), str(CONFIGS / "small.yaml"), str(folders / "tiny.yaml")],
        workflow_type="infer",
        logging_file=str(CONFIGS / "logging.conf"),
        dataset_dir=str(patient),
        output_dir=str(folders / "more"),
        ensemble=[str(folder) for folder in seeds],
    )
    workflow.initialize()
    workflow.run()
    table = pd.read_csv(folders / "more" / "ensemble.csv")
    assert len(table) == len(list(patient.glob("*.npy")))
    scores = ["DE-MSR", "DE-PE", "DE-EE", "DE-MI"]
    assert list(table.columns) == ["case_id", "prediction", "class", *scores, "defer"]
    assert table["DE-MSR"].between(0.5, 1).all()


@pytest.mark.e2e
def test_export_to_torchscript_gives_the_logits_of_the_trained_network(trained, folders):
    checkpoint = trained / "iid-confidnet-0" / "best.pt"
    configs = [str(CONFIGS / "inference.json"), str(CONFIGS / "small.yaml"), str(folders / "tiny.yaml")]
    ckpt_export(
        net_id="network_def",
        filepath=str(folders / "model.ts"),
        ckpt_file=str(checkpoint),
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=configs,
        key_in_ckpt="network",
    )
    parser = ConfigParser()
    parser.read_config(configs)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["network"])
    images = torch.rand(3, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(folders / "model.ts")(images), network(images))


@pytest.mark.e2e
def test_kill_minus_nine_in_training_then_the_same_command(trained, folders):
    files = ["train.yaml", "small.yaml", str(folders / "tiny.yaml")]
    last = folders / "killed" / "iid-confidnet-0" / "last.pt"

    def kill():
        while not last.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    def killed():
        threading.Thread(target=kill, daemon=True).start()
        run(folders, files, out="killed")

    assert status_of(fork(killed)) == -signal.SIGKILL
    assert not (last.parent / "training.json").exists()
    run(folders, files, out="killed")
    one = json.loads((trained / "iid-confidnet-0" / "training.json").read_text())
    two = json.loads((last.parent / "training.json").read_text())
    assert one == two  # the hash of the best weights included
