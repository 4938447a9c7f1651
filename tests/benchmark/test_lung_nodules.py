"""The benchmark of a real bundle, shrunk, through its own config."""

from pathlib import Path

import pandas as pd
import pytest
from monai.bundle import ConfigWorkflow
from tiny import tiny_lung

BUNDLE = Path(__file__).parents[2] / "bundles" / "lung_nodule_ct"

TINY = tiny_lung(5, severities=[3])


@pytest.mark.e2e
def test_the_benchmark_run_of_the_bundle(tmp_path, toy, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "data").mkdir()

    def run():
        workflow = ConfigWorkflow(
            str(BUNDLE / "configs" / "benchmark.yaml"),
            logging_file=False,
            dataset_dir=str(tmp_path / "data"),
            output_dir=str(tmp_path / "out"),
            studies=["iid", "texture"],
            methods=["devries"],
            seeds=[0],
            overlays=["small.yaml", str(tmp_path / "tiny.yaml")],
            workers=1,
        )
        workflow.initialize()
        return workflow.run()

    (states,) = run()
    assert set(states.values()) == {"done"}
    table = pd.read_csv(tmp_path / "out" / "lung_nodule_ct" / "tables" / "table.csv")
    assert "DeVries" in set(table["csf"])
    assert set(table["group"]) == {"iid", "cor", "man"}
    assert "Rendered images" in (tmp_path / "out" / "lung_nodule_ct" / "report.html").read_text()
    logs = [path.read_text() for path in (tmp_path / "out" / "logs").rglob("*.log")]
    assert len(logs) > 4
    assert not any("batch/s" in log for log in logs)  # bars would flood them
    assert "AURC in per cent" in capsys.readouterr().out
    (states,) = run()
    assert {v for k, v in states.items() if not k.endswith("/prepare")} == {"skipped"}
