"""Every bundle end to end on its phantom, shrunk."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata
from monai.transforms import Randomizable
from PIL import Image

from helpers.image_files import dicom
from helpers.tiny_bundle import TINY_NETWORK, accuracy_and_majority
from monai_sf.bundle.export import export_run
from monai_sf.data.errors import root_cause
from monai_sf.datasets import STUDIES, find_studies, in_target, study_description
from monai_sf.datasets.phantom import write_phantom
from monai_sf.datasets.preflight import PreflightError
from monai_sf.prediction.evaluations import stored_promise
from monai_sf.results import load_results
from monai_sf.scores import CSFS
from monai_sf.tables.judge import available_csfs

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = ("dermoscopy", "chest_xray", "fc_microscopy", "lung_nodule_ct", "pneumonia")
IMAGES_MADE = ("lung_nodule_ct", "pneumonia")  # by the run itself

#: seconds instead of minutes, and enough to learn what the phantoms' classes look like
TINY = (
    TINY_NETWORK
    + """
epochs: {epochs}
learning_rate: 0.01
cache_rate: 1.0
confidnet_epochs: 1
mc_samples: 2
corruptions: [brightness_up]
severities: [1, 3]
"""
)

EPOCHS = {"dermoscopy": 4, "chest_xray": 10, "fc_microscopy": 16, "lung_nodule_ct": 2, "pneumonia": 4}


def write_data(name, folder):
    """Write a small data set in the published layout."""
    if name != "pneumonia":
        return write_phantom(name, folder)
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 80), ("val", 20), ("test", 20)):
        label = np.arange(count) % 2
        images = generator.normal(80, 20, (count, 28, 28))
        images[label == 1, 4:14, 4:14] += 120  # a spot that shows where up is
        arrays[f"{split}_images"] = images.clip(0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = label.astype(np.uint8)[:, None]
    folder.mkdir()
    np.savez(folder / "pneumoniamnist.npz", **arrays)
    return folder


class Bundle:
    def __init__(self, name, root):
        self.name, self.root = name, root
        self.configs = BUNDLES / name / "configs"
        self.data = write_data(name, root / "data")
        channels = yaml.safe_load((self.configs / "train.yaml").read_text())["network_def"]["backbone"]
        (root / "tiny.yaml").write_text(TINY.format(channels=channels["in_channels"], epochs=EPOCHS[name]))

    def workflow(self, *files, kind="train", **overrides):
        if self.name == "lung_nodule_ct":  # the phantom holds the CT of some patients
            overrides.setdefault("missing", "drop")
        workflow = ConfigWorkflow(
            [str(self.configs / name) for name in files]
            + ([] if kind is None else [str(self.root / "tiny.yaml")]),
            workflow_type=kind,
            logging_file=str(self.configs / "logging.conf"),
            **{"dataset_dir": str(self.data), "output_dir": str(self.root / "runs"), **overrides},
        )
        workflow.initialize()
        return workflow

    def run(self, *files, **overrides):
        workflow = self.workflow(*files, **overrides)
        workflow.run()
        workflow.finalize()
        return workflow


@pytest.fixture(scope="module", params=NAMES)
def bundle(request, tmp_path_factory):
    return Bundle(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def trained(bundle):
    study = find_studies(bundle.name)[-1].name
    for files in (["train.yaml"], ["train.yaml", "evaluate.yaml"]):
        bundle.run(*files, "small.yaml", study=study, image_cache=str(bundle.root / "images"))
    return bundle, bundle.root / "runs" / f"{study}-confidnet-0"


def network_data_format(name):
    return json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())["network_data_format"]


@pytest.mark.e2e
def test_prepare(bundle, capsys):
    bundle.run("prepare.yaml", kind=None)
    printed = capsys.readouterr().out
    for study in find_studies(bundle.name):
        assert re.search(rf"^study {study.name} .*train \d+", printed, re.M), printed
    assert not (bundle.root / "runs" / "iid-confidnet-0").exists()


@pytest.mark.e2e
def test_results_are_those_of_the_published_layout(trained):
    bundle, run_dir = trained
    results = load_results(run_dir / "results")
    if bundle.name == "pneumonia":  # it has no target domain, and its splits are the published ones
        assert (results.run["data_kind"], results.run["class_names"]) == ("real", ["normal", "pneumonia"])
        assert list(results.test_sets) == ["iid", "corruption-brightness_up-1", "corruption-brightness_up-3"]
        assert results.cases_of("iid")["image"].str.startswith("pneumoniamnist/test/").all()
        return
    study = STUDIES[bundle.name][-1]
    assert results.run["data_kind"] == "phantom"
    assert results.run["study_description"] == study_description(study)
    assert list(results.test_sets) == ["iid", "target"]
    assert results.test_sets["target"].kind == study.kind
    target = results.cases_of("target")
    assert in_target(study, target).all()
    assert not in_target(study, results.cases_of("iid")).any()
    assert not set(results.cases_of("iid")["group"]) & set(target["group"])
    arrays = results.test_sets["iid"].arrays
    assert {"confidence_logit", "mcd_log_softmax", "tta_log_softmax", "features"} <= set(arrays)
    for mean in ("mcd_log_softmax", "tta_log_softmax"):
        np.testing.assert_allclose(np.exp(arrays[mean]).sum(1), 1, rtol=1e-5)


@pytest.mark.e2e
def test_images_are_kept_on_disk_by_training_and_evaluation(trained):
    bundle, run = trained
    kept = list((bundle.root / "images").rglob("*.image"))
    seen = json.loads((run / "cases.json").read_text())
    tested = [len(load_results(run / part).cases) for part in ("results", "calibration")]
    assert len(kept) == seen["train"] + seen["val"] + sum(tested)
    assert "image_cache" not in json.loads((run / "train.config.json").read_text())


@pytest.mark.e2e
def test_datasets_give_bytes(trained):
    bundle, run = trained
    # without small.yaml, whose crop of nodules needs float32
    made = {"slice_offsets": [0]} if bundle.name == "lung_nodule_ct" else {}
    study = run.name.removesuffix("-confidnet-0")
    parser = bundle.workflow("train.yaml", "evaluate.yaml", study=study, **made).parser
    for key in ("train#dataset", "validate#dataset", "dataset"):
        assert parser.get_parsed_content(key)[0]["image"].dtype in (torch.uint8, torch.uint16), key


@pytest.mark.e2e
def test_the_network_has_learned(trained):
    bundle, run_dir = trained
    if bundle.name == "lung_nodule_ct":  # five patients are tested; see test_lung_nodule_ct.py
        return
    accuracy, majority = accuracy_and_majority(load_results(run_dir / "results"), "iid")
    assert accuracy > majority + 0.3 * (1 - majority)


@pytest.mark.e2e
def test_scores_are_fitted_and_are_columns_of_the_inference(trained, tmp_path):
    bundle, run_dir = trained
    results = load_results(run_dir / "results")
    training = load_results(run_dir / "training")
    claimed = json.loads((run_dir / "cases.json").read_text())
    assert len(training.test_sets["train"]) == claimed["train"]
    fitted = [csf for csf in available_csfs(results) if CSFS[csf].fit is not None]
    assert {"T-MSR", "MDS", "kNN"} <= set(fitted) <= set(results.run["thresholds"]["csfs"])
    pattern = {"fc_microscopy": "*_w1.png", "pneumonia": "*.png"}.get(bundle.name, "*.[jn]p[gy]")
    folder = sorted(bundle.data.rglob(pattern))[0].parent
    overrides = {"dataset_dir": str(folder), "run_dir": str(run_dir), "output": str(tmp_path / "p.csv")}
    bundle.run("inference.json", "small.yaml", kind="infer", csf="MDS", **overrides)
    table = pd.read_csv(tmp_path / "p.csv")
    assert set(fitted) <= set(table)
    metadata = json.loads((BUNDLES / bundle.name / "configs" / "metadata.json").read_text())
    assert set(table) & set(CSFS) <= set(metadata["confidence_scores"])
    assert (
        table["defer"] == ~(table["MDS"] >= stored_promise(run_dir / "results/run.json", "MDS").threshold)
    ).all()


@pytest.mark.e2e
def test_scores_are_fitted_to_all_training_cases_without_augmentation(bundle):
    parser = bundle.workflow("train.yaml", "evaluate.yaml", "small.yaml").parser
    dataset, splits = (parser.get_parsed_content(key) for key in ("dataset", "splits"))
    read = [record["case_id"] for record in dataset.data if record["split"] == "train"]
    assert read == list(splits["case_id"][splits["split"] == "train"])
    assert len(dataset) == len(splits)
    assert not [one for one in dataset.transform.flatten().transforms if isinstance(one, Randomizable)]


@pytest.mark.e2e
def test_pictures_stand_upright_and_have_their_channels(trained):
    bundle, run_dir = trained
    results = load_results(run_dir / "results")
    cases, images = results.cases_of("iid"), results.test_sets["iid"].arrays["images"]
    upright = transposed = 0.0
    for name, picture in zip(cases["image"], np.array(images, float), strict=True):
        if bundle.name == "lung_nodule_ct":
            window = (np.load(bundle.data / name)[8:56, 8:56] + 1000.0) / 1400
            expected = (np.clip(window, 0, 1) * 255).round()
        else:
            first = name if isinstance(name, list) else [name]
            shape = (picture.shape[1], picture.shape[0])
            opened = [Image.open(bundle.data / n).resize(shape, Image.Resampling.BILINEAR) for n in first[:3]]
            expected = np.stack([np.asarray(one, float) for one in opened], -1).squeeze()
        upright += np.abs(picture - expected).mean()
        transposed += np.abs(np.swapaxes(picture, 0, 1) - expected).mean()
    assert upright < 0.3 * transposed


@pytest.mark.e2e
def test_the_report_run_makes_page_and_tables(trained, capsys):
    bundle, run_dir = trained
    if bundle.name != "fc_microscopy":  # the config is one line; six channels are the odd case
        return
    workflow = bundle.workflow("report.yaml", kind=None, max_points=60)
    workflow.run()
    page = (run_dir.parent / "report.html").read_text()
    assert "Made-up images" in page or "phantom" in page.lower()
    printed = capsys.readouterr().out
    assert "AURC in per cent" in printed
    assert "report.html" in printed
    table = pd.read_csv(run_dir.parent / "tables" / "table.csv")
    assert set(table["group"]) == {"iid", "acq"}


@pytest.mark.e2e
def test_inference_without_labels_and_without_the_training(trained, tmp_path):
    bundle, run_dir = trained
    pattern = {"fc_microscopy": "*_w1.png", "pneumonia": "*.png"}.get(bundle.name, "*.[jn]p[gy]")
    folder = sorted(bundle.data.rglob(pattern))[0].parent
    overrides = {"dataset_dir": str(folder), "run_dir": str(run_dir), "output": str(tmp_path / "p.csv")}
    workflow = bundle.workflow("inference.json", "small.yaml", kind="infer", **overrides)
    assert workflow.check_properties() == []
    workflow.run()
    table = pd.read_csv(tmp_path / "p.csv")
    count = len(list(folder.rglob(pattern)))
    assert len(table) == count > 0
    assert table["MSR"].between(0, 1).all()
    classes = ConfigParser.load_config_file(str(bundle.configs / "inference.json"))["class_names"]
    assert isinstance(classes, str) or set(table["class"]) <= set(classes)
    if bundle.name == "lung_nodule_ct":  # the scores of views need those of the evaluation
        bundle.run("inference.json", "small.yaml", **{**overrides, "csf": "TTA-MSR"})
        views = pd.read_csv(tmp_path / "p.csv")
        assert (views["TTA-MSR"] != table["MSR"]).any()
        overrides |= {"csf": "TTA-MSR", "test_time_augmentation": ["rotate_90"]}
        with pytest.raises(RuntimeError) as caught:
            bundle.run("inference.json", "small.yaml", **overrides)
        assert "give the same" in str(root_cause(caught.value))


@pytest.mark.e2e
def test_an_exported_run_gives_its_predictions_and_says_what_it_is(trained, tmp_path):
    bundle, run_dir = trained
    if bundle.name != "lung_nodule_ct":  # the odd case: slices of int16 in a window, and quarter turns
        return
    with zipfile.ZipFile(export_run(run_dir, tmp_path / "b.zip")) as archive:
        archive.extractall(tmp_path / "b")
    configs = tmp_path / "b" / "configs"
    folder = sorted(bundle.data.rglob("*.npy"))[0].parent
    tables = []
    for config, run in ((configs, {}), (bundle.configs, {"run_dir": str(run_dir)})):
        given = {**run, "dataset_dir": str(folder), "output": str(tmp_path / "p.csv"), "csf": "TTA-MSR"}
        workflow = ConfigWorkflow(str(config / "inference.json"), logging_file=False, **given)
        workflow.initialize()
        workflow.run()
        tables.append(pd.read_csv(tmp_path / "p.csv"))
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-5)
    verify_metadata(str(configs / "metadata.json"), str(BUNDLES.parent / "docs" / "metadata.schema.json"))
    metadata = json.loads((configs / "metadata.json").read_text())
    published = json.loads((bundle.configs / "metadata.json").read_text())
    assert metadata["task"] == published["task"]
    assert metadata["authors"] == "those who trained this network"
    assert "phantom" in metadata["description"].lower()


@pytest.mark.e2e
def test_inference_turns_photos_upright_and_names_what_it_cannot_use(trained, tmp_path):
    bundle, run_dir = trained
    if bundle.name != "dermoscopy":  # the reader stands in the shared configs
        return
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(sorted(bundle.data.rglob("*.jpg"))[0]) as photo:
        pixels = photo.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels.save(folder / "upright.PNG")
    pixels.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    pixels.save(folder / "page.tif")
    pixels.save(folder / "pages.tif", save_all=True, append_images=[pixels])
    pixels.save(folder / os.fsdecode(b"caf\xe9.png"))
    (folder / "broken.jpg").write_bytes(b"")
    (folder / "scan.dcm").write_bytes(b"")
    dicom(folder / "camera.dcm", np.asarray(pixels), modality="XC")
    (folder / "x.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    overrides = {"dataset_dir": str(folder), "run_dir": str(run_dir), "output": str(tmp_path / "p.csv")}
    with pytest.raises(RuntimeError) as caught:
        bundle.run("inference.json", "small.yaml", structured_reports=str(tmp_path / "sr"), **overrides)
    said = str(root_cause(caught.value))
    assert said.startswith("6 of 9 images have no answer")
    assert "camera.dcm: is DICOM photograph 8 bit, and the network was trained on picture uint8" in said
    assert "x.jp2: is JPEG 2000, which is not read" in said
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["image_kinds"] == ["picture uint8"]
    assert [one["structured_report"] for one in document["images"]] == [None] * 3
    assert len(document["without_an_answer"]) == 6
    assert "pages.tif: holds 2 images" in said
    assert r"caf\xe9.png: has bytes in its path that are not UTF-8" in said
    assert "broken.jpg: cannot be read" in said
    assert "scan.dcm: cannot be read" in said
    table = pd.read_csv(tmp_path / "p.csv").set_index("case_id")
    assert set(table.index) == {"upright.PNG", "turned.png", "page.tif"}
    for other in ("turned.png", "page.tif"):
        assert table.loc[other, "MSR"] == pytest.approx(table.loc["upright.PNG", "MSR"], abs=1e-4)


@pytest.mark.e2e
def test_a_run_is_not_used_with_other_cases_or_images_than_it_was_trained_on(trained, tmp_path):
    bundle, run_dir = trained
    if bundle.name != "dermoscopy":  # the checks stand in the shared configs
        return
    for name in ("best.pt", "last.pt", "train.config.json", "cases.json"):
        shutil.copy(run_dir / name, tmp_path)
    study = {"study": STUDIES[bundle.name][-1].name, "run_dir": str(tmp_path)}
    images = {"run_dir": str(tmp_path), "csf": None, "image_size": [40, 40]}
    for files, wrong, words in (
        (("train.yaml", "evaluate.yaml"), {**study, "split_seed": 1}, "trained on other cases"),
        (("train.yaml", "evaluate.yaml"), {**study, "image_size": [40, 40]}, r"image_size: \[32, 32\] there"),
        (("inference.json",), images, r"image_size: \[32, 32\] there"),
    ):
        with pytest.raises(RuntimeError) as caught:
            bundle.run(*files, "small.yaml", **wrong)
        assert re.search(words, str(root_cause(caught.value)))
    assert not (tmp_path / "results").exists()


@pytest.mark.e2e
def test_optimizer_schedule_and_loss_are_components_that_can_be_overridden(bundle, tmp_path):
    if bundle.name != "chest_xray":  # they stand in the shared configs
        return
    overrides = {
        "optimizer#_target_": "torch.optim.SGD",
        "optimizer#momentum": 0.9,
        "learning_rate": 0.125,  # what the shared component refers to
        "lr_scheduler#_target_": "torch.optim.lr_scheduler.StepLR",
        "lr_scheduler#step_size": 1,
        "lr_scheduler#gamma": 0.5,
        "loss#label_smoothing": 0.25,
        "epochs": 2,
        "output_dir": str(tmp_path),
    }
    trainer = bundle.run("train.yaml", "small.yaml", **overrides).parser.get_parsed_content("train#trainer")
    assert trainer.stages.stages[0].loss.loss.label_smoothing == 0.25
    run_dir = tmp_path / "iid-confidnet-0"
    state = torch.load(run_dir / "last.pt", weights_only=True)
    group = state["optimizer"]["param_groups"][0]
    assert (group["momentum"], group["initial_lr"], group["lr"]) == (0.9, 1e-5, 0.5e-5)  # of fine-tuning
    claimed = json.loads((run_dir / "train.config.json").read_text())
    assert claimed["optimizer"] == {
        "_target_": "torch.optim.SGD",
        "_mode_": "callable",
        "lr": "@learning_rate",
        "weight_decay": "@weight_decay",
        "momentum": 0.9,
    }
    assert claimed["loss"] == {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.25}
    with pytest.raises(RuntimeError) as caught:
        bundle.run("train.yaml", "small.yaml", **{**overrides, "optimizer#momentum": 0.5})
    assert "was started with another config (optimizer: " in str(root_cause(caught.value))


@pytest.mark.e2e
@pytest.mark.parametrize("overlays", [(), ("deepgamblers.yaml",), ("devries.yaml",), ("evaluate.yaml",)])
def test_monai_finds_the_properties_it_asks_for(bundle, overlays):
    kind = "infer" if "evaluate.yaml" in overlays else "train"
    workflow = bundle.workflow("train.yaml", *overlays, "small.yaml", kind=kind)
    assert workflow.check_properties() == []


@pytest.mark.e2e
def test_unusable_images_stop_the_run_before_training_and_are_all_named(bundle, tmp_path):
    if bundle.name in IMAGES_MADE:
        return
    data = write_phantom(bundle.name, tmp_path / "data")
    images = sorted(p for p in data.rglob("*") if p.suffix in (".jpg", ".png"))
    images[0].write_bytes(images[0].read_bytes()[:300])
    Image.new("CMYK", (64, 64)).save(images[1], "TIFF")
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(images[2], "PNG")
    with pytest.raises(RuntimeError) as caught:
        bundle.run("train.yaml", "small.yaml", dataset_dir=str(data), output_dir=str(tmp_path / "runs"))
    cause = root_cause(caught.value)
    assert isinstance(cause, PreflightError)
    assert len(cause.faults) == 3
    assert all(str(image.relative_to(data)) in str(cause) for image in images[:3])
    assert not list((tmp_path / "runs").rglob("last.pt"))


@pytest.mark.e2e
def test_faults_of_the_run_are_said_before_images_are_checked(tmp_path):
    bundle = Bundle("dermoscopy", tmp_path)
    for image in bundle.data.rglob("*.jpg"):
        image.write_bytes(b"")
    with pytest.raises(RuntimeError) as caught:
        bundle.run("train.yaml", "small.yaml", weights=str(tmp_path / "nowhere.pt"))
    assert "weights" in str(root_cause(caught.value))
    with pytest.raises(RuntimeError) as caught:
        bundle.run("inference.json", "small.yaml", run_dir=str(tmp_path / "nowhere"), csf=None)
    assert "no checkpoint at" in str(root_cause(caught.value))
