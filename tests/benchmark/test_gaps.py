"""What could go unseen: gaps that a table does not name, edits while it runs, damaged results."""

import json
from concurrent.futures import Future
from functools import partial

import pytest

from helpers.toy_bundle import write_bundle
from monai_sf.benchmark import BenchmarkError

RUN = "lung_nodule_ct/iid-confidnet-0"


def table_of(toy):
    return (toy.out / "lung_nodule_ct" / "tables" / "table.txt").read_text()


def test_a_table_is_made_anew_when_a_run_is_missing_that_was_not_asked_for_before(toy):
    toy.run(methods=["confidnet"])
    assert "missing" not in table_of(toy)
    (toy.bundle / "configs" / "devries.yaml").write_text("method: devries\nfail: iid-devries-0:error\n")
    with pytest.raises(BenchmarkError):
        toy.run()
    assert "missing run: lung_nodule_ct/iid/devries/seed 0" in table_of(toy)
    states, _ = toy.run(methods=["confidnet"])
    assert states[f"{RUN}/evaluate"] == "skipped"
    assert "missing" not in table_of(toy)


def test_a_dry_run_knows_what_is_unavailable(toy, tmp_path, capsys):
    other = write_bundle(tmp_path / "other", "dermoscopy")
    what = {
        "bundles": [other],
        "methods": ["confidnet"],
        "studies": ["iid", "mskcc"],
        "dataset_dirs": {"dermoscopy": other / "data"},
    }
    real, _ = toy.run(**what)
    states, _ = toy.run(**what, dry_run=True)
    assert {name for name, state in states.items() if state == "unavailable"} == {
        name for name, state in real.items() if state == "unavailable"
    }
    assert set(states.values()) == {"unavailable", "complete"}
    assert "unavailable dermoscopy/mskcc-confidnet-0/train: no case of MSKCC" in capsys.readouterr().out


def test_a_table_of_what_failed_and_what_is_unavailable_is_not_run(toy, tmp_path):
    other = write_bundle(tmp_path / "other", "dermoscopy")
    with pytest.raises(BenchmarkError):
        toy.run(
            bundles=[other],
            methods=["confidnet"],
            studies=["iid", "mskcc"],
            dataset_dirs={"dermoscopy": other / "data"},
            overrides={"fail": "iid-confidnet-0:error"},
        )
    status = json.loads((toy.out / "status.json").read_text())
    assert status["tasks"]["dermoscopy/table"]["state"] == "not run"


class Wordless:
    """An engine whose errors say nothing."""

    slots = 1

    def submit(self, task, want):
        future = Future()
        future.set_exception(TimeoutError())
        return future

    def is_running(self, task, future):
        return True

    def close(self):
        pass


def test_an_error_without_words_fails_the_task_alone(toy, monkeypatch):
    monkeypatch.setattr("monai_sf.benchmark.run.open_engine", lambda *_, **__: Wordless())
    with pytest.raises(BenchmarkError, match=r"failed: lung_nodule_ct/prepare: TimeoutError\n"):
        toy.run()


def test_a_config_that_is_edited_while_its_task_waits_fails_the_task(toy):
    path = toy.bundle / "configs" / "devries.yaml"
    train = toy.bundle / "configs" / "train.yaml"
    edit = f"- \"$helpers.toy_bundle.append('{path}', 'epochs: 1')\""
    train.write_text(train.read_text().replace("\nrun:\n", f"\nrun:\n{edit}\n"))
    with pytest.raises(BenchmarkError) as caught:
        toy.run(workers=1)
    assert "iid-devries-0/train: " in str(caught.value)
    assert "was edited while the benchmark ran (epochs: 3 there, 1 now)" in str(caught.value)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-8])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_damaged_results_are_evaluated_anew(toy, capsys):
    toy.run(methods=["confidnet"])
    run, logits = (toy.out / RUN / "results" / name for name in ("run.json", "iid/logits.npy"))
    damages = {
        "run.json is not": [partial(run.write_text, text) for text in ("[]", "{")],
        "logits.npy was changed": [partial(shorten, logits), partial(flip, logits)],
        "logits.npy is missing": [logits.unlink],
    }
    for reason, ways in damages.items():
        for damage in ways:
            damage()
            states, _ = toy.run(methods=["confidnet"])
            assert states[f"{RUN}/train"] == states["lung_nodule_ct/table"] == "skipped"
            assert states[f"{RUN}/evaluate"] == "done"
            assert reason in capsys.readouterr().err
