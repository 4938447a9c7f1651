"""The benchmark of a real bundle, shrunk, through its own config."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from monai.bundle import ConfigWorkflow

from helpers.tiny_bundle import tiny_lung

BUNDLE = Path(__file__).parents[2] / "bundles" / "lung_nodule_ct"

TINY = tiny_lung(5, severities=[3])


def predict(configs, folder):
    """Classify some images with the method's network, by a threshold of its evaluation."""
    images = folder / "images"
    images.mkdir()
    for path in sorted((folder / "data").rglob("*.npy"))[:4]:
        shutil.copy(path, images)
    files = [str(configs / name) for name in ("inference.json", "mine.yaml", "small.yaml")]
    run_dir = str(folder / "out" / "lung_nodule_ct" / "iid-mine-0")
    more = {"dataset_dir": str(images), "run_dir": run_dir, "output": str(folder / "predictions.csv")}
    workflow = ConfigWorkflow(
        [*files, str(folder / "tiny.yaml")], workflow_type="infer", logging_file=False, csf="DeVries", **more
    )
    workflow.initialize()
    workflow.run()
    predictions = pd.read_csv(folder / "predictions.csv")
    assert len(predictions) == 4
    assert {"MSR", "DeVries", "defer"} <= set(predictions)


#: A way of training that only this bundle has: DeVries & Taylor's with a budget of one's own.
MINE = """
+_base_: [devries]
method: mine
network_def#confidence#_target_: monai_sf.networks.heads.DeVriesHead
budget: 0.5
"""


@pytest.mark.e2e
def test_the_benchmark_run_of_the_bundle_with_a_method_of_its_own(tmp_path, toy, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "data").mkdir()
    configs = tmp_path / "own" / "configs"
    shutil.copytree(BUNDLE / "configs", configs)
    (configs / "mine.yaml").write_text(MINE)

    def run():
        workflow = ConfigWorkflow(
            str(configs / "benchmark.yaml"),
            logging_file=False,
            dataset_dir=str(tmp_path / "data"),
            output_dir=str(tmp_path / "out"),
            studies=["iid", "texture"],
            methods=["mine"],
            seeds=[0],
            overlays=["small.yaml", str(tmp_path / "tiny.yaml")],
            workers=1,
        )
        workflow.initialize()
        return workflow.run()

    (states,) = run()
    assert set(states.values()) == {"done"}
    table = pd.read_csv(tmp_path / "out" / "lung_nodule_ct" / "tables" / "table.csv")
    assert {"MSR", "MCD-EE", "DeVries"} <= set(table["csf"])
    assert {key.split("/")[1] for key in states if "-mine-" in key} == {"iid-mine-0", "texture-mine-0"}
    assert set(table["group"]) == {"iid", "cor", "man"}
    assert "Rendered images" in (tmp_path / "out" / "lung_nodule_ct" / "report.html").read_text()
    logs = [path.read_text() for path in (tmp_path / "out" / "logs").rglob("*.log")]
    assert len(logs) > 4
    assert not any("batch/s" in log for log in logs)  # bars would flood them
    assert "AURC in per cent" in capsys.readouterr().out
    predict(configs, tmp_path)
    (states,) = run()
    assert {v for k, v in states.items() if not k.endswith("/prepare")} == {"skipped"}
