"""The shared configs on data of one's own: any dataset_name, cases from a table, studies from the config."""

import json
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

import monai_sf

CONFIGS = Path(monai_sf.__file__).parents[1] / "bundles" / "chest_xray" / "configs"

OWN = """
dataset_name: mine
dataset_dir: {folder}/images
cases: "$monai_sf.datasets.table_cases(@table, @dataset_dir, columns=@columns, dataset=@dataset_name)"
table: {folder}/cases.csv
columns: {{image: path, label: finding, group: patient}}
num_classes: 2
modality: null
output_dir: {folder}/runs
studies:
  clinic_2: {{kind: acquisition, target: {{hospital: Hospital Clínic / 2, "#cells": {{above: 3}}}}}}
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "images").mkdir()
    lines = ["path,finding,patient,hospital,#cells"]
    for k in range(80):
        Image.fromarray(np.full((32, 32), k, np.uint8)).save(tmp_path / "images" / f"{k}.png")
        hospital = ("A", "Hospital Clínic / 2")[k // 4 % 4 == 0]
        lines.append(f"{k}.png,{('nan', '<b>sick</b>')[k % 2]},{k // 4},{hospital},{3 + (k > 10)}")
    (tmp_path / "cases.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "own.yaml").write_text(OWN.format(folder=tmp_path), encoding="utf-8")

    def open_config(*names, **overrides):
        files = [str(CONFIGS / name) for name in names] + [str(tmp_path / "own.yaml")]
        workflow = ConfigWorkflow(files, **overrides)
        workflow.initialize()
        return workflow

    return open_config


def test_a_study_of_the_config_is_split_and_described(own, tmp_path):
    write = "$monai_sf.files.write_json(@about, @evaluator#run_description)"
    workflow = own(
        "train.yaml", "evaluate.yaml", study="clinic_2", about=str(tmp_path / "about.json"), run=[write]
    )
    workflow.run()
    parser = workflow.parser
    splits = parser.get_parsed_content("splits")
    target = splits["split"] == "target"
    assert set(splits["hospital"][target]) == {"Hospital Clínic / 2"}
    assert splits["#cells"][target].gt(3).all()
    assert target.sum() == 16
    assert parser.get_parsed_content("evaluator#target_kind") == "acquisition"
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["study_description"] == "target: hospital is Hospital Clínic / 2 and #cells above 3"
    assert about["class_names"] == ["<b>sick</b>", "nan"]
    assert about["data_kind"] == "real"
    assert about["dataset"] == "mine"


def test_studies_and_a_wrong_study_on_the_command_line(own):
    more = {"old": {"kind": "manifestation", "target": {"#cells": {"below": 4}}}}
    parser = own("train.yaml", study="old", studies=more).parser
    assert (parser.get_parsed_content("splits")["split"] == "target").sum() == 11
    wrong = own("train.yaml", study="mskcc").parser
    with pytest.raises(RuntimeError) as caught:
        wrong.get_parsed_content("splits")
    assert "unknown study 'mskcc' of mine; known: iid, clinic_2" in str(
        caught.value.__cause__ or caught.value
    )


def test_prepare_splits_all_studies(own, capsys):
    own("train.yaml", "prepare.yaml").run()
    said = capsys.readouterr().out
    assert "study iid (no target domain" in said
    assert "study clinic_2 (target: hospital is Hospital Clínic / 2 and #cells above 3): " in said
