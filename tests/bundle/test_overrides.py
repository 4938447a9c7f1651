"""What a user writes for a key is what the config gets."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigWorkflow

from helpers.forks import as_new, forked, run_module
from monai_sf import bundle
from monai_sf.bundle import overrides
from monai_sf.bundle.overrides import as_written, literal
from monai_sf.data.errors import root_cause

CONFIG = {
    "imports": ["$import monai_sf", "$import monai_sf.bundle", "$import pathlib"],
    "bundle_root": "$monai_sf.bundle.root()",
    "initialize": "$monai_sf.bundle.start()",
    "seed": 0,
    "csf": "MSR",
    "device": "$torch.device('cuda')",
    "weights": "imagenet",
    "names": ["a", "b"],
    "dataset_dir": "data",
    "output_dir": "runs",
    "run_dir": "$@output_dir + '/a'",
    "output": "$@run_dir + '/p.csv'",
    "read": ["@csf", "@device", "@weights", "@names", "@dataset_dir", "@output"],
    "train": {"trainer": {"max_epochs": "@read"}},
    "run": ["$(pathlib.Path(@run_dir).mkdir(parents=True), print([@read[0], @read[1].type, *@read[2:]]))"],
}


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Resolved values of a config that `python -m monai.bundle run` was given these arguments for."""
    import fire

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(overrides, "is_command_line", lambda: True)

    def make(*arguments):
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *arguments])

        def run(**override):
            kept = {key: value for key, value in override.items() if value is not None}  # as MONAI does
            made = ConfigWorkflow(str(tmp_path / "configs" / "train.yaml"), logging_file=False, **kept)
            made.initialize()
            return made

        return fire.Fire({"run": run}, ["run", *arguments])

    return make


def resolved(workflow, key):
    return workflow.parser.get_parsed_content(key)


