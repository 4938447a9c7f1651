"""A workflow changes its process while it runs, and leaves it as it was."""

import gc
import os
import random
import sys
import warnings
import weakref
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import MetaTensor, get_track_meta, set_track_meta
from monai.utils import get_seed, set_determinism

from helpers.process_state import state, untouched
from monai_sf import bundle
from monai_sf.files.locks import BusyError, locked

BUNDLE = Path(__file__).parents[2] / "bundles" / "pneumonia"

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
    with untouched("all together"):
        for step in ("initialize", "run", "run", "finalize"):
            with untouched(step):
                getattr(made, step)()
        assert LOOK[-1][:2] == (False, 7)  # while it ran, it had what it needs
        made.initialize()
        made.run()


def test_a_part_that_is_asked_for_is_made_within_the_session(workflow):
    set_determinism(7)
    expected = torch.rand(3)
    made = workflow()
    made.initialize()
    with untouched("weights"):
        found = made.parser.get_parsed_content("weights")
    torch.testing.assert_close(found, expected)
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
    with untouched("a start"), pytest.raises(RuntimeError):  # noqa: PT012
        made.initialize()
        made.run()


def test_a_failing_run_leaves_the_process_as_it_was_and_holds_no_lock(workflow, tmp_path):
    def fail(seen, weights, run_dir):
        with pytest.raises(BusyError), locked(tmp_path / "runs" / "a" / ".lock", "mine"):
            pass
        warnings.simplefilter("error")
        sys.path.append("somewhere")
        raise KeyboardInterrupt

    made = workflow(fail)
    made.initialize()
    with untouched("a failing run"), pytest.raises(KeyboardInterrupt):
        made.run()
    assert not (tmp_path / "runs" / "a" / ".lock").exists()
    with locked(tmp_path / "runs" / "a" / ".lock", "mine"):
        pass


@pytest.mark.parametrize(
    "files",
    [
        *(
            ["prepare.yaml"],
            ["train.yaml"],
            ["train.yaml", "evaluate.yaml"],
        ),
        *(["train.yaml", "devries.yaml"], ["inference.json"], ["report.yaml"], ["benchmark.yaml"]),
    ],
)
def test_every_kind_of_config_starts_without_a_trace(files, tmp_path):
    with untouched(f"a start of {files}"):
        workflow = ConfigWorkflow(
            [str(BUNDLE / "configs" / file) for file in files], logging_file=False, output_dir=str(tmp_path)
        )
        workflow.initialize()
        assert workflow.parser.get_parsed_content("output_dir") == str(tmp_path)
    assert not list(tmp_path.iterdir())


def test_parts_without_a_workflow_leave_nothing_and_give_the_same_pixels(tmp_path):
    """As MONAI Label takes them; and as a tool iterates a dataset that was made by a workflow."""
    (tmp_path / "images").mkdir()
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 255, (40, 30), np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "images" / f"{k}.png")
    config, folder = str(BUNDLE / "configs" / "inference.json"), str(tmp_path / "images")
    with untouched("a parser"):
        parser = ConfigParser()
        parser.read_config(config)
        parser.config.update({"bundle_root": str(BUNDLE), "dataset_dir": folder})
        parts = {key: parser.get_parsed_content(key) for key in ("device", "inferer", "postprocessing")}
        plain = [one["image"] for one in parser.get_parsed_content("dataset")]
        parts["postprocessing"]({"pred": torch.zeros(2)})
    workflow = ConfigWorkflow(config, logging_file=False, dataset_dir=folder)
    workflow.initialize()
    with untouched("a dataset"):
        dataset = workflow.parser.get_parsed_content("dataset")
        outside = [one["image"] for one in dataset]
    set_track_meta(False)
    try:
        inside = [one["image"] for one in dataset]
    finally:
        set_track_meta(True)
    assert isinstance(plain[0], MetaTensor)
    for one, two, three in zip(plain, outside, inside, strict=True):
        assert one.shape == (1, 32, 32)
        assert torch.equal(one.as_tensor(), three)
        assert torch.equal(two, three)


def test_what_the_caller_deletes_is_gone(workflow):
    made = workflow()
    made.initialize()
    assert bundle.root() == "."  # it looks for a workflow among its callers
    there = weakref.ref(made)
    del made
    gc.collect()
    assert there() is None  # this function still runs


def test_what_is_left_behind_would_be_found():
    with pytest.raises(AssertionError, match="a change left .*'seed': .123, 5."), untouched("a change"):
        set_determinism(5)
    assert state()["seed"] == 5
