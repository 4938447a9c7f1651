"""Audits of given models: from a table and a model to results, whose numbers are scikit-learn's."""

import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import get_track_meta, set_track_meta
from monai.networks.nets import DenseNet
from monai.transforms import Compose, LoadImaged, Resized, ScaleIntensityd, ScaleIntensityRangePercentilesd
from PIL import Image
from sklearn.metrics import accuracy_score, roc_auc_score
from torch import nn

from helpers.given_models import (
    NETWORK,
    NORMALISATION,
    PREPROCESSING,
    Brightness,
    write_script,
    write_zoo_bundle,
)
from helpers.own_images import HOSPITALS, new, parsed, write_study
from monai_sf.benchmark import run_benchmark
from monai_sf.bundle import class_order
from monai_sf.bundle.export import export_run
from monai_sf.data import GivenPreprocessingd
from monai_sf.data.errors import root_cause
from monai_sf.data.given_preprocessing import known_range
from monai_sf.prediction import Predictor
from monai_sf.report import words
from monai_sf.report.runs import evaluate as judged
from monai_sf.results import ResultsError, load_results

#: Labels as the models' outputs are: dark images are normal in the made-up hospital.
ORDER = ("--classes", "normal", "lesion")
SIZE = ("--image_size", "40", "40")


def noisy_study(folder):
    """The made-up hospital, with every seventh patient's label wrong, so that there are errors to detect."""
    table = write_study(folder)
    wrong = np.array([int(patient[1:]) % 7 == 0 for patient in table["patient"]])
    table.loc[wrong, "finding"] = table.loc[wrong, "finding"].map({"normal": "lesion", "lesion": "normal"})
    table.to_csv(folder / "cases.csv", index=False)


def workflow(bundle, file="evaluate.yaml", **overrides):
    small = {"corruptions": ["brightness_up"], "severities": [2]}
    keys = {**({} if file == "inference.json" else small), **overrides}
    made = ConfigWorkflow(str(bundle / "configs" / file), logging_file=False, **keys)
    made.initialize()
    return made


def evaluate(bundle, **overrides):
    made = workflow(bundle, **overrides)
    try:
        made.run()
    except RuntimeError as error:
        raise root_cause(error) from error
    finally:
        made.finalize()
    return bundle / "runs" / f"{overrides.get('study', 'iid')}-classifier-0"


def slow_aurc(confidence, error):
    """Trapezoids over the points of all distinct thresholds, the first risk held down to coverage 0."""
    kept = [confidence >= value for value in sorted(set(confidence), reverse=True)]
    coverage = [0.0, *(k.mean() for k in kept)]
    risk = [error[k].mean() for k in kept]
    risk = [risk[0], *risk]
    return sum((coverage[i + 1] - coverage[i]) * (risk[i + 1] + risk[i]) / 2 for i in range(len(kept)))


