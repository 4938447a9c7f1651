"""Several runs: one that fails does not stop the others."""

import os
from pathlib import Path

import pytest

from monai_sf.benchmark import runs

TRAIN = """
output_dir: runs
study: iid
method: confidnet
prepare: $1
run_dir: $@output_dir + '/' + @study
run: "$open(@output_dir + '/log', 'a').write(@study + ' ') and 1 / (0 if @study == 'bad' else 1)"
"""


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "train.yaml").write_text(TRAIN)
    (folder / "evaluate.yaml").write_text("mark: 1\n")
    (folder / "metadata.json").write_text("{}")
    return folder


def run(configs, output, studies, workers=1):
    return runs.run_studies(
        configs,
        studies=studies,
        methods=["confidnet"],
        overrides={"output_dir": str(output)},
        workers=workers,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_run_is_named_and_the_others_finish(configs, tmp_path, workers):
    with pytest.raises(RuntimeError, match=r"1 of 3 runs failed \(bad-confidnet: division by zero\)"):
        run(configs, tmp_path, ["iid", "bad", "texture"], workers)
    log = (tmp_path / "log").read_text().split()
    assert sorted(log) == ["bad", "iid", "iid", "texture", "texture"]  # trained and evaluated, save one


def test_results_come_in_the_order_of_the_studies(configs, tmp_path):
    found = run(configs, tmp_path, ["texture", "iid"])
    assert found == [Path(tmp_path) / "texture" / "results", Path(tmp_path) / "iid" / "results"]


def test_workers_share_the_cores_and_leave_no_trace(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with runs._shared_cores(2):
        assert os.environ["OMP_NUM_THREADS"] == str(max(1, os.cpu_count() // 2))
        assert os.environ["TQDM_DISABLE"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "TQDM_DISABLE" not in os.environ
