"""A workflow changes its process while it runs, and leaves it as it was."""

import logging
import os
import random
import sys
import warnings

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow
from monai.data import get_track_meta
from monai.utils import get_seed, set_determinism

from monai_sf.files.locks import BusyError, locked

CONFIG = {
    "imports": ["$import monai_sf", "$import monai_sf.bundle", "$import random", "$import torch"],
    "bundle_root": "$monai_sf.bundle.root()",
    "initialize": "$monai_sf.bundle.start()",
    "seed": 7,
    "output_dir": "unset",
    "run_dir": "$@output_dir + '/a'",
    "weights": "$torch.rand(3)",
    "seen": [],
    "look": None,
    "train": {"trainer": {"max_epochs": "$@look(@seen, @weights, @run_dir)"}},
    "run": ["$monai_sf.bundle.claim_run_dir(@run_dir, 'train')", "@train#trainer#max_epochs"],
    "finalize": "$random.random()",
}


def state():
    """All that a workflow could leave changed."""
    return {
        "track_meta": get_track_meta(),
        "seed": get_seed(),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "deterministic": torch.backends.cudnn.deterministic,
        "benchmark": torch.backends.cudnn.benchmark,
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "warnings": [*warnings.filters],
        "excepthook": sys.excepthook,
        "path": [*sys.path],
        "environment": dict(os.environ),
        "disabled": logging.root.manager.disable,
        "handlers": [*logging.root.handlers],
        "directory": os.getcwd(),
    }


@pytest.fixture
def workflow(tmp_path):
    def make(look=None, **overrides):
        (tmp_path / "configs").mkdir(exist_ok=True)
        path = tmp_path / "configs" / "train.yaml"
        path.write_text(yaml.safe_dump({**CONFIG, "look": "$__import__('test_sessions').LOOK[0]"}))
        LOOK[0] = look or remember
        return ConfigWorkflow(str(path), logging_file=False, output_dir=str(tmp_path / "runs"), **overrides)

    return make


LOOK = [None]


def remember(seen, weights, run_dir):
    seen.append((get_track_meta(), get_seed(), weights.tolist(), random.random()))
    LOOK.append(seen[-1])
    return 1


@pytest.fixture(autouse=True)
def _strange_process(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    sys.modules["test_sessions"] = sys.modules[__name__]
    torch.backends.cudnn.benchmark = True
    set_determinism(123)
    torch.backends.cudnn.benchmark = True
    yield
    torch.backends.cudnn.benchmark = False


def test_each_step_leaves_the_process_as_it_was(workflow):
    made = workflow()
    before = state()
    for step in ("initialize", "run", "run", "finalize"):
        getattr(made, step)()
        assert state() == before, step
    assert LOOK[-1][:2] == (False, 7)  # while it ran, it had what it needs
    made.initialize()
    made.run()
    assert state() == before


def test_a_part_that_is_asked_for_is_made_within_the_session(workflow):
    set_determinism(7)
    expected = torch.rand(3)
    made = workflow()
    made.initialize()
    before = state()
    torch.testing.assert_close(made.parser.get_parsed_content("weights"), expected)
    assert state() == before
    other = workflow()
    other.initialize()
    other.run()
    assert LOOK[-1][2] == expected.tolist()


@pytest.mark.parametrize("wrong", [{"epochz": 1}, {"output_dir": 5}, {"seed": "x"}])
def test_a_failing_start_leaves_the_process_as_it_was(workflow, wrong):
    output = wrong.pop("output_dir", None)
    made = workflow(**wrong)
    if output:
        made.parser["output_dir"] = output
    before = state()
    with pytest.raises(RuntimeError):  # noqa: PT012
        made.initialize()
        made.run()
    assert state() == before


def test_a_failing_run_leaves_the_process_as_it_was_and_holds_no_lock(workflow, tmp_path):
    def fail(seen, weights, run_dir):
        with pytest.raises(BusyError), locked(tmp_path / "runs" / "a" / ".lock", "mine"):
            pass
        warnings.simplefilter("error")
        sys.path.append("somewhere")
        raise KeyboardInterrupt

    made = workflow(fail)
    made.initialize()
    before = state()
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert state() == before
    assert not (tmp_path / "runs" / "a" / ".lock").exists()
    with locked(tmp_path / "runs" / "a" / ".lock", "mine"):
        pass