def check_numbers(results):
    """Compare the numbers of MSR with those of scikit-learn, from the outputs on disk."""
    labels = results.labels_of("iid")
    logits = np.asarray(results.test_sets["iid"].arrays["logits"], np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (shares.argmax(1) != labels).astype(float)
    assert 0 < error.sum() < len(error)
    run = judged(results, 40, 0, None)
    cells = run.cells[(run.cells["test_set"] == "iid") & (run.cells["csf"] == "MSR")]
    found = cells.set_index("metric")["value"]
    assert 1 - run.shown["iid", "MSR"].errors / len(labels) == accuracy_score(labels, shares.argmax(1))
    assert found["aurc"] == pytest.approx(slow_aurc(shares.max(1), error))
    assert found["auroc_f"] == pytest.approx(roc_auc_score(error, -shares.max(1)))


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """An audit of a TorchScript file, evaluated on one study."""
    folder = tmp_path_factory.mktemp("script")
    noisy_study(folder)
    write_script(folder / "model.ts", Brightness())
    model = ("--model", str(folder / "model.ts"), *NORMALISATION, *SIZE)
    assert new(folder, *ORDER, *model, "--target", f"clinic:hospital={HOSPITALS[1]}") == 0
    return folder, evaluate(folder / "study")


@pytest.mark.e2e
def test_a_torchscript_file_is_audited(script):
    folder, run_dir = script
    results = load_results(run_dir / "results")
    check_numbers(results)
    cases = results.cases_of("iid")
    pixels = [np.array(Image.open(folder / "images" / name)) / 255 for name in cases["image"]]
    images = torch.as_tensor(np.stack(pixels)[:, None], dtype=torch.float32)
    with torch.no_grad():
        expected = Brightness()((images - 0.4) / 0.2)
    found = results.test_sets["iid"].arrays
    np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
    assert found["features"].shape == (len(cases), 4)
    assert not any(name.startswith("mcd_") for name in found)
    assert results.run["audit"] is True
    assert "trained_on" not in results.run
    assert len(results.test_sets["iid"]) == sum(results.run["split_counts"]["iid"].values())
    assert not (run_dir / "best.pt").exists()
    assert evaluate(folder / "study") == run_dir  # complete: returns at once
    said = words.tested([results.run], [list(results.test_sets.values())])
    assert said.startswith("A given classifier, which was not trained here, was tested on 62 ordinary cases")


@pytest.mark.e2e
def test_a_replaced_model_is_refused_and_new_images_are_classified_by_the_audited_one(script):
    folder, run_dir = script
    model = folder / "model.ts"
    made = workflow(
        folder / "study", "inference.json", run_dir=str(run_dir), dataset_dir=str(folder / "images")
    )
    made.run()
    answers = pd.read_csv(run_dir / "predictions.csv").set_index("case_id")
    results = load_results(run_dir / "results")
    logits = np.asarray(results.test_sets["iid"].arrays["logits"])
    assert answers.loc[results.cases_of("iid")["image"], "prediction"].tolist() == logits.argmax(1).tolist()
    assert {"MSR", "MDS", "defer"} <= set(answers)
    first = answers.iloc[0]
    (found,) = Predictor(run_dir)([folder / "images" / str(first.name)])
    assert found.label == first["prediction"]
    assert found.confidences["MDS"] == pytest.approx(first["MDS"], rel=1e-4)
    with pytest.raises(RuntimeError) as caught:
        workflow(folder / "study", "inference.json", run_dir=str(run_dir), mean=0.9)
    assert "mean: 0.4 there, 0.9 now" in str(root_cause(caught.value))
    with pytest.raises(ValueError, match="is the audit of a model that was given: only networks that a bund"):
        export_run(run_dir, folder / "bundle.zip")
    moved = model.rename(folder / "moved.ts")
    made = workflow(
        folder / "study",
        "inference.json",
        run_dir=str(run_dir),
        dataset_dir=str(folder / "images"),
        model=str(moved),
    )
    made.run()
    assert pd.read_csv(run_dir / "predictions.csv").set_index("case_id").equals(answers)
    assert evaluate(folder / "study", model=str(moved)) == run_dir
    with pytest.raises(FileNotFoundError, match=r"model\.ts, which is not there any more: put it back"):
        Predictor(run_dir)
    moved.rename(model)
    before = model.read_bytes()
    other = Brightness()
    other.last.weight.data *= 2
    write_script(model, other)
    with pytest.raises(ResultsError, match="results of another model than the given one"):
        evaluate(folder / "study")
    made = workflow(
        folder / "study", "inference.json", run_dir=str(run_dir), dataset_dir=str(folder / "images")
    )
    with pytest.raises(RuntimeError) as caught:
        made.run()
    assert "than the given model" in str(root_cause(caught.value))
    model.write_bytes(before)
    assert evaluate(folder / "study") == run_dir


@pytest.mark.e2e
def test_a_bundle_of_the_model_zoo_is_audited_with_its_own_preprocessing(tmp_path):
    noisy_study(tmp_path)
    zoo = write_zoo_bundle(tmp_path / "zoo")
    assert new(tmp_path, "--model", str(zoo)) == 0
    data = yaml.safe_load((tmp_path / "study" / "configs" / "data.yaml").read_text())
    assert data["value_range"] == [-2.5, 2.5]
    assert data["transposed"]  # MONAI's reader of pictures exchanges rows and columns
    assert not {"mean", "picture_mode"} & set(data)
    results = load_results(evaluate(tmp_path / "study", mc_samples=2) / "results")
    check_numbers(results)
    network = DenseNet(**NETWORK).eval()
    network.load_state_dict(torch.load(zoo / "models" / "model.pt", weights_only=True))
    parser = ConfigParser()
    parser.read_config(str(zoo / "configs" / "inference.json"))
    own = parser.get_parsed_content("preprocessing")
    files = [str(tmp_path / "images" / name) for name in results.cases_of("iid")["image"]]
    with torch.no_grad():
        expected = network(torch.stack([own({"image": file})["image"].as_tensor() for file in files]))
    found = results.test_sets["iid"].arrays
    np.testing.assert_allclose(found["logits"], expected[:, [0, 1]], atol=1e-4)
    assert "mcd_log_softmax" in found  # its dropout is sampled
    shown = results.test_sets["iid"].arrays["images"].astype(float)
    for picture, file in zip(shown, files, strict=True):
        upright = np.asarray(Image.open(file).convert("L").resize(picture.shape[::-1]), float)
        likeness = [np.corrcoef(one.ravel(), upright.ravel())[0, 1] for one in (picture, picture.T)]
        assert likeness[0] > 0.5 > likeness[1]


@pytest.mark.e2e
def test_a_name_of_a_class_is_never_evaluated(tmp_path):
    names = (f"$__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()", "@site or T1@N0")
    write_study(tmp_path, classes=names)
    write_script(tmp_path / "model.ts", Brightness())
    model = ("--model", str(tmp_path / "model.ts"), *NORMALISATION, *SIZE)
    assert new(tmp_path, "--classes", *names, *model) == 0
    run_dir = evaluate(tmp_path / "study")
    predictor = Predictor(run_dir)
    assert predictor.class_names == names
    images = str(tmp_path / "images")
    output = tmp_path / "p.csv"
    made = workflow(
        tmp_path / "study", "inference.json", run_dir=str(run_dir), dataset_dir=images, output=str(output)
    )
    made.run()
    assert set(pd.read_csv(output)["class"]) == set(names)
    assert not (tmp_path / "ran").exists()


def test_a_benchmark_of_an_audit_trains_nothing(script, capsys):
    folder, _ = script
    states = run_benchmark([folder / "study"], folder / "benchmark", dry_run=True)
    assert list(states) == [
        "study/prepare",
        "study/iid-classifier-0/evaluate",
        "study/clinic-classifier-0/evaluate",
        "study/table",
        "study/report",
    ]


class Runs:
    def __reduce__(self):
        return Path.touch, (Path("code_was_run"),)


def densenet(channels):
    return ("--model", "monai.networks.nets:DenseNet", "--arguments", densenet_arguments(channels))


def densenet_arguments(channels):
    return str({**NETWORK, "in_channels": channels}).replace("'", '"')


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--model", "softmax.ts"), ["they are probabilities", "'softmax'"]),
        (("--model", "three.ts"), ["gives (8, 3) for 8 images, expected (8, 2)"]),
        (("--model", "model.ts", "--outputs", "sigmoid"), ["expected (8, 1)"]),
        (densenet(4), ["takes images of 4 channels"]),
        ((*densenet(1), "--weights", "weights.pt"), ["checkpoint of another network"]),
        ((*densenet(1), "--weights", "pickle.pt"), ["run code"]),
        (("--model", "nowhere.ts"), ["there is no file", "nowhere.ts"]),
        (
            ("--model", "model.ts", "--model_classes", "normal", "tumour"),
            ["only in the table: 'lesion'", "only among the model's outputs: 'tumour'"],
        ),
    ],
)
def test_what_cannot_be_audited_is_refused_with_everything_else_and_nothing_written(
    study, arguments, told, capsys
):
    write_script(study / "model.ts", Brightness())
    write_script(study / "softmax.ts", nn.Sequential(Brightness(), nn.Softmax(1)))
    write_script(study / "three.ts", Brightness(classes=3))
    torch.save(Brightness().state_dict(), study / "weights.pt")
    (study / "pickle.pt").write_bytes(pickle.dumps(Runs()))
    torch.save({"state": Runs()}, study / "pickle.pt")
    assert new(study, *ORDER, *SIZE, *arguments, "--target", "scanner=x") == 1
    said = capsys.readouterr().err
    for word in (*told, "no column 'scanner'"):
        assert word in said
    assert not (study / "study").exists()
    assert not (study / "code_was_run").exists()


