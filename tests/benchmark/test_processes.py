"""Processes that are killed, stopped or in each other's way."""

import json
import os
import random
import signal
import sys
import time

import pytest

from benchmark.zygote import Process
from monai_sf.benchmark import BenchmarkError, engines, execute, worker
from monai_sf.benchmark.names import mark_path
from monai_sf.benchmark.server import gist
from monai_sf.benchmark.tasks import Task
from monai_sf.files.locks import BusyError, locked

MATRIX = [
    "--studies",
    "iid",
    "texture",
    "--methods",
    "confidnet",
    "devries",
    "--seeds",
    "0",
    "--workers",
    "2",
]


def start(toy, out, *more):
    """The command in a process of its own."""
    files = ["--bundles", str(toy.bundle), "--dataset-dir", f"lung_nodule_ct={toy.data}"]
    command = ["run", *files, "--output-dir", str(out), *MATRIX, *more]
    with open(toy.bundle / "printed", "ab") as printed, open(os.devnull, "rb") as nothing:
        return Process(
            os.environ["ZYGOTE"],
            "benchmark.zygote:benchmark",
            [command],
            nothing.fileno(),
            printed.fileno(),
            printed.fileno(),
            os.environ,
        )


def printed(toy):
    return (toy.bundle / "printed").read_text()


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def everything(out):
    """What a benchmark has measured: its table, and all arrays of all results."""
    root = out / "lung_nodule_ct"
    arrays = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob("*/results/*/*.npy"))}
    assert len(arrays) == 2 * 3 + 2 * 6
    return (root / "tables" / "table.csv").read_text(), arrays


def test_killed_at_random_five_times_it_ends_with_the_table_of_an_unbroken_run(toy, tmp_path):
    assert start(toy, tmp_path / "whole").wait() == 0
    draw = random.Random(20)
    (tmp_path / "notes").write_text("")
    for _ in range(5):
        process = start(toy, toy.out, "--set", "pause=0.08")
        time.sleep(draw.uniform(0.1, 0.9))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (toy.out / "lung_nodule_ct" / "tables" / "table.csv").exists()
    assert start(toy, toy.out, "--set", "pause=0.08").wait() == 0, printed(toy)
    assert everything(toy.out) == everything(tmp_path / "whole")
    # of 4 trainings with 3 epochs each kill costs each of two workers one epoch at most
    epochs = [note for note in toy.notes() if "epoch" in note]
    assert 12 <= len(epochs) <= 12 + 5 * 2


def test_a_killed_benchmark_takes_its_tasks_with_it(toy):
    process = start(toy, toy.out, "--set", "pause=0.2")
    wait_for(lambda: [note for note in toy.notes() if "epoch" in note])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.2)
    noted = toy.notes()
    time.sleep(0.6)
    assert toy.notes() == noted
    with locked(toy.out / "tasks/lung_nodule_ct/iid-confidnet-0/train.lock", "a task lives"):
        pass


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_benchmark_ends_its_tasks_says_so_and_goes_on(toy, number, code):
    process = start(toy, toy.out, "--set", "pause=0.2")
    wait_for(lambda: [note for note in toy.notes() if "epoch" in note])
    os.kill(process.pid, number)
    assert process.wait() == code
    noted = toy.notes()
    assert "asked to stop" in noted  # politely, so that an evaluation stores what it has
    assert "stopped; the same command goes on where it was" in printed(toy)
    status = json.loads((toy.out / "status.json").read_text())
    assert status["state"] == "stopped"
    assert status["counts"]["stopped"] in (1, 2)
    time.sleep(0.4)
    assert toy.notes() == noted
    assert start(toy, toy.out, "--set", "pause=0.2").wait() == 0


def test_a_killed_server_fails_its_task_only(toy):
    with pytest.raises(
        BenchmarkError, match="iid-confidnet-0/train: the worker's own process failed, the pro"
    ):
        toy.run(overrides={"fail": "iid-confidnet-0:server"}, workers=1)
    assert (toy.out / "lung_nodule_ct" / "iid-devries-0" / "results" / "run.json").is_file()
    assert "outlived its server" not in toy.notes()


