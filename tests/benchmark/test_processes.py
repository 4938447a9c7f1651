"""Processes that are killed, stopped or in each other's way."""

import json
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest

from helpers.forks import as_new, forked
from helpers.zygote import Process
from monai_sf.benchmark import execute, local_engine
from monai_sf.benchmark.names import manifest_path, one_line
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


@pytest.fixture
def start(toy, zygote):
    """The command in a process of its own."""

    def start(out, *more):
        files = ["--bundles", str(toy.bundle), "--dataset-dir", f"lung_nodule_ct={toy.data}"]
        command = ["run", *files, "--output-dir", str(out), *MATRIX, *more]
        return Process(zygote, command, toy.bundle / "printed", os.environ)

    return start


def printed(toy):
    return (toy.bundle / "printed").read_text()


def wait_for(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def everything(out):
    """What a benchmark has measured: its table, and all arrays of all results."""
    root = out / "lung_nodule_ct"
    arrays = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob("*/results/*/*.npy"))}
    assert len(arrays) == 2 * 3 + 2 * 6
    return (root / "tables" / "table.csv").read_text(), arrays


def test_killed_at_random_five_times_it_ends_with_the_table_of_an_unbroken_run(toy, start, tmp_path):
    assert start(tmp_path / "whole").wait() == 0
    draw = random.Random(20)
    (tmp_path / "notes").write_text("")
    for _ in range(5):
        process = start(toy.out, "--set", "pause=0.3")
        time.sleep(draw.uniform(0.1, 0.9))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (toy.out / "lung_nodule_ct" / "tables" / "table.csv").exists()
    assert start(toy.out, "--set", "pause=0.3").wait() == 0, printed(toy)
    assert everything(toy.out) == everything(tmp_path / "whole")
    # of 4 trainings with 3 epochs each kill costs each of two workers one epoch at most
    epochs = [note for note in toy.notes() if "epoch" in note]
    assert 12 <= len(epochs) <= 12 + 5 * 2


def test_a_killed_benchmark_takes_its_tasks_with_it(toy, start):
    process = start(toy.out, "--set", "pause=0.2")
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
def test_a_stopped_benchmark_ends_its_tasks_says_so_and_is_resumed(toy, start, number, code):
    process = start(toy.out, "--set", "pause=0.2")
    wait_for(lambda: [note for note in toy.notes() if "epoch" in note])
    os.kill(process.pid, number)
    assert process.wait() == code
    noted = toy.notes()
    assert "asked to stop" in noted  # politely, so that an evaluation stores what it has
    assert "stopped; the same command resumes it" in printed(toy)
    status = json.loads((toy.out / "status.json").read_text())
    assert status["state"] == "stopped"
    assert status["counts"]["stopped"] in (1, 2)
    time.sleep(0.4)
    assert toy.notes() == noted
    assert start(toy.out, "--set", "pause=0.2").wait() == 0