def test_an_order_of_classes_that_does_not_fit_is_said_with_the_one_that_does(study, capsys):
    write_script(study / "model.ts", Brightness())
    model = ("--model", "model.ts", *NORMALISATION, *SIZE)
    assert new(study, *ORDER, *model, "--model_classes", "lesion", "normal") == 0
    said = capsys.readouterr().out
    assert "accuracy on 120 images: 0.0 % (guessing: 50.0 %" in said
    assert "warning: the model is right in 0.0 % of 120 images, and guessing would be in 50.0 %" in said
    assert "in the order normal, lesion of its outputs the model would be right in 100.0 %" in said


def test_the_order_of_classes_is_that_of_a_bundles_metadata(study, capsys):
    zoo = write_zoo_bundle(study / "zoo")
    names = {"network_data_format": {"outputs": {"pred": {"channel_def": {"1": "Lesion", "0": "Normal"}}}}}
    (zoo / "configs" / "metadata.json").write_text(json.dumps(names))
    assert new(study, "--model", "zoo") == 0
    assert "outputs: logits, in the order normal, lesion" in capsys.readouterr().out
    assert parsed(study / "study", "classes", file="evaluate.yaml") == [["lesion", "normal"]]


def test_grey_images_are_given_to_a_model_of_three_channels_as_colours(study, capsys):
    write_script(study / "model.ts", Brightness(3), 3)
    assert new(study, *ORDER, "--model", "model.ts", *NORMALISATION, *SIZE) == 0
    said = capsys.readouterr().out
    assert "input: 3 x 40 x 40" in said
    assert "accuracy on 120 images: 100.0 %" in said
    data = yaml.safe_load((study / "study" / "configs" / "data.yaml").read_text())
    assert (data["picture_mode"], data["mean"], data["image_size"]) == ("RGB", 0.4, [40, 40])


