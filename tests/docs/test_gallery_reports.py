"""What the gallery's reports are made of: small, without this machine's paths, with every shown picture."""

import json
import zipfile

import gallery_reports
import pytest
from gallery_reports import PICTURES, REPORTS, SOURCES, STORED, evaluated, shown_rows, store

from helpers.made_up_runs import make_run
from monai_sf.files import write_json
from monai_sf.results import load_results
from monai_sf.results.format import seal

KINDS = {"lung_nodule_ct": "rendered", "chest_xray": "phantom", "pneumonia": "real"}


def descriptions(name):
    with zipfile.ZipFile(STORED / f"{name}.zip") as packed:
        files = [file for file in packed.namelist() if file.endswith("run.json")]
        return [json.loads(packed.read(file)) for file in files]


def unpacked(file, folder):
    with zipfile.ZipFile(file) as packed:
        packed.extractall(folder)
    return load_results(folder / "iid")


def test_what_is_stored_is_small():
    assert {file.stem for file in STORED.iterdir()} == set(REPORTS)
    assert sum(file.stat().st_size for file in STORED.iterdir()) < 5e6
    assert all((PICTURES / f"{name}.png").is_file() for name in REPORTS)


@pytest.mark.parametrize("name", REPORTS)
def test_the_reports_say_what_their_images_are(name):
    for run in descriptions(name):
        assert run["data_kind"] == KINDS[name]
        assert '"/' not in json.dumps(run)
        assert run["study_description"].endswith(SOURCES.get(name, ""))


@pytest.mark.parametrize("name", REPORTS)
def test_every_picture_that_the_report_shows_is_stored(name, tmp_path):
    results = unpacked(STORED / f"{name}.zip", tmp_path)
    shown = shown_rows(evaluated(results))
    assert sum(map(len, shown.values())) > 250
    for test_set, rows in shown.items():
        arrays = results.test_sets[test_set].arrays
        assert arrays["images"][rows].any(axis=(1, 2)).all()
        assert arrays["features"][rows].any(axis=1).all()


def test_results_are_stored_without_paths_and_what_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_reports, "STORED", tmp_path)
    monkeypatch.setattr(gallery_reports, "POINTS", 20)
    folder = tmp_path / "runs" / "iid-confidnet-0" / "results"
    make_run(n=40).save(folder)
    run = json.loads((folder / "run.json").read_text())
    config = {"run_dir": str(folder.parent), "output_dir": str(tmp_path / "runs"), "dataset_dir": "/data/x"}
    config["image"] = "/data/x/y.png"
    write_json(folder / "run.json", seal({**run, "config": config, "study_description": "d"}))
    first = store("pneumonia", tmp_path / "runs").read_bytes()
    assert store("pneumonia", tmp_path / "runs").read_bytes() == first
    stored = unpacked(tmp_path / "pneumonia.zip", tmp_path / "unpacked")
    assert stored.run["config"]["image"] == "data/y.png"
    assert stored.run["study_description"] == f"d. {SOURCES['pneumonia']}"
    pictured = sum(s.arrays["images"].any(axis=(1, 2)).sum() for s in stored.test_sets.values())
    assert 20 <= pictured < sum(map(len, stored.test_sets.values()))
    write_json(folder / "run.json", seal({**run, "config": {**config, "weights": "/home/me/w.pt"}}))
    with pytest.raises(ValueError, match=r'paths of this machine in run\.json: "/home/me/w\.pt"'):
        store("chest_xray", tmp_path / "runs")