def test_a_process_that_does_not_fork_runs_one_task(toy, monkeypatch):
    monkeypatch.setattr(worker, "FORK", False)
    states, _ = toy.run()
    assert set(states.values()) == {"done"}
    with pytest.raises(BenchmarkError, match="1 of 7 tasks failed"):
        toy.run(overrides={"fail": "iid-confidnet-0:kill"})


def test_the_real_command_runs_a_task_and_a_broken_import_says_where_to_look(tmp_path, monkeypatch):
    """Without the tests' fork server."""
    log = tmp_path / "logs" / "worker.log"
    whole = worker.Worker({"TASK": "here"}, 1, log)
    task = Task("d/prepare", "prepare", "d", (), str(tmp_path), files=(str(tmp_path / "c.yaml"),))
    said = tmp_path / "said"
    prepare = f"$open({str(said)!r}, 'w').write(os.environ['TASK'])"
    (tmp_path / "c.yaml").write_text(f"imports: ['$import os']\nprepare: {prepare}\n")
    want = {"config": {}, "inputs": {}}
    outcome = whole.run(engines.request(task, want, tmp_path, 1))
    whole.stop()
    whole.join()
    assert outcome.error == ""
    assert outcome.result["cases"] == 0
    assert said.read_text() == "here"
    assert whole.run(engines.request(task, want, tmp_path, 1)).error == "stopped"
    (tmp_path / "monai_sf").mkdir()
    (tmp_path / "monai_sf" / "__init__.py").write_text("raise ImportError('half of it is installed')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    broken = worker.Worker({}, 1, log).run(engines.request(task, want, tmp_path, 1))
    assert f"the worker's own process failed, the process ended with the status 1; {log} may" in broken.error
    assert "ImportError: half of it is installed" in log.read_text()


def test_two_benchmarks_in_one_folder_are_kept_apart(toy):
    with (
        locked(toy.out / ".lock", "mine"),
        pytest.raises(BusyError, match=r"another benchmark runs in .*out: wait for it or choose another"),
    ):
        toy.run()


def test_a_task_waits_for_the_process_that_works_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "_PATIENCE_S", 0.3)
    task = Task("d/prepare", "prepare", "d", (), str(tmp_path), files=())
    before = time.monotonic()
    with (
        locked(mark_path(tmp_path, task.name).with_suffix(".lock"), "mine"),
        pytest.raises(BusyError, match="another process works on d/prepare"),
    ):
        execute.execute(task, {"config": {}, "inputs": {}}, tmp_path)
    assert time.monotonic() - before >= 0.3


def test_a_gpu_for_each_worker(monkeypatch, tmp_path):
    monkeypatch.setattr(engines.torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert engines.default_workers() == 2
    engine = engines.LocalEngine(3, tmp_path)
    assert [w.environment["CUDA_VISIBLE_DEVICES"] for w in engine._workers] == ["0", "1", "0"]
    engine.close()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 3")
    assert engines.gpus() == ["5", "3"]
    monkeypatch.setattr(engines.torch.cuda, "device_count", lambda: 0)
    assert engines.gpus() == []
    assert "CUDA_VISIBLE_DEVICES" not in engines.LocalEngine(1, tmp_path)._workers[0].environment


def test_workers_share_the_cores_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))  # what a batch system has left of them
    assert [engines.threads_of(n) for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert engines.threads_of(2) == 3


def test_a_worker_whose_process_has_died_between_two_tasks_gets_another(toy, tmp_path):
    engine = engines.LocalEngine(1, tmp_path / "out")
    try:
        task = Task("lung_nodule_ct/nothing", "report", "lung_nodule_ct", (), str(tmp_path / "nothing"))
        (first,) = engine.submit([(task, {"config": {}, "inputs": {}})])
        assert "KeyError" in first.result().error
        (worker,) = engine._workers
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        (second,) = engine.submit([(task, {"config": {}, "inputs": {}})])
        assert "KeyError" in second.result().error
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("no such class", "no such class"),
        (
            "2 of 9 images below /data cannot be used:\n  a.png: cut off\n  b.png: grey\nGet these anew",
            "2 of 9 images below /data cannot be used: a.png: cut off",
        ),
        ("the images are upside down\nsee above", "the images are upside down"),
        (
            "Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            "  File x\nOSError: a.png is cut off",
            "OSError: a.png is cut off",
        ),
    ],
)
def test_the_line_of_an_error_that_is_shown_says_what_is_wrong(text, line):
    assert gist(text) == line
