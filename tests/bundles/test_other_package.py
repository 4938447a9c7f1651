"""A package that is not ours, with a method and a score, on a shipped bundle."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

from helpers.forks import as_new, forked
from helpers.tiny_bundle import TINY_NETWORK
from monai_sf.datasets.phantom import write_phantom

CONFIGS = Path(__file__).parents[2] / "bundles" / "dermoscopy" / "configs"

#: The files of the package as they are installed, with its entry points.
PACKAGE = {
    "otherlab/__init__.py": """
from pathlib import Path

from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from monai_sf.networks import ConfidenceHead
from monai_sf.scores import CSF, CSFS, Method, as_float64


class EvidenceHead(ConfidenceHead):
    output = "evidence"

    def __init__(self, num_features):
        super().__init__(nn.Linear(num_features, 1))


class EvidenceLoss(nn.Module):
    def forward(self, output, labels):
        right = (output.logits.argmax(1) == labels).float()
        return cross_entropy(output.logits, labels) + binary_cross_entropy_with_logits(
            output.others["evidence"], right
        )


EVIDENTIAL = Method(
    "evidential",
    scores=("MSR",),
    heads=("evidence",),
    decides="Evidence",
    dropout_samples=False,
    overlay=Path(__file__).with_name("evidential.yaml"),
)
EVIDENCE = CSF(
    "Evidence",
    ("evidence",),
    lambda arrays: as_float64(arrays["evidence"], "evidence"),
    method="evidential",
    description="What the other lab makes of the evidence.",
)
""",
    "otherlab/evidential.yaml": """
method: evidential
network_def#confidence#_target_: otherlab.EvidenceHead
stages:
- _target_: monai_sf.engines.Stage
  name: evidence
  epochs: '@epochs'
  trains: [backbone, head, confidence]
  loss: '@loss'
loss:
  _target_: otherlab.EvidenceLoss
""",
    "otherlab-2.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: otherlab\nVersion: 2.1\n",
    "otherlab-2.1.dist-info/entry_points.txt": (
        "[monai_sf.methods]\nevidential = otherlab:EVIDENTIAL\n"
        "[monai_sf.scores]\nevidence = otherlab:EVIDENCE\n"
    ),
}

TINY = f"""{TINY_NETWORK.format(channels=3)}
epochs: 1
mc_samples: 2
corruptions: [brightness_up]
severities: [3]
"""

#: In a fork, since what is registered stays so; the tasks' processes import the package anew.
SCRIPT = """
import sys
from pathlib import Path

import numpy as np
from monai.bundle import ConfigWorkflow

from monai_sf.benchmark.__main__ import main
from monai_sf.results import Results, load_results
from monai_sf.scores import METHODS
from monai_sf.tables import write_tables

if __name__ == "__main__":
    configs, root = map(Path, sys.argv[1:])
    run = root / "out" / "dermoscopy" / "iid-evidential-0"
    assert main([
        "run", "--bundles", str(configs.parent), "--output-dir", str(root / "out"), "--workers", "1",
        "--dataset-dir", f"dermoscopy={root / 'data'}", "--studies", "iid", "--methods", "evidential",
        "--seeds", "0", "--overlay", "small.yaml", str(root / "tiny.yaml"),
    ]) == 0
    overlays = METHODS["evidential"].overlay, configs / "small.yaml", root / "tiny.yaml"
    workflow = ConfigWorkflow(
        [str(configs / "inference.json"), *map(str, overlays)], workflow_type="infer", logging_file=False,
        dataset_dir=str(root / "data" / "ph2"), run_dir=str(run), output=str(root / "predictions.csv"),
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    found = load_results(run / "results")
    assert found.run["versions"]["otherlab"] == "2.1"
    arrays = found.test_sets["iid"].arrays
    assert set(arrays) == {"logits", "features", "evidence", "images"}
    results = Results.from_arrays(
        np.array(arrays["logits"]), found.labels_of("iid"), method="evidential",
        arrays={"evidence": arrays["evidence"]},
    )
    results.save(root / "own")
    write_tables([root / "own"], root / "tables", n_resamples=0)
"""


@pytest.mark.e2e
def test_a_method_and_a_score_of_another_package_work_like_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    site = tmp_path / "site"
    for name, text in PACKAGE.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "script.py").write_text(SCRIPT)
    write_phantom("dermoscopy", tmp_path / "data")

    def script():
        as_new()
        sys.path.insert(0, str(site))
        sys.argv = ["script.py", str(CONFIGS), str(tmp_path)]
        runpy.run_path(str(tmp_path / "script.py"), run_name="__main__")

    done = forked(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

    folder = tmp_path / "out" / "dermoscopy"
    table, own = (pd.read_csv(place / "tables" / "table.csv") for place in (folder, tmp_path))
    assert set(table["csf"]) == {"MSR", "Evidence"}
    assert set(table["group"]) == {"iid", "cor"}
    assert set(pd.read_csv(folder / "tables" / "cells.csv")["method"]) == {"evidential"}
    page = (folder / "report.html").read_text()
    assert "What the other lab makes of the evidence." in page
    assert "evidential" in page
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert {"MSR", "Evidence", "defer"} <= set(predictions)
    assert predictions["Evidence"].std() > 0
    own, ours = (t[t["group"] == "iid"].set_index("csf")["mean"].to_dict() for t in (own, table))
    assert own == pytest.approx(ours, rel=1e-6)
