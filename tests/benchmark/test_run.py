"""The matrix: what is run, what is skipped, what is resumed, what is run anew, and what a failure stops."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pandas as pd
import pytest

from helpers.toy_bundle import write_bundle
from monai_sf.benchmark import BenchmarkError, manifests
from monai_sf.benchmark.configs import Bundle
from monai_sf.benchmark.tasks import Task
from monai_sf.networks.checkpoints import save_checkpoint, summarise_training
from monai_sf.results import FORMAT_VERSION
from monai_sf.scores import CSF, CSFS

RUN = "lung_nodule_ct/iid-confidnet-0"


def test_the_whole_matrix_then_nothing_is_run_again(toy, capsys):
    states, notes = toy.run(studies=["iid", "texture"], seeds=[0, 1])
    assert set(states.values()) == {"done"}
    assert len(states) == 1 + 2 * 8 + 2
    assert sorted(n for n in notes if "evaluate" in n) == sorted(
        f"{s}-{m}-{i} evaluate" for s in ("iid", "texture") for m in ("confidnet", "devries") for i in (0, 1)
    )
    printed = capsys.readouterr().out
    assert "AURC in per cent" in printed
    assert str(toy.out / "lung_nodule_ct" / "report.html") in printed
    table = pd.read_csv(toy.out / "lung_nodule_ct" / "tables" / "table.csv")
    assert {"MSR", "ConfidNet", "DeVries"} <= set(table["csf"])
    assert list(table["group"].unique()) == ["iid", "man"]
    again, notes = toy.run(studies=["iid", "texture"], seeds=[0, 1])
    assert notes == ["prepare"]  # which looks at the data
    assert {k for k, v in again.items() if v == "done"} == {"lung_nodule_ct/prepare"}
    assert {v for k, v in again.items() if k != "lung_nodule_ct/prepare"} == {"skipped"}
    assert "AURC in per cent" in capsys.readouterr().out


def test_the_first_evaluation_waits_for_its_own_training_not_for_the_last_one(toy):
    _, notes = toy.run(methods=["confidnet"], seeds=range(4), workers=1)
    first = next(place for place, note in enumerate(notes) if note.endswith(" evaluate"))
    assert notes[first] == "iid-confidnet-0 evaluate"
    assert first < notes.index("iid-confidnet-2 epoch 1")


def test_a_larger_matrix_runs_what_is_new_and_what_depends_on_it(toy):
    toy.run()
    states, notes = toy.run(seeds=[0, 1])
    assert states[f"{RUN}/train"] == states[f"{RUN}/evaluate"] == "skipped"
    assert states["lung_nodule_ct/table"] == "done"
    assert not [note for note in notes if note.startswith("iid-confidnet-0")]


def test_another_config_is_run_anew_and_the_old_results_are_set_aside(toy, capsys):
    toy.run()
    old = (toy.out / RUN / "best.pt").read_text()
    states, notes = toy.run(overrides={"epochs": 4})
    assert states[f"{RUN}/train"] == states[f"{RUN}/evaluate"] == "done"
    assert "iid-confidnet-0 epoch 4" in notes
    assert "iid-confidnet-0 epoch 1" in notes
    assert (toy.out / "set_aside" / RUN / "best.pt").read_text() == old
    assert (toy.out / "set_aside" / RUN / "results" / "run.json").is_file()
    assert "another config (epochs: 3 there, 4 now)" in capsys.readouterr().err
    toy.run(methods=["confidnet"], overrides={"epochs": 5})
    assert (toy.out / "set_aside" / RUN / "best.pt").read_text() == old
    assert (toy.out / "set_aside" / f"{RUN}~2" / "results" / "run.json").is_file()


def test_a_score_that_another_package_brings_is_tabled_and_nothing_is_trained_anew(toy, monkeypatch):
    toy.run()
    monkeypatch.setitem(CSFS._entries, "New", CSF("New", ("logits",), lambda arrays: arrays["logits"]))
    states, notes = toy.run()
    assert notes == ["prepare"]
    assert {name.rpartition("/")[2] for name, state in states.items() if state == "done"} == {
        *("prepare", "table", "report"),
    }


def test_where_things_lie_and_on_what_they_run_is_no_other_config(toy, tmp_path):
    toy.run()
    shutil.copytree(toy.data, tmp_path / "elsewhere", copy_function=shutil.copy2)
    moved = toy.out.rename(tmp_path / "moved")
    states, notes = toy.run(
        output_dir=moved,
        dataset_dirs={"lung_nodule_ct": tmp_path / "elsewhere"},
        overrides={"device": "cuda"},
        workers=1,
    )
    assert notes == ["prepare"]
    assert "done" not in {v for k, v in states.items() if k != "lung_nodule_ct/prepare"}


def test_a_config_of_the_evaluation_alone_keeps_the_training(toy):
    toy.run()
    path = toy.bundle / "configs" / "evaluate.yaml"
    path.write_text(path.read_text().replace("samples: 5", "samples: 6"))
    states, notes = toy.run()
    assert states[f"{RUN}/train"] == "skipped"
    assert states[f"{RUN}/evaluate"] == "done"
    assert not [note for note in notes if "epoch" in note]
    assert not (toy.out / "set_aside" / RUN / "best.pt").exists()
    assert (toy.out / "set_aside" / RUN / "results" / "run.json").is_file()


def change_the_label_of_a_case(data):
    path = data / "cases.csv"
    path.write_text(path.read_text().replace("c0,0", "c0,1"))


def touch_an_image(data):
    os.utime(data / "3.npy", (1, 1))


def lengthen_an_image(data):
    times = (data / "3.npy").stat()
    with open(data / "3.npy", "ab") as file:
        file.write(b"x")
    os.utime(data / "3.npy", ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", [change_the_label_of_a_case, touch_an_image, lengthen_an_image])
def test_other_data_run_everything_anew(toy, change, capsys):
    toy.run(methods=["confidnet"])
    change(toy.data)
    states, notes = toy.run(methods=["confidnet"])
    assert states[f"{RUN}/train"] == states[f"{RUN}/evaluate"] == "done"
    assert "iid-confidnet-0 epoch 1" in notes
    assert f"{RUN}/train is run anew, its outputs are set aside: other inputs (data)" in (
        capsys.readouterr().err
    )


def test_another_checkpoint_is_evaluated_anew(toy):
    toy.run(methods=["confidnet"])
    path = toy.out / RUN / "best.pt"
    path.write_text(json.dumps({"weights": 0.5}))
    for part in ("training", "validation"):  # of the former checkpoint, which an evaluation would refuse
        (toy.out / RUN / part).mkdir()
    states, _ = toy.run(methods=["confidnet"])
    assert states[f"{RUN}/train"] == "skipped"
    assert states[f"{RUN}/evaluate"] == "done"
    for part in ("training", "validation"):
        assert not (toy.out / RUN / part).exists()
        assert (toy.out / "set_aside" / RUN / part).is_dir()


def test_a_checkpoint_that_is_not_the_one_of_the_training_is_trained_anew(tmp_path):
    task = Task("d/r/train", "train", "d", (), str(tmp_path / "d" / "r"))
    want = {"config": {}, "inputs": {}}
    save_checkpoint(tmp_path / "d" / "r" / "best.pt", {"epoch": 1})
    summarise_training(tmp_path / "d" / "r", {})
    manifests.write_manifest(tmp_path, task.name, "complete", want, result={})
    assert manifests.examine(task, want, tmp_path).state == "complete"
    (tmp_path / "d" / "r" / "best.pt").write_bytes(b"another")
    found = manifests.examine(task, want, tmp_path)
    assert found.state == "stale"
    assert "best.pt is not the file that the training wrote" in found.reason
    with pytest.raises(ValueError, match=r"prepare\.json is damaged or missing: remove it"):
        manifests.result_of(tmp_path, "d/prepare", "digest")


def test_a_result_that_was_removed_is_made_again(toy):
    toy.run(methods=["confidnet"])
    (toy.out / "lung_nodule_ct" / "report.html").unlink()
    shutil.rmtree(toy.out / RUN / "results")
    states, notes = toy.run(methods=["confidnet"])
    assert states[f"{RUN}/train"] == "skipped"
    assert "iid-confidnet-0 evaluate" in notes
    assert (toy.out / "lung_nodule_ct" / "report.html").is_file()
    assert states["lung_nodule_ct/table"] == "skipped"  # the same results as before


def test_outputs_whose_manifest_does_not_say_complete_are_not_trusted(toy):
    toy.run(methods=["confidnet"])
    for name in (f"{RUN}/train", "lung_nodule_ct/report"):
        manifest = toy.out / "tasks" / f"{name}.json"
        manifest.write_text(manifest.read_text().replace('"complete"', '"started"'))
    states, notes = toy.run(methods=["confidnet"])
    assert states[f"{RUN}/train"] == states["lung_nodule_ct/report"] == "done"
    assert not [note for note in notes if "epoch" in note]  # the training itself knows that it is complete
    assert states[f"{RUN}/evaluate"] == "skipped"


def test_results_of_an_older_format_are_evaluated_anew_and_it_is_said(toy, capsys):
    toy.run(methods=["confidnet"])
    path = toy.out / RUN / "results" / "run.json"
    now = f'"format_version": {FORMAT_VERSION}'
    assert now in path.read_text()
    path.write_text(path.read_text().replace(now, '"format_version": 0'))
    states, notes = toy.run(methods=["confidnet"])
    assert notes == ["prepare", "iid-confidnet-0 evaluate"]
    assert states["lung_nodule_ct/table"] == "skipped"  # the same results again
    assert "results of format version 0, this monai_sf reads version" in capsys.readouterr().err


def test_a_folder_that_the_benchmark_did_not_make_is_set_aside(toy):
    folder = toy.out / RUN
    folder.mkdir(parents=True)
    (folder / "last.pt").write_text(json.dumps({"epoch": 2, "weights": 9.0}))
    _, notes = toy.run(methods=["confidnet"])
    assert "iid-confidnet-0 epoch 1" in notes
    assert (toy.out / "set_aside" / RUN / "last.pt").is_file()


def test_an_interrupted_training_is_resumed(toy):
    with pytest.raises(BenchmarkError):
        toy.run(methods=["confidnet"], overrides={"fail": "iid-confidnet-0:error"})
    folder = toy.out / RUN
    # as far as a killed one would have come
    (folder / "last.pt").write_text(json.dumps({"epoch": 2, "weights": 1.5}))
    manifest = toy.out / "tasks" / f"{RUN}/train.json"
    content = json.loads(manifest.read_text())
    content["config"]["fail"] = ""
    manifest.write_text(json.dumps(content))
    (folder / "train.config.json").write_text(json.dumps(content["config"]))
    _, notes = toy.run(methods=["confidnet"])
    assert [note for note in notes if "epoch" in note] == ["iid-confidnet-0 epoch 3"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("error", "ValueError: the images are upside down"),
        ("kill", r"the process was killed by SIGKILL \(out of memory\?\)"),
        ("full", r"OSError: \[Errno 28\] No space left on device; free space \(the task writes to \S+/out\)"),
    ],
)
def test_a_failed_task_is_named_with_its_log_and_the_others_finish(toy, how, reason):
    with pytest.raises(BenchmarkError) as caught:
        toy.run(seeds=[0, 1], overrides={"fail": f"iid-devries-1:{how}"})
    said = str(caught.value)
    assert "1 of 11 tasks failed" in said
    assert re.search(rf"failed: lung_nodule_ct/iid-devries-1/train: {reason}\n", said)
    assert "not run, since they need what failed: lung_nodule_ct/iid-devries-1/evaluate" in said
    log = re.search(r"log: (\S+)", said)[1]
    assert f"about to fail: {how}" in Path(log).read_text()
    for run in ("iid-confidnet-0", "iid-confidnet-1", "iid-devries-0"):
        assert (toy.out / "lung_nodule_ct" / run / "results" / "run.json").is_file()
    # the table says what it lacks, and is made anew when it is there
    tables = toy.out / "lung_nodule_ct" / "tables" / "table.txt"
    assert "seed 1" in tables.read_text()
    status = json.loads((toy.out / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["counts"] == {"done": 9, "failed": 1, "not run": 1}
    states, _ = toy.run(seeds=[0, 1])
    assert states["lung_nodule_ct/table"] == states["lung_nodule_ct/report"] == "done"
    assert "seed 1" not in tables.read_text()


def test_a_table_of_all_datasets_names_what_failed_and_not_what_cannot_be_run(toy, tmp_path):
    other = write_bundle(tmp_path / "other", "dermoscopy")
    with pytest.raises(BenchmarkError) as caught:
        toy.run(
            bundles=[toy.bundle, other],
            methods=["confidnet"],
            studies=["iid", "mskcc", "texture"],
            dataset_dirs={"lung_nodule_ct": toy.data, "dermoscopy": other / "data"},
            overrides={"fail": "texture-confidnet-0:error"},
        )
    assert "unavailable: dermoscopy/mskcc-confidnet-0: no case of MSKCC (no attribution)" in str(caught.value)
    everything = (toy.out / "tables" / "table.txt").read_text()
    assert "dermoscopy" in everything
    assert "texture" in everything
    assert "mskcc" not in everything
    assert "mskcc" not in (toy.out / "dermoscopy" / "tables" / "table.txt").read_text()


def test_a_data_folder_that_is_not_there_is_said_before_anything_is_run(toy, tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset_dir .*dta is not there"):
        toy.run(dataset_dirs={"lung_nodule_ct": tmp_path / "dta"})
    assert toy.notes() == []
    assert not (tmp_path / "dta").exists()


def test_without_any_results_there_is_no_table(toy):
    with pytest.raises(BenchmarkError, match="1 of 5 tasks failed"):
        toy.run(methods=["confidnet"], overrides={"fail": "iid-confidnet-0:error"})
    assert not (toy.out / "lung_nodule_ct" / "tables").exists()


def test_data_that_are_not_there_fail_the_preparation_alone(toy):
    (toy.data / "5.npy").unlink()
    with pytest.raises(BenchmarkError, match=r"failed: lung_nodule_ct/prepare: FileNotFoundError: .*5\.npy"):
        toy.run()
    assert toy.notes() == ["prepare"]


def test_studies_that_the_data_do_not_allow_are_unavailable_not_failed(toy, tmp_path, capsys):
    other = write_bundle(tmp_path / "other", "dermoscopy")
    states, _ = toy.run(
        bundles=[other],
        methods=["confidnet"],
        studies=["iid", "mskcc"],
        dataset_dirs={"dermoscopy": other / "data"},
    )
    assert states["dermoscopy/mskcc-confidnet-0/train"] == "unavailable"
    assert states["dermoscopy/mskcc-confidnet-0/evaluate"] == "unavailable"
    assert states["dermoscopy/table"] == "done"
    assert "unavailable: dermoscopy/mskcc-confidnet-0: no case of MSKCC" in capsys.readouterr().out


def test_overlays_and_overrides_override_in_that_order(toy, tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 5\nlearning_rate: 0.25\n")
    _, notes = toy.run(
        methods=["confidnet"],
        overlays=["small.yaml", str(tmp_path / "mine.yaml")],
        overrides={"learning_rate": 0.125},
    )
    assert "iid-confidnet-0 epoch 5" in notes
    config = json.loads((toy.out / RUN / "train.config.json").read_text())
    assert (config["epochs"], config["learning_rate"]) == (5, 0.125)


def test_what_only_the_evaluation_reads_trains_nothing_anew(toy, capsys):
    evaluate = toy.bundle / "configs" / "evaluate.yaml"
    evaluate.write_text(evaluate.read_text() + "scores: {depth: 1}\nshown: '@scores#depth'\n")
    toy.run(methods=["confidnet"], search={"learning_rate": [0.1, 0.2]})
    states, notes = toy.run(
        methods=["confidnet"],
        search={"learning_rate": [0.1, 0.2]},
        overrides={"samples": 7, "scores#depth": 2},
    )
    assert notes == ["prepare", "iid-confidnet-0 evaluate"]
    assert states[f"{RUN}/train"] == "skipped"
    config = json.loads((toy.out / RUN / "evaluate.config.json").read_text())
    assert (config["samples"], config["scores"]) == (7, {"depth": 2})
    assert "another config (samples: 5 there, 7 now; scores: " in capsys.readouterr().err
    # a key that no config has goes to both, which refuse it
    opened = Bundle.open(toy.bundle, [], {"samples": 7, "sample": 7, "epochs": 4, "nested#depth": 1}, {})
    assert opened.overrides_in_training("devries") == {"sample": 7, "epochs": 4, "nested#depth": 1}


def test_the_manifest_has_the_config_that_the_run_itself_claims_its_folder_with(toy):
    toy.run()
    for stage in ("train", "evaluate"):
        manifest = json.loads((toy.out / "tasks" / RUN / f"{stage}.json").read_text())
        assert manifest["config"] == json.loads((toy.out / RUN / f"{stage}.config.json").read_text())


def test_a_dry_run_says_what_there_is_and_does_nothing(toy, capsys):
    states, notes = toy.run(dry_run=True)
    assert notes == []
    assert set(states.values()) == {"new"}
    assert not toy.out.exists()
    toy.run()
    states, notes = toy.run(dry_run=True)
    assert (notes, set(states.values())) == ([], {"complete"})
    states, notes = toy.run(dry_run=True, overrides={"epochs": 4}, seeds=[0, 1])
    assert notes == []
    assert states[f"{RUN}/train"] == states[f"{RUN}/evaluate"] == "stale"
    assert states["lung_nodule_ct/iid-confidnet-1/train"] == "new"
    assert "stale     lung_nodule_ct/iid-confidnet-0/train: another config (epochs: 3 there, 4 now)" in (
        capsys.readouterr().out
    )


class BrokenEngine:
    """Its machines go away."""

    slots = 1

    def submit(self, task, want):
        future = Future()
        future.set_exception(ConnectionError("the machine is gone\nand more"))
        return future

    def is_running(self, task, future):
        return True

    def close(self):
        self.closed = True


def test_an_engine_that_breaks_fails_the_task(toy, monkeypatch):
    engine = BrokenEngine()
    monkeypatch.setattr("monai_sf.benchmark.run.open_engine", lambda *_, **__: engine)
    with pytest.raises(BenchmarkError, match="prepare: ConnectionError: the machine is gone\n"):
        toy.run()
    assert engine.closed


def test_looking_at_the_status_and_beginning_a_process_do_not_wait_for_torch():
    modules = "monai_sf.benchmark.__main__, monai_sf.benchmark.process"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