@pytest.mark.parametrize(
    "text",
    ["2024_06_01", "1e5", "007", "7", "true", "True", "a#b", "#1", "a,b", "[x]", "(1)", "{}", "1.50", "a%b",
     "a@b", "@home/x", "a::b", "x y", "./null", "0x10", "a\\b", "it's", "\u00e9#", "./$HOME", "1:2"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["--output_dir={}", "--output-dir={}", "--output_dir {}"])
def test_a_path_is_what_was_written(given, text, form):
    made = given(*(form.format(text).split(" ", 1) if form.endswith(" {}") else [form.format(text)]))
    assert resolved(made, "output_dir") == text
    assert resolved(made, "run_dir") == text + "/a"


def test_the_home_folder(given, tmp_path):
    made = given("--output_dir=~/runs", "--weights=~/w#1.pt")
    assert resolved(made, "run_dir") == str(tmp_path / "home" / "runs" / "a")
    assert resolved(made, "weights") == str(tmp_path / "home" / "w#1.pt")
    with pytest.raises(RuntimeError) as caught:
        given("--output_dir=~nobody_of_that_name/x")
    assert "there is no such user: write ./~nobody_of_that_name/x" in str(root_cause(caught.value))


@pytest.mark.parametrize("text", ["None", "null"])
def test_no_run_folder_is_a_value(given, text):
    assert resolved(given(f"--run_dir={text}"), "run_dir") is None


@pytest.mark.parametrize("text", ["None", "null", "", "  "])
def test_no_path(given, text):
    with pytest.raises(RuntimeError) as caught:
        given(f"--output_dir={text}")
    assert "output_dir must be a path, got" in str(root_cause(caught.value))


@pytest.mark.parametrize("text", ["None", "null"])
def test_none_is_not_ignored(given, text):
    made = given("--csf", text, f"--weights={text}", "--train#trainer#max_epochs", text)
    assert resolved(made, "csf") is None
    assert resolved(made, "weights") is None
    assert made.parser["train"]["trainer"]["max_epochs"] is None
    with pytest.raises(RuntimeError) as caught:
        given("--csv", "None")
    assert "nothing reads the config key 'csv' (did you mean csf?" in str(root_cause(caught.value))


def test_device(given, monkeypatch):
    assert resolved(given("--device", "cpu"), "device").type == "cpu"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for text, index in (("cuda:1", 1), ("1", 1), ("cuda", None)):
        device = resolved(given("--device", text), "device")
        assert (device.type, device.index) == ("cuda", index)
    for text, said in (
        ("gpu", "device must be cpu, cuda or cuda:0, cuda:1, ..., got 'gpu'"),
        ("cuda:2", "device is 'cuda:2', and there are 2 GPUs here"),
    ):
        with pytest.raises(RuntimeError) as caught:
            given("--device", text)
        assert said in str(root_cause(caught.value))


def test_expressions_and_references_are_still_such(given):
    made = given("--output_dir=$'a' + 'b'", "--dataset_dir=@output_dir")
    assert resolved(made, "run_dir") == "ab/a"
    assert resolved(made, "dataset_dir") == "ab"


def test_what_monai_has_changed_elsewhere_is_refused(given):
    with pytest.raises(RuntimeError) as caught:
        given("--names", "['a#1','b']")
    assert "names#0 is 'a::1': MONAI replaces # by ::" in str(root_cause(caught.value))


def test_in_a_process_that_runs_more_than_a_config_numbers_and_changed_paths_are_refused(given, monkeypatch):
    made = given("--output_dir", "2024_06_01")
    monkeypatch.setattr(overrides, "is_command_line", lambda: False)
    config = str(made.config_root_path / "train.yaml")
    for value, said in (
        (20240601, "must be a path, got 20240601"),
        ("a#b", "'a::b': MONAI replaces"),
        (None, "None"),
    ):
        with pytest.raises(RuntimeError) as caught:
            ConfigWorkflow(config, logging_file=False, output_dir=value).initialize()
        assert said in str(root_cause(caught.value))
    right = ConfigWorkflow(config, logging_file=False, output_dir=Path("x"), dataset_dir=literal("a#b"))
    right.initialize()
    assert resolved(right, "run_dir") == "x/a"
    assert resolved(right, "dataset_dir") == "a#b"


def test_a_run_says_what_was_written(given, monkeypatch):
    made = given("--dataset_dir=a#b", "--run_dir=$'plain'")
    monkeypatch.setattr("monai_sf.bundle.workflow.running", lambda: made)
    assert bundle.merged_config()["dataset_dir"] == "a#b"


@pytest.mark.parametrize("text", ["", "a#b@c$d%e'f\"g\\h\n\u00e9\U0001f600", "\udcff"])
def test_a_literal_is_its_text(text):
    assert as_written({"a": [literal(text)]}) == {"a": [text]}
    assert not set(literal(text)[1:]) & set("#@%$")


def test_the_command_line_itself(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [
        *("run", "--config_file", "configs/train.yaml", "--output_dir", "2024_06_01#2", "--dataset_dir=~/x"),
        *("--device", "cpu", "--csf", "None"),
    ]

    def monai_bundle(*arguments):
        as_new(tmp_path)
        os.environ["HOME"] = "/home/of/somebody"
        run_module("monai.bundle", *arguments)

    done = forked(lambda: monai_bundle(*command), tmp_path)
    assert done.returncode == 0, done.stderr
    expected = [None, "cpu", "imagenet", ["a", "b"], "/home/of/somebody/x", "2024_06_01#2/a/p.csv"]
    assert str(expected) in done.stdout
    assert (tmp_path / "2024_06_01#2" / "a").is_dir()
    failed = forked(lambda: monai_bundle(*command, "--epochz", "3"), tmp_path)
    assert failed.returncode == 1
    assert (
        failed.stderr.strip().splitlines()[-1].startswith("ValueError: nothing reads the config key 'epochz'")
    )
