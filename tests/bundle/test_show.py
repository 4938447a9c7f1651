"""What is printed is what is run."""

import sys
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigWorkflow

from helpers.forks import as_new, forked
from monai_sf.bundle import workflow
from monai_sf.bundle.__main__ import main
from monai_sf.files import write_json

CONFIGS = Path(__file__).parents[2] / "bundles" / "chest_xray" / "configs"
FILES = [str(CONFIGS / name) for name in ("train.yaml", "deepgamblers.yaml", "evaluate.yaml", "small.yaml")]
OVERRIDES = {
    "study": "nih14",
    "seed": 2,
    "optimizer#_target_": "torch.optim.SGD",
    "optimizer#lr": 0.1,
    "weights": None,
}


def shown(capsys, *arguments):
    assert main(["show", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_config_that_is_shown_is_the_one_that_is_run(capsys):
    run = ConfigWorkflow(FILES, logging_file=False, **OVERRIDES)
    run.initialize()
    given = [f"--{key}={value}" for key, value in OVERRIDES.items()]
    text = shown(capsys, *FILES, *given)
    assert yaml.safe_load(text) == workflow.config_of(run.parser)
    assert yaml.safe_load(text)["optimizer"] == {
        "_target_": "torch.optim.SGD",
        "_mode_": "callable",
        "lr": 0.1,
        "weight_decay": "@weight_decay",
    }


def test_each_key_says_where_it_comes_from(capsys):
    text = shown(capsys, *FILES, "--optimizer#lr", "0.1", "--seed=3")
    of = {}
    for part in text.split("\n\n"):
        origin, _, keys = part.partition("\n")
        of.update(dict.fromkeys(yaml.safe_load(keys), origin.removeprefix("# ").split(", ")))
    base = "monai_sf/bundle/configs"
    assert of["seed"] == [f"{base}/study.yaml", "command line"]
    assert of["optimizer"] == [f"{base}/train.yaml", FILES[0], "command line"]
    assert of["epochs"] == [FILES[0], FILES[1], FILES[3]]
    assert of["network_def"] == [FILES[0], FILES[1], FILES[3]]
    assert of["stages"] == [f"{base}/train.yaml", f"{base}/deepgamblers.yaml"]
    assert of["corruptions"] == [f"{base}/evaluate.yaml"]


def test_a_run_is_shown_as_it_was_run(tmp_path, capsys):
    write_json(tmp_path / "train.config.json", {"epochs": 3, "run": ["$@x"]})
    assert yaml.safe_load(shown(capsys, tmp_path)) == {"epochs": 3, "run": ["$@x"]}
    write_json(tmp_path / "evaluate.config.json", {"epochs": 3, "mc_samples": 50})
    documents = list(yaml.safe_load_all(shown(capsys, tmp_path)))
    assert [list(one) for one in documents] == [["epochs", "run"], ["epochs", "mc_samples"]]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([FILES[0], "nowhere.yaml"], 1, "error: no config file nowhere.yaml"),
        (["nowhere"], 1, "error: no config file nowhere"),
        ([CONFIGS], 1, "is not the folder of a run: it has none of train.config.json, evaluate.config.json"),
        ([FILES[0], "--sed", "1"], 1, "nothing reads the config key 'sed' (did you mean seed?)"),
        ([FILES[0], "--optimzer#lr", "1"], 1, "cannot be merged with {'optimzer#lr': '1'}"),
        ([FILES[0], "--device", "gpu"], 1, "device must be cpu, cuda or"),
        ([FILES[0], "--seed"], 2, "--seed has no value"),
        ([FILES[0], "--seed", "--study", "iid"], 2, "--seed has no value"),
        ([FILES[0], "--seed", "1", FILES[1]], 2, "give config files first"),
        ([CONFIGS, "--seed", "1"], 2, "a run has no overrides"),
        ([], 2, "required: CONFIG or RUN"),
    ],
)
def test_what_cannot_be_shown(arguments, status, message, capsys):
    try:
        found = main(["show", *map(str, arguments)])
    except SystemExit as end:
        found = end.code
    captured = capsys.readouterr()
    assert found == status
    assert message in captured.err
    assert captured.out == ""


def test_a_damaged_config_of_a_run(tmp_path, capsys):
    (tmp_path / "train.config.json").write_text("{")
    assert main(["show", str(tmp_path)]) == 1
    assert "train.config.json is damaged" in capsys.readouterr().err


def test_a_config_that_is_no_yaml(tmp_path, capsys):
    (tmp_path / "train.yaml").write_text("a: [")
    assert main(["show", str(tmp_path / "train.yaml")]) == 1
    assert "cannot be merged" in capsys.readouterr().err


def test_the_command_loads_neither_tables_nor_report(tmp_path):
    def show():
        as_new()
        from monai_sf.bundle.__main__ import main

        main(["show", FILES[0]])
        sys.exit(any(name.startswith(("monai_sf.tables", "monai_sf.report")) for name in sys.modules))

    ended = forked(show, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert yaml.safe_load(ended.stdout)["dataset_name"] == "chest_xray"
