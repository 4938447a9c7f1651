"""The engine for a cluster, with one of two machines of one core each, both of them this one."""

import os
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ray", reason="the extra monai-sf[ray] is not installed")

import psutil
import ray
from ray.cluster_utils import Cluster

from helpers.zygote import Process
from monai_sf.benchmark import ray_engine
from monai_sf.benchmark.run import open_engine
from monai_sf.benchmark.tasks import Task

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, zygote):
    """An existing cluster, whose machines have the tests' modules, and what was run on it.

    Its workers are processes of their own, but forked: each task has a new one, which would import torch.
    """
    workers = {"num_cpus": 1, "setup_worker_path": str(ROOT / "tests" / "helpers" / "ray_worker.py")}
    notes = tmp_path_factory.mktemp("cluster") / "notes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, [ROOT, ROOT / "tests"])))
        patch.setenv("TOY_NOTES", str(notes))
        patch.setenv("ZYGOTE", zygote)
        made = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **workers})
        made.add_node(**workers)
    yield SimpleNamespace(address=made.address, notes=notes)
    made.shutdown()


def measured(out):
    root = out / "lung_nodule_ct"
    arrays = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.glob("*/results/*/*.npy"))}
    assert len(arrays) == 6
    return (root / "tables" / "table.csv").read_text(), arrays


def test_the_same_matrix_gives_the_same_table_on_a_cluster(toy, cluster, tmp_path):
    matrix = {"studies": ["texture"], "methods": ["confidnet"]}
    local, _ = toy.run(**matrix)
    ran = sorted(toy.notes())
    there = tmp_path / "ray"
    on_ray = {"engine": "ray", "address": cluster.address, "workers": None}
    states, _ = toy.run(**matrix, **on_ray, output_dir=there)
    assert not ray.is_initialized()
    assert states == local
    assert sorted(cluster.notes.read_text().splitlines()) == ran
    assert measured(there) == measured(toy.out)
    log = (there / "logs" / "lung_nodule_ct" / "texture-confidnet-0" / "train.log").read_text()
    assert "lung_nodule_ct/texture-confidnet-0/train" in log
    # the manifests are the same too, and either engine resumes what the other one left
    states, ran_again = toy.run(**matrix, output_dir=there)
    assert ran_again == ["prepare"]


def test_an_engine_survives_its_tasks_and_ends_those_that_run(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ray_engine, "GRACE_S", 60.0
    )  # on a busy machine, the task needs more than five seconds
    engine = open_engine("ray", None, tmp_path, cluster.address)
    try:
        for name, does in (
            ("kill", "os.kill(os.getpid(), 9)"),
            ("wait", "[print('waits', flush=True), *(time.sleep(0.1) for _ in range(3000))]"),
        ):
            path = tmp_path / f"{name}.yaml"
            path.write_text(f"imports:\n- $import os\n- $import time\nprepare: ${does}\n")
        tasks = [
            Task(f"d/{name}", "prepare", "d", (), str(tmp_path), files=(str(tmp_path / f"{name}.yaml"),))
            for name in ("kill", "wait", "wait")
        ]
        killed, running, _ = (engine.submit(task, {"config": {}, "inputs": {}}) for task in tasks)
        assert killed.result().error == "the process was killed or crashed (out of memory?)"
        log = tmp_path / "logs" / "d" / "wait.log"
        deadline = time.monotonic() + 300
        while not (log.is_file() and "waits" in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert engine.is_running(tasks[1], running)
    finally:
        before = time.monotonic()
        engine.close()
    assert time.monotonic() - before < 120  # the tasks would wait for five minutes
    assert "KeyboardInterrupt" in log.read_text()


def test_a_killed_benchmark_takes_its_tasks_with_it(toy, cluster, zygote):
    files = ["--bundles", str(toy.bundle), "--dataset-dir", f"lung_nodule_ct={toy.data}"]
    matrix = [
        "--studies",
        "iid",
        "--methods",
        "confidnet",
        "--seeds",
        "0",
        "--set",
        "pause=0.5",
        "epochs=200",
    ]
    where = ["--output-dir", str(toy.out), "--engine", "ray", "--address", cluster.address]
    cluster.notes.write_text("")
    process = Process(zygote, ["run", *files, *matrix, *where], toy.bundle / "printed", os.environ)
    deadline = time.monotonic() + 300
    while "epoch" not in cluster.notes.read_text():
        assert time.monotonic() < deadline, (toy.bundle / "printed").read_text()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)
    noted = cluster.notes.read_text()
    time.sleep(2)
    assert cluster.notes.read_text() == noted


def test_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "CONNECT_S", 1.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(
            ConnectionError, match=rf"no Ray cluster answers at {place} within 1 s \(.*\): is"
        ):
            open_engine("ray", None, tmp_path, place)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=rf"the Ray cluster {place} cannot be reached within 1 s"):
            open_engine("ray", None, tmp_path, place)


def test_a_cluster_without_a_core_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(ray_engine, "_connect", lambda address: None)
    for cores, said in ((0, True), (2, False)):
        there = {"memory": 1.0, **({"CPU": cores} if cores else {})}  # Ray leaves out what there is none of
        monkeypatch.setattr(ray, "cluster_resources", lambda there=there: there)
        caplog.clear()
        ray_engine.RayEngine(None, tmp_path, "there:1")
        assert ("the Ray cluster has no CPU" in caplog.text) == said


def test_without_an_address_ray_starts_here_and_stays(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    before = {child.pid for child in psutil.Process().children()}  # of a cluster of another test
    engine = open_engine("ray", 1, tmp_path)
    try:
        assert signal.getsignal(signal.SIGTERM) is handler
        time.sleep(0.5)
        started = [
            child
            for child in psutil.Process().children()
            if child.pid not in before and "gcs_server" in " ".join(child.cmdline())
        ]
        assert [child.status() != psutil.STATUS_ZOMBIE for child in started] == [True]
        assert engine.slots == 1
    finally:
        engine.close()
    assert not ray.is_initialized()
