"""The overlay for several GPUs under the real torchrun, with two processes on a CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from helpers.forks import run_module, torchrun
from helpers.tiny_bundle import tiny_lung
from monai_sf.results import load_results

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "lung_nodule_ct" / "configs"
TINY = tiny_lung(5, mc_samples=3, severities=[1, 3])


def arguments(folder, *files):
    small = [str(CONFIGS / "small.yaml"), str(folder / "tiny.yaml")]
    configs = [*(str(CONFIGS / name) for name in files), *small, str(CONFIGS / "multi_gpu.yaml")]
    places = ["--dataset_dir", str(folder / "data"), "--output_dir", str(folder / "two")]
    return ["run", "--config_file", str(configs), *places]


def by_command(folder, *files):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*command, "-m", "monai.bundle", *arguments(folder, *files)],
        capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.e2e
def test_training_and_evaluation_under_torchrun(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "data").mkdir()
    # the agent of torchrun alone, which saves seconds; the evaluation is by the command of the docs
    done = torchrun(run_module, tmp_path, "monai.bundle", *arguments(tmp_path, "train.yaml"))
    assert done.returncode == 0, done.stderr[-4000:]
    two = tmp_path / "two" / "iid-confidnet-0"
    assert [entry["stage"] for entry in json.loads((two / "training.json").read_text())["history"]] == [
        "classifier",
        "confidnet",
        "finetuning",
    ]
    one = tmp_path / "one" / "iid-confidnet-0"
    shutil.copytree(two, one)
    done = by_command(tmp_path, "train.yaml", "evaluate.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    files = [
        CONFIGS / "train.yaml",
        CONFIGS / "evaluate.yaml",
        CONFIGS / "small.yaml",
        tmp_path / "tiny.yaml",
    ]
    alone = ConfigWorkflow(
        [str(file) for file in files],
        logging_file=False,
        dataset_dir=str(tmp_path / "data"),
        output_dir=str(tmp_path / "one"),
    )
    alone.initialize()
    alone.run()
    expected, found = load_results(one / "results"), load_results(two / "results")
    assert expected.cases.equals(found.cases)
    assert list(expected.test_sets) == list(found.test_sets)
    assert "gaussian.mean" in expected.fitted  # to the training cases
    assert set(expected.fitted) == set(found.fitted)
    np.testing.assert_allclose(found.fitted["gaussian.mean"], expected.fitted["gaussian.mean"], rtol=1e-4)
    for name, test_set in expected.test_sets.items():
        assert len(test_set) > 10
        np.testing.assert_array_equal(test_set.rows, found.test_sets[name].rows)
        for key, array in test_set.arrays.items():
            other = found.test_sets[name].arrays[key]
            np.testing.assert_allclose(array, other, rtol=1e-4, atol=1e-6, err_msg=f"{name} {key}")
