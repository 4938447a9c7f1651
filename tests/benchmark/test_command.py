"""The command line, and arguments that are not usable."""

import json
import re
import sys

import pytest
import yaml

from helpers.toy_bundle import write_bundle
from monai_sf.benchmark.__main__ import _value, main
from monai_sf.benchmark.configs import Bundle
from monai_sf.benchmark.run import run_benchmark


@pytest.fixture
def command(toy):
    def run(*more, bundles=(toy.bundle,), out=toy.out):
        known = ["--bundles", *map(str, bundles), "--output-dir", str(out)]
        known += ["--dataset-dir", f"lung_nodule_ct={toy.data}", "--methods", "confidnet", "--seeds", "0"]
        return main(["run", *known, *map(str, more)])

    return run


def test_run_and_status(command, toy, capsys):
    assert (
        command("--studies", "iid", "--overlay", "small.yaml", "--set", "pause=0.01", "weight_decay=1e-4")
        == 0
    )
    config = json.loads((toy.out / "lung_nodule_ct/iid-confidnet-0/train.config.json").read_text())
    assert (config["epochs"], config["pause"], config["weight_decay"]) == (2, 0.01, 1e-4)
    assert main(["status", str(toy.out)]) == 0
    assert "complete; process" in capsys.readouterr().out


def test_a_failure_is_exit_code_1_with_the_log(command, capsys):
    assert command("--studies", "iid", "--set", "fail=iid-confidnet-0:error") == 1
    said = capsys.readouterr().err
    assert "failed: lung_nodule_ct/iid-confidnet-0/train: ValueError: the images are upside down" in said
    assert "logs/lung_nodule_ct/iid-confidnet-0/train.log" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--engine", "slurm"], "unknown engine 'slurm'; there are local, ray"),
        (["--workers", "0"], "workers must be positive, got 0"),
        (["--address", "head:6379"], "address 'head:6379' is of a Ray cluster, the engine is local"),
        (
            ["--studies", "textur"],
            "unknown study 'textur'; there are lung_nodule_ct: iid, spiculation, texture",
        ),
        (
            ["--studies", "mskcc"],
            "unknown study 'mskcc'; there are lung_nodule_ct: iid, spiculation, texture",
        ),
        (["--methods", "ensemble"], "has no method 'ensemble': train.yaml has 'confidnet', and there is no"),
        (["--methods", "confidnet", "confidnet"], "methods must differ from each other"),
        (["--seeds", "-1"], "seeds must be whole numbers from 0, got -1"),
        (["--overlay", "tiny.yaml"], "no overlay"),
        (["--overlay", "./tiny.yaml"], "no overlay"),
        (["--set", "seed=3"], "an override sets 'seed', which the benchmark sets itself"),
        (["--set", "no#such#key=3"], "{'no#such#key': 3} cannot override"),
        (
            ["--dataset-dir", "chest_xray=/data"],
            "dataset_dirs names 'chest_xray'; the bundles' datasets are lung",
        ),
    ],
)
def test_wrong_arguments_are_exit_code_2_and_say_what_is_right(command, more, message, capsys):
    if "--studies" not in more:
        more = ["--studies", "iid", *more]
    assert command(*more) == 2
    assert message in capsys.readouterr().err


def test_folders_that_are_no_bundles(command, toy, tmp_path, capsys):
    assert command(bundles=[tmp_path]) == 2
    assert "cannot be benchmarked: it has no file configs/train.yaml" in capsys.readouterr().err
    assert command(bundles=[toy.bundle, toy.bundle]) == 2
    assert "bundles must differ from each other" in capsys.readouterr().err
    other = write_bundle(tmp_path / "own", "my_dataset")
    assert command("--dataset-dir", f"my_dataset={other}", bundles=[toy.bundle, other]) == 2
    assert "the studies of my_dataset are not known here: name them" in capsys.readouterr().err
    (other / "configs" / "train.yaml").write_text("method: confidnet\n")
    assert command(bundles=[toy.bundle, other]) == 2
    assert "dataset_name must be the dataset's name, it is None" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tables", "set_aside", "all", "a/b", "../up", ".hidden", "a b", "-x"])
def test_a_dataset_cannot_be_called_like_what_lies_beside_it(tmp_path, name):
    bundle = write_bundle(tmp_path / "own", name)
    with pytest.raises(ValueError, match=f"dataset_name {re.escape(repr(name))} cannot be that of a folder"):
        Bundle.open(bundle, [], {}, {})