def test_a_killed_group_takes_tasks_and_what_they_have_started_with_it(toy, start):
    process = start(toy.out, "--set", "pause=0.2", "fail=iid-confidnet-0:children")
    wait_for(lambda: [note for note in toy.notes() if "child" in note])
    (child,) = [int(note.split()[1]) for note in toy.notes() if "child" in note]
    os.killpg(process.pid, signal.SIGKILL)  # with the fork server
    process.wait()
    wait_for(lambda: has_ended(child))


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """How a task ends that does what the expression says."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(local_engine, "gpus", lambda: ["7"])
    engine = local_engine.LocalEngine(1, tmp_path)

    def outcome(expression):
        modules = "ctypes", "os", "signal", "subprocess", "torch", "threadpoolctl", "time"
        imports = "".join(f"- $import {module}\n" for module in modules)
        (tmp_path / "c.yaml").write_text(f"imports:\n{imports}prepare: |-\n  ${expression}\n")
        task = Task("d/prepare", "prepare", "d", (), str(tmp_path), files=(str(tmp_path / "c.yaml"),))
        return engine.submit(task, {"config": {}, "inputs": {}}).result()

    yield outcome
    engine.close()


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "the process was killed by SIGKILL (out of memory?)"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "the process was killed by SIGTERM"),
        ("os.kill(os.getpid(), 40)", "the process was killed by signal 40"),
        ("ctypes.string_at(0)", "the process was killed by SIGSEGV"),
        ("os._exit(0)", "the process ended with the status 0"),
        ("exit(3)", "SystemExit: 3"),
        ("bytearray(1 << 60)", "MemoryError"),
    ],
)
def test_an_engine_survives_its_tasks_and_says_how_they_ended(outcome, expression, reason):
    assert outcome(expression).error == reason


def test_a_fork_server_that_imports_does_not_hear_ctrl_c(outcome, tmp_path):
    outcome(f"open({str(tmp_path / 'said')!r}, 'w').write(open(f'/proc/{{os.getppid()}}/status').read())")
    status = dict(line.split(":", 1) for line in (tmp_path / "said").read_text().splitlines())
    assert int(status["SigBlk"], 16) & 1 << signal.SIGINT - 1


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "None"])
def test_a_task_takes_what_it_has_started_with_it(outcome, tmp_path, end):
    start = f"open({str(tmp_path / 'child')!r}, 'w').write(str(subprocess.Popen(['sleep', '100']).pid))"
    outcome(f"[{start}, {end}]")
    wait_for(lambda: has_ended(int((tmp_path / "child").read_text())))


def test_a_killed_fork_server_fails_the_task_and_there_is_another(outcome, tmp_path):
    beyond = f"open({str(tmp_path / 'beyond')!r}, 'w')"
    failed = outcome(f"[os.kill(os.getppid(), 9), time.sleep(1), {beyond}]")
    assert failed.error == "the process ended with the status 255, or its fork server was killed"
    assert outcome("None").result["cases"] == 0
    assert not (tmp_path / "beyond").exists()


def test_a_progress_bar_of_a_task_leaves_no_semaphore_that_is_reported_as_leaked(outcome, tmp_path):
    lock = "type(__import__('tqdm').tqdm(()).get_lock()).__name__"
    assert outcome(f"open({str(tmp_path / 'said')!r}, 'w').write({lock})").error == ""
    assert (tmp_path / "said").read_text() == "RLock"  # TqdmDefaultWriteLock holds a semaphore


def test_a_task_has_its_threads_and_its_gpu(outcome, tmp_path):
    seen = "[torch.get_num_threads(), os.environ['OMP_NUM_THREADS'], os.environ.get('CUDA_VISIBLE_DEVICES'), "
    seen += "sorted({pool['num_threads'] for pool in threadpoolctl.threadpool_info()})]"
    assert outcome(f"open({str(tmp_path / 'said')!r}, 'w').write(repr({seen}))").error == ""
    assert (tmp_path / "said").read_text() == "[3, '3', '7', [3]]"


def test_workers_of_a_task_are_forked_and_do_not_import_all_anew(outcome, tmp_path):
    method = "__import__('multiprocessing').get_start_method()"
    assert outcome(f"open({str(tmp_path / 'said')!r}, 'w').write({method})").error == ""
    assert (tmp_path / "said").read_text() == "fork"


def test_a_script_is_not_run_once_more_and_tasks_run_where_it_does(tmp_path):
    """A script as users write it, which guards nothing, and has changed its folder, path and environment."""
    mine, said = tmp_path / "mine", tmp_path / "said"
    mine.mkdir()
    (mine / "my_module.py").write_text("")
    (mine / "monai_sf.py").write_text("raise SystemExit('not the one that the script has')")
    what = (
        f"open({str(said)!r}, 'a').write(f'{{os.getcwd()}} {{os.environ[\"HERE\"]}} {{my_module.__name__}}|')"
    )
    (mine / "c.yaml").write_text(f"imports: ['$import os', '$import my_module']\nprepare: ${what}\n")
    (tmp_path / "script.py").write_text(
        f"""
import os, sys
print("begins")
from monai_sf.benchmark import local_engine
from monai_sf.benchmark.tasks import Task

os.chdir("mine")
sys.path.append(os.getcwd())
for method in ("forkserver", "spawn"):
    os.environ["HERE"] = local_engine.METHOD = method
    engine = local_engine.LocalEngine(1, {str(tmp_path)!r})
    task = Task("d/prepare", "prepare", "d", (), {str(tmp_path)!r}, files=({str(mine / "c.yaml")!r},))
    print(engine.submit(task, {{"config": {{}}, "inputs": {{}}}}).result())
    engine.close()
"""
    )

    def script():  # in a fork, which saves one import of torch; the engine's processes import it anew
        as_new(tmp_path)
        sys.path[0] = str(tmp_path)
        runpy.run_path("script.py", run_name="__main__")

    ran = forked(script, tmp_path)
    assert ran.stdout.count("begins") == 1, ran
    assert ran.stdout.count("'cases': 0") == 2, ran
    assert said.read_text() == "".join(f"{mine} {method} my_module|" for method in ("forkserver", "spawn"))
    assert ran.stderr == ""


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
        locked(manifest_path(tmp_path, task.name).with_suffix(".lock"), "mine"),
        pytest.raises(BusyError, match="another process works on d/prepare"),
    ):
        execute.execute(task, {"config": {}, "inputs": {}}, tmp_path)
    assert time.monotonic() - before >= 0.3


def test_a_gpu_for_each_worker(monkeypatch, tmp_path):
    def pinned(workers):
        engine = local_engine.LocalEngine(workers, tmp_path)
        engine.close()
        return [engine._devices.get_nowait().get("CUDA_VISIBLE_DEVICES") for _ in range(workers)]

    monkeypatch.setattr(local_engine.torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local_engine.LocalEngine(None, tmp_path).slots == 2
    assert pinned(3) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 3")
    assert pinned(2) == ["5", "3"]
    monkeypatch.setattr(local_engine.torch.cuda, "device_count", lambda: 0)
    assert pinned(1) == [None]


def test_workers_share_the_cores_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))  # what a batch system has left of them
    assert [local_engine.LocalEngine(n, tmp_path).threads for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert local_engine.LocalEngine(2, tmp_path).threads == 3


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
    assert one_line(ValueError(text)) == f"ValueError: {line}".rstrip(": ")
