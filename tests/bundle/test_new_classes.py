"""Own data with classes that the classifier is never shown: declared, or left out by a study."""

from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigWorkflow

import monai_sf
from helpers.given_models import NORMALISATION, Brightness, write_script
from helpers.own_images import new, parsed, write_study
from monai_sf.data.errors import root_cause
from monai_sf.prediction import Predictor
from monai_sf.results import load_results
from monai_sf.tables import benchmark_table

ALL = ("normal", "lesion", "scar", "other")
#: As small as a training can be.
TINY = {
    **{"network_def#backbone#name": "densenet-small", "image_size": [32, 32], "batch_size": 16},
    **{"epochs": 1, "confidnet_epochs": 1, "finetuning_epochs": 1, "cache_rate": 0.0},
}
TESTED = {"mc_samples": 2, "test_time_augmentation": [], "corruptions": ["brightness_up"], "severities": [1]}


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, n=160, classes=ALL)
    return tmp_path


def run(bundle, *files, **keys):
    made = ConfigWorkflow([str(bundle / "configs" / file) for file in files], logging_file=False, **keys)
    try:
        made.initialize()
        made.run()
    except RuntimeError as error:
        raise root_cause(error) from error
    finally:
        made.finalize()


def test_new_writes_the_studies_and_says_what_they_hold(own, capsys):
    assert new(own, "--unknown", "other", "--without", "scar") == 0
    said = capsys.readouterr().out
    assert "3 classes, and 40 cases of none of them" in said
    assert "study unknown (target: label_name is other): train " in said
    assert "target 40" in said
    assert "study without_scar: trained without scar" in said
    data = yaml.safe_load((own / "study" / "configs" / "data.yaml").read_text(encoding="utf-8"))
    assert data["classes"] == ["lesion", "normal", "scar"]
    assert data["unknown"] == ["other"]
    assert data["studies"] == {
        "unknown": {"kind": "new_class", "target": {"label_name": "other"}},
        "without_scar": {"kind": "new_class", "target": {"label_name": "scar"}},
    }
    splits, classes, number = parsed(own / "study", "splits", "class_names", "num_classes")
    assert "other" not in set(splits["label_name"])
    assert (classes, number) == (["lesion", "normal", "scar"], 3)


def test_every_unknown_label_counts_also_when_the_option_is_repeated(own, capsys):
    assert new(own, "--unknown", "other", "--unknown", "scar") == 0
    data = yaml.safe_load((own / "study" / "configs" / "data.yaml").read_text(encoding="utf-8"))
    assert (data["classes"], data["unknown"]) == (["lesion", "normal"], ["other", "scar"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--unknown", "Other"), "no case has the unknown label 'Other'"),
        (
            ("--unknown", "other", "--without", "scr"),
            "--without scr: there is no such class",
        ),
        (
            ("--unknown", "scar", "other", "--without", "lesion"),
            "fewer than two classes are left to tell apart",
        ),
        (("--unknown", "other", "--target", "unknown:hospital=A"), "'unknown' is the study of new classes"),
        (
            ("--unknown", "other", "--classes", "normal", "other"),
            "'other' cannot be both a class and",
        ),
    ],
)
def test_new_refuses_faulty_declarations_and_writes_nothing(own, capsys, arguments, message):
    assert new(own, *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (own / "study").exists()


def test_a_given_model_has_its_classes(own, capsys):
    write_script(own / "model.ts", Brightness())
    model = ("--model", str(own / "model.ts"), *NORMALISATION, "--image_size", "40", "40")
    assert new(own, "--unknown", "scar", "other", *model, "--without", "lesion") == 1
    assert "fewer than two classes" in capsys.readouterr().err
    assert new(own, *model, "--without", "lesion") == 1
    assert "trains without 'lesion', which an audit cannot do" in capsys.readouterr().err


@pytest.mark.e2e
def test_an_audit_is_tested_on_unknown_labels(own):
    write_script(own / "model.ts", Brightness())
    model = ("--model", str(own / "model.ts"), *NORMALISATION, "--image_size", "40", "40")
    assert new(own, "--unknown", "scar", "other", "--classes", "normal", "lesion", *model) == 0
    run(own / "study", "evaluate.yaml", study="unknown", **{**TESTED, "mc_samples": 0})
    results = load_results(own / "study" / "runs" / "unknown-classifier-0" / "results")
    assert results.run["class_names"] == ["normal", "lesion"]
    assert set(results.cases_of("target")["label_name"]) == {"scar", "other"}
    assert (results.labels_of("target") == -1).all()


@pytest.mark.e2e
def test_a_study_trains_without_a_class_and_is_tested_on_it(own):
    assert new(own, "--unknown", "other", "--without", "normal") == 0
    bundle, study = own / "study", {"study": "without_normal"}
    run(bundle, "train.yaml", **study, **TINY)
    run(bundle, "train.yaml", "evaluate.yaml", **study, **TINY, **TESTED)
    run_dir = bundle / "runs" / "without_normal-confidnet-0"
    results = load_results(run_dir / "results")
    assert results.run["class_names"] == ["lesion", "scar"]
    assert results.run["split_counts"]["train"].keys() == {"lesion", "normal", "scar"}
    assert results.run["split_counts"]["train"]["normal"] == 0
    target = results.test_sets["target"]
    assert target.kind == "new_class"
    assert set(results.cases_of("target")["label_name"]) == {"normal"}
    assert (results.labels_of("target") == -1).all()
    assert results.test_sets["iid"].arrays["logits"].shape[1] == 2
    assert set(results.labels_of("iid")) == {0, 1}
    assert list(benchmark_table([results]).columns) == ["iid", "new"]
    assert Predictor(run_dir).class_names == ("lesion", "scar")


def test_a_published_bundle_follows_its_study(tmp_path):
    config = Path(monai_sf.__file__).parents[1] / "bundles" / "chest_xray" / "configs" / "train.yaml"
    studies = {"without": {"kind": "new_class", "target": {"label_name": ["Edema", "Pneumonia"]}}}

    def opened(**keys):
        made = ConfigWorkflow(str(config), logging_file=False, weights=None, **keys)
        made.initialize()
        number, names = (made.parser.get_parsed_content(key) for key in ("num_classes", "class_names"))
        return number, names

    number, names = opened(studies=studies, study="without")
    assert (number, len(names)) == (6, 6)
    assert not {"Edema", "Pneumonia"} & set(names)
    assert opened(studies=studies)[0] == 8
    assert opened()[0] == 8