@pytest.mark.parametrize("name", ["chest_xray", "Übung-2.1"])
def test_a_dataset_may_be_called_like_a_folder_of_its_own(tmp_path, name):
    assert Bundle.open(write_bundle(tmp_path / "own", name), [], {}, {}).dataset == name


def test_a_dataset_that_is_left_without_a_study(command, toy, tmp_path, capsys):
    other = write_bundle(tmp_path / "other", "dermoscopy")
    assert command("--studies", "texture", bundles=[toy.bundle, other]) == 2
    assert "dermoscopy has none of the studies texture; it has iid, mskcc," in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_written(command, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command(out=tmp_path / "file" / "out") == 2
    assert "Not a directory" in capsys.readouterr().err


def test_status_of_nothing(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "no benchmark was run in" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["status", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "usage: python -m monai_sf.benchmark" in capsys.readouterr().out


def test_a_pair_without_a_value(command, capsys):
    with pytest.raises(SystemExit):
        command("--set", "epochs")
    assert "expected NAME=VALUE, got 'epochs'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("true", True),
        ("null", None),
        ("iid", "iid"),
        ("[a, 1]", ["a", 1]),
        ("", None),
    ],
)
def test_values(text, value):
    assert _value(text) == value


def test_the_engine_ray_without_ray_says_how_to_install_it(command, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "monai_sf.benchmark.ray_engine", raising=False)
    assert command("--studies", "iid", "--engine", "ray") == 2
    assert "pip install 'monai-sf[ray]', or choose the engine local" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["method", "dataset_name", "seed", "study"])
def test_an_overlay_cannot_set_what_tells_runs_apart(command, tmp_path, key, capsys):
    (tmp_path / "mine.yaml").write_text(f"epochs: 1\n{key}: 1\n")
    assert command("--studies", "iid", "--overlay", tmp_path / "mine.yaml") == 2
    assert f"mine.yaml sets {key!r}, which the benchmark sets itself" in capsys.readouterr().err


STUDIES = """
studies: {hospital_b: {kind: acquisition, target: {hospital: B}}}
"""


def test_a_study_that_only_the_config_knows(command, toy, tmp_path, capsys):
    own = write_bundle(tmp_path / "own", "my_dataset")
    file = own / "configs" / "train.yaml"
    file.write_text(file.read_text() + STUDIES)
    assert Bundle.open(own, [], {}, {}).studies == {"iid": "iid", "hospital_b": "acquisition"}
    run = ["run", "--bundles", str(own), "--output-dir", str(tmp_path / "out"), "--methods", "confidnet"]
    run += ["--seeds", "0", "--dataset-dir", f"my_dataset={own / 'data'}"]
    assert main([*run, "--studies", "hospital_c"]) == 2
    assert "unknown study 'hospital_c'; there are my_dataset: iid, hospital_b" in capsys.readouterr().err
    assert main([*run, "--studies", "hospital_b"]) == 0
    assert (tmp_path / "out/my_dataset/hospital_b-confidnet-0/results/run.json").is_file()
    # all that are known, and another study is no other run
    text = file.read_text().replace(
        "{hospital: B}}}", "{hospital: B}}, c: {kind: acquisition, target: {x: 1}}}"
    )
    file.write_text(text)
    assert main([*run, "--dry-run"]) == 0
    said = capsys.readouterr().out
    runs = {name: state for state, name in re.findall(r"(?m)^(\w+) +my_dataset/(\S+)/train", said)}
    assert runs == {"iid-confidnet-0": "new", "hospital_b-confidnet-0": "complete", "c-confidnet-0": "new"}


@pytest.mark.parametrize(
    ("studies", "message"),
    [
        ("{spiculation: {kind: acquisition, target: {x: 1}}}", "lung_nodule_ct has a study 'spiculation'"),
        ("{a/b: {kind: acquisition, target: {x: 1}}}", "use at most 64 letters, digits"),
        ("[iid]", "studies must map names to studies"),
    ],
)
def test_studies_of_a_config_that_are_refused(studies, message, tmp_path):
    bundle = write_bundle(tmp_path / "own")
    with pytest.raises(ValueError, match="train.yaml: ") as caught:
        Bundle.open(bundle, [], {"studies": yaml.safe_load(studies)}, {})
    assert message in str(caught.value)


@pytest.mark.parametrize("studies", ["iid", {"hospital_b": {}}])
def test_studies_to_run_are_a_list_of_names(studies, toy):
    with pytest.raises(ValueError, match="studies must be names of studies to run, got"):
        run_benchmark([toy.bundle], toy.out, studies=studies)
