"""A bundle that takes no time, and benchmarks that start at once."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from helpers.toy_bundle import write_bundle
from monai_sf.benchmark import run_benchmark


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("zygote") / "socket")
    code = f"import sys; sys.path[:] = {sys.path!r}; from helpers.zygote import serve; serve({path!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    yield path
    process.kill()
    process.wait()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy bundle, and how to benchmark it."""
    monkeypatch.setenv("TOY_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bundle = write_bundle(tmp_path / "bundle")
    notes, out = tmp_path / "notes", tmp_path / "out"
    notes.write_text("")

    def run(**more):
        """The states of all tasks, and what was really run."""
        notes.write_text("")
        states = run_benchmark(
            **{
                "bundles": [bundle],
                "output_dir": out,
                "studies": ["iid"],
                "methods": ["confidnet", "devries"],
                "seeds": [0],
                "dataset_dirs": {"lung_nodule_ct": bundle / "data"},
                "workers": 2,
                **more,
            }
        )
        return states, run_notes()

    def run_notes():
        return notes.read_text().splitlines()

    return SimpleNamespace(bundle=bundle, data=bundle / "data", out=out, run=run, notes=run_notes)