def test_options_of_a_model_that_nothing_reads_are_refused(study, capsys):
    for arguments, told in (
        (("--mean", "0"), "--mean is of a given model: name it with --model"),
        (("--model", "a.ts", "--image_size", "0", "32"), "--image_size must be positive, got 0 32"),
        (("--model", "a.ts", "--std", "1", "nan"), "--std must be positive, got 1.0 nan"),
        (("--model", "images", "--std", "1"), "a MONAI bundle has its own std: leave out --std"),
    ):
        with pytest.raises(SystemExit):
            new(study, *arguments)
        assert told in capsys.readouterr().err


def test_the_order_of_classes_follows_from_names():
    assert class_order(["c", "a", "b"], ["a", "b", "c"]) == [1, 2, 0]
    with pytest.raises(ValueError, match="only in the table: 'c'; named twice: 'a'"):
        class_order(["a", "b", "a"], ["a", "b", "c"])


def test_the_range_of_a_preprocessing_is_that_of_its_last_transforms():
    made = [
        (PREPROCESSING, (-2.5, 2.5)),
        (PREPROCESSING[:3], (0, 1)),
        ([*PREPROCESSING, {"_target_": "NormalizeIntensityd", "keys": "image"}], None),
    ]
    for transforms, expected in made:
        parser = ConfigParser({"one": {"_target_": "Compose", "transforms": transforms}})
        assert known_range(parser.get_parsed_content("one")) == expected
    assert known_range(Compose([LoadImaged("image"), ScaleIntensityd("image", -1, 1)])) == (-1, 1)
    assert known_range(Compose([ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1)])) is None
    assert known_range(Compose([ScaleIntensityd("image"), Resized("image", [8, 8], mode="bicubic")])) is None


@pytest.mark.parametrize(
    "random", [{"_target_": "RandFlipd", "keys": "image"}, {"_target_": "Lambdad", "keys": "image",
     "func": "$lambda image: image + torch.rand(1)"}]
)  # fmt: skip
def test_a_random_preprocessing_is_refused(random, study, capsys):
    write_zoo_bundle(study / "zoo", [*PREPROCESSING, random])
    assert new(study, "--model", "zoo") == 1
    assert "give a config for inference" in capsys.readouterr().err


class _NotOfAll(Brightness):
    def forward(self, x):
        return torch.where(x.mean((1, 2, 3))[:, None] > 0.4, super().forward(x), torch.nan)


def test_images_without_a_finite_output_are_named(study, capsys):
    write_script(study / "some.ts", _NotOfAll())
    assert new(study, "--model", "some.ts") == 1
    said = capsys.readouterr().err
    assert "not finite" in said or "NaN" in said


def test_a_range_that_its_own_images_leave_is_measured(study, capsys):
    scaled = [*PREPROCESSING[:2], {**PREPROCESSING[2], "a_max": 100}, PREPROCESSING[3]]  # does not clip
    write_zoo_bundle(study / "zoo", scaled)
    assert new(study, "--model", "zoo") == 0
    low, high = yaml.safe_load((study / "study" / "configs" / "data.yaml").read_text())["value_range"]
    assert low < 0.1
    assert 2 < high < 4


@pytest.mark.parametrize("first", ["slow", "fast"])
def test_threads_track_metadata_together_and_leave_the_process_as_it_was(first):
    seen, both = [], threading.Barrier(2)

    def wait(data):
        both.wait(10)
        time.sleep(0.1 * (data["image"] == "slow"))
        seen.append(get_track_meta())
        return {**data, "image": torch.rand(1, 4, 4)}

    make = GivenPreprocessingd(Compose([wait]), [0, 1])
    set_track_meta(False)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(make, {"image": first})
        while not both.n_waiting:
            time.sleep(0.001)
        made = [pool.submit(make, {"image": "fast" if first == "slow" else "slow"}), waiting]
        assert all(one.result()["image"].shape == (1, 4, 4) for one in made)
    assert seen == [True, True]
    assert not get_track_meta()


def test_an_image_beyond_the_range_is_an_error_and_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(tmp_path / "a.png")
    transforms = Compose([LoadImaged("image", ensure_channel_first=True)])
    with pytest.raises(OSError, match=r"a.png.*200 to 200.*beyond value_range \[0, 100\]"):
        GivenPreprocessingd(transforms, [0, 100])({"image": str(tmp_path / "a.png")})
    made = GivenPreprocessingd(transforms, [0, 400])({"image": str(tmp_path / "a.png"), "label": 1})
    assert made["label"] == 1
    assert made["image"].shape == (1, 8, 8)
    assert float(made["image"].max()) == 0.5
    with pytest.raises(ValueError, match="value_range must be"):
        GivenPreprocessingd(transforms, [1, 1])


@pytest.mark.e2e
def test_the_weights_of_an_audited_function_may_be_moved(tmp_path):
    noisy_study(tmp_path)
    torch.manual_seed(0)
    torch.save(DenseNet(**NETWORK).state_dict(), tmp_path / "weights.pt")
    model = (*densenet(1), "--weights", str(tmp_path / "weights.pt"), "--image_size", "32", "32")
    assert new(tmp_path, *ORDER, *model) == 0
    run_dir = evaluate(tmp_path / "study", mc_samples=0)
    moved = str((tmp_path / "weights.pt").rename(tmp_path / "moved.pt"))
    assert evaluate(tmp_path / "study", weights=moved, mc_samples=0) == run_dir
    images = {"dataset_dir": str(tmp_path / "images"), "run_dir": str(run_dir)}
    workflow(tmp_path / "study", "inference.json", weights=moved, **images).run()
    assert (run_dir / "predictions.csv").is_file()
    with pytest.raises(FileNotFoundError, match=r"whose weights was .*weights\.pt, which is not there any m"):
        Predictor(run_dir)
