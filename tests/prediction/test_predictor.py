"""A network that is loaded once and called by many threads gives the answers of the inference config."""

import http.client
import json
import math
import re
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from helpers.process_state import untouched
from helpers.toy_problem import toy_cases
from helpers.toy_runs import evaluate, train, write_images
from monai_sf.bundle.export import export_run
from monai_sf.prediction import Predictor
from monai_sf.results.format import seal

ROOT = Path(__file__).parents[2]
BUNDLE, DOCS = ROOT / "bundles" / "dermoscopy", ROOT / "docs" / "guides"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    about = {"image_kinds": ["picture uint8"]}
    return evaluate(train(tmp_path_factory.mktemp("work") / "run"), about)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "images"
    write_images(folder)
    return [folder / f"{case_id}.png" for case_id in toy_cases()["case_id"]]


@pytest.fixture(scope="module")
def predictor(run_dir):
    return Predictor(run_dir, device="cpu", csf="MCD-MSR")


def numbers(answers):
    """All numbers of answers in one array, and what else they say."""
    values = [
        [*one.probabilities, *(math.nan if v is None else v for v in one.confidences.values())]
        for one in answers
    ]
    return np.array(values), [(one.label, one.name, one.deferred, one.fault) for one in answers]


def assert_same(found, expected):
    (values, said), (wanted, meant) = numbers(found), numbers(expected)
    assert said == meant
    np.testing.assert_allclose(values, wanted, rtol=2e-3, atol=1e-4)  # some scores magnify rounding


@pytest.mark.parametrize("csf", ["MCD-MSR", "MDS", None])
def test_answers_are_those_of_the_inference_config(run_dir, images, tmp_path, csf):
    workflow = ConfigWorkflow(
        str(BUNDLE / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        run_dir=str(run_dir),
        dataset_dir=str(images[0].parent),
        output=str(tmp_path / "p.csv"),
        device="cpu",
        csf=csf or "null",
    )
    workflow.initialize()
    workflow.run()
    table = pd.read_csv(tmp_path / "p.csv").set_index("case_id")
    with untouched("loading"):
        loaded = Predictor(run_dir, device="cpu", csf=csf)
    ids = [path.name for path in images]
    found = loaded(images, ids)
    for ends in (1, 7):  # whatever the batch
        loaded._batch_size = ends
        assert_same(loaded(images, ids), found)
    table = table.loc[ids]
    assert [one.label for one in found] == list(table["prediction"])
    assert [one.name for one in found] == list(table["class"])
    scores = list(found[0].confidences)
    assert set(scores) == set(table) - {"prediction", "class", "defer"}
    for name in scores:
        values = np.array([one.confidences[name] for one in found], float)
        np.testing.assert_allclose(values, table[name], rtol=2e-3, atol=1e-4, err_msg=name)
    if csf is None:
        assert "defer" not in table
        assert {(one.deferred, one.threshold) for one in found} == {(None, None)}
        return
    assert [one.deferred for one in found] == list(table["defer"])
    stored = json.loads((run_dir / "results" / "run.json").read_text())["thresholds"]["csfs"][csf][
        "threshold"
    ]
    expected = math.inf if stored is None else math.exp(stored) if csf == "MCD-MSR" else stored
    assert found[0].threshold == pytest.approx(expected)
    for one in found:
        assert sum(one.probabilities) == pytest.approx(1)
        assert one.label == np.argmax(one.probabilities)


def test_a_promise_is_told_and_without_one_every_image_is_deferred(run_dir, images, tmp_path, caplog):
    file = run_dir / "results" / "run.json"
    stored = json.loads(file.read_text())
    other = shutil.copytree(run_dir, tmp_path / "other")
    for threshold, bound, needed, deferred in ((-9.0, 0.6, None, False), (None, None, 77, True)):
        stored["thresholds"]["csfs"]["MSR"] |= {
            **{"threshold": threshold, "risk": None if bound is None else 0.0},
            **{"bound": bound, "needed": needed},
        }
        (other / "results" / "run.json").write_text(json.dumps(seal(stored)))
        loaded = Predictor(other, device="cpu")
        assert {one.deferred for one in loaded(images[:9])} == {deferred}
        about = loaded.algorithm
        assert (about.target_risk, about.delta, about.risk_bound) == (0.7, 0.9, bound)
        assert (about.calibration_groups, about.groups_needed) == (20, needed)
        assert ("it would take about 77" in about.promise) == ("about 77" in caplog.text) == deferred
    assert Predictor(other, device="cpu", csf=None).algorithm.promise == ""


def test_images_below_the_threshold_are_deferred(run_dir, images, tmp_path):
    confidences = np.array([one.confidences["MSR"] for one in Predictor(run_dir, device="cpu")(images)])
    middle = float(np.median(confidences)) + 1e-5  # between two of them
    other = shutil.copytree(run_dir, tmp_path / "other")
    file = other / "results" / "run.json"
    stored = json.loads(file.read_text())
    stored["thresholds"]["csfs"]["MSR"] |= {"threshold": math.log(middle), "risk": 0.0, "bound": 0.6}
    file.write_text(json.dumps(seal(stored)))
    found = Predictor(other, device="cpu")(images)
    assert [one.deferred for one in found] == list(confidences < middle)
    assert {one.deferred for one in found} == {True, False}
    assert found[0].threshold == pytest.approx(middle)


def test_threads_get_the_answers_of_calls_one_by_one(predictor, images):
    def wanted(i):
        paths = images[i::8]
        arrays = [np.asarray(Image.open(path)) for path in paths]
        return [paths, arrays, [*paths[:2], "missing.png", *arrays[2:]], paths[:1]][i % 4]

    expected = [predictor(wanted(i)) for i in range(8)]
    start = Barrier(8)

    def call(i):
        start.wait()
        return [predictor(wanted(i)) for _ in range(6)]

    with untouched("threads"), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, range(8)))
    for i in range(8):
        for answers in found[i]:
            for one, other in zip(answers, expected[i], strict=True):
                assert_same([one], [other])


def test_without_turns_threads_disturb_each_other(predictor, images, monkeypatch):
    """Or the test above would prove nothing."""
    monkeypatch.setattr(predictor, "_turn", nullcontext())
    with pytest.raises((AssertionError, RuntimeError, ValueError)):  # noqa: PT012
        for _ in range(20):
            test_threads_get_the_answers_of_calls_one_by_one(predictor, images)


def test_the_same_pixels_have_the_same_answer_whatever_they_come_in(predictor, images, tmp_path):
    arrays = [np.asarray(Image.open(path)) for path in images[:3]]
    shutil.copy(images[0], tmp_path / "renamed.png")
    expected = predictor(images[:3])
    assert_same(predictor(arrays), expected)
    assert_same(predictor([tmp_path / "renamed.png", str(images[1]), [images[2]]]), expected)
    assert_same(predictor([[array] for array in arrays]), expected)
    assert predictor([]) == []


def test_one_bad_image_does_not_lose_the_answers_of_the_others(predictor, images, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (16, 16)).save(tmp_path / "colour.png")
    Image.new("L", (4, 4)).save(tmp_path / "small.png")
    array = np.asarray(Image.open(images[0]))
    np.save(tmp_path / "array.npy", array)
    bad = {
        "is array uint8, and the network was trained on picture uint8": tmp_path / "array.npy",
        "is not there": tmp_path / "missing.png",
        "cannot be read": tmp_path / "text.png",
        "is colour uint8, and must be grey uint8": tmp_path / "colour.png",
        "is 4 x 4, and must be at least 8 x 8": tmp_path / "small.png",
        "holds array as float32, whose range": array / 255.0,
        "holds array as int64, whose range": array.astype(int),
        "has the shape": np.zeros((2, 3, 4, 5), np.uint8),
        "4 x 4, and must be at least": array[:4, :4],
        "give one or the other": [images[0], array],
        "or of nothing": [],
        "TypeError": 5,
        "holds object, which are not real numbers": np.full((16, 16), None),
    }
    mixed = [one for pair in zip(images, bad.values(), strict=False) for one in pair]
    with untouched("faults"):
        found = predictor(mixed)
    assert_same(found[::2], predictor(images[: len(bad)]))
    for fault, one in zip(bad, found[1::2], strict=True):
        assert fault in one.fault
        assert (one.label, one.name, one.probabilities, one.confidences) == (None, None, (), {})
        assert one.deferred
    with pytest.raises(TypeError, match="list of images"):
        predictor(images[0])
    with pytest.raises(ValueError, match="case_ids has 1 names for 2 images"):
        predictor(images[:2], ["a"])


def test_the_service_of_the_docs_runs(run_dir, predictor, images):
    page = (DOCS / "service.md").read_text()
    code = next(one for one in re.findall(r"```python\n(.*?)```", page, re.S) if "Service" in one)
    code, start = code.replace("lesions", str(run_dir)).rsplit("ThreadingHTTPServer((", 1)
    assert start == '"127.0.0.1", 8000), Service).serve_forever()\n'
    names: dict = {}
    exec(code, names)
    server = names["ThreadingHTTPServer"](("127.0.0.1", 0), names["Service"])
    names["Service"].log_message = lambda *arguments: None

    def post(content):
        connection = http.client.HTTPConnection(*server.server_address)
        connection.request("POST", "/", content)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    with server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(post, [*(path.read_bytes() for path in images[:8]), b"no picture"]))
        finally:
            server.shutdown()
            thread.join()
    assert [status for status, _ in found] == [200] * 8 + [422]
    expected = Predictor(run_dir, device="cpu")(images[:8])
    for (_, entry), one in zip(found, expected, strict=False):
        assert entry["name"] == one.name
        assert entry["confidences"].keys() == one.confidences.keys()
        assert entry["probabilities"] == pytest.approx(one.probabilities, rel=1e-3)
    assert found[-1][1]["deferred"]
    assert "cannot be read" in found[-1][1]["fault"]
    assert predictor(images[:1])[0].threshold == math.inf
    assert predictor(images[:1])[0].entry()["threshold"] is None


def test_an_image_without_a_finite_output_is_named(run_dir, images):
    broken = Predictor(run_dir, device="cpu", csf=None)
    infer = broken._passes.inferer

    def some(inputs, network, case_ids):
        outputs = infer(inputs, network, case_ids=case_ids)
        outputs["logits"][1] = torch.nan
        return outputs

    broken._passes.inferer = some
    found = broken(images[:3])
    assert [one.fault[:20] for one in found] == ["", "has no finite output", ""]
    assert [one.deferred for one in found] == [None] * 3


def test_an_image_that_the_network_fails_on_is_named(run_dir, images):
    broken = Predictor(run_dir, device="cpu", csf=None)
    expected = broken(images[:3])
    infer, third = broken._passes.inferer, broken._prepared(images[2])

    def some(inputs, network, case_ids):
        if any(torch.equal(one, third) for one in inputs):
            raise RuntimeError("odd image\nat length")
        return infer(inputs, network, case_ids=case_ids)

    broken._passes.inferer = some
    found = broken([images[0], images[2], images[1]])
    assert_same([found[0], found[2]], expected[:2])
    assert found[1].fault == "the network fails on it: RuntimeError: odd image"
    assert broken(images[2:3]) == [found[1]]


@pytest.mark.e2e
def test_an_exported_bundle_answers_as_its_run_until_it_is_changed(predictor, run_dir, images, tmp_path):
    bundle = tmp_path / "bundle"
    with zipfile.ZipFile(export_run(run_dir, tmp_path / "bundle.zip")) as archive:
        archive.extractall(bundle)
    assert_same(Predictor(bundle, device="cpu", csf="MCD-MSR")(images[:5]), predictor(images[:5]))
    assert Predictor(bundle).csf == "MSR"
    plain = shutil.copytree(bundle, tmp_path / "plain")  # a bundle that was not exported
    (plain / "manifest.json").unlink()
    assert_same(Predictor(plain, device="cpu", csf="MCD-MSR")(images[:5]), predictor(images[:5]))
    (plain / "configs" / "inference.json").write_text("{")
    with pytest.raises(ValueError, match=r"inference\.json is damaged"):
        Predictor(plain)
    weights = bundle / "models" / "model.pt"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"changed since the export.*models/model\.pt"):
        Predictor(bundle)


def test_what_an_inference_refuses_is_refused(run_dir, images, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds neither best\.pt, .* nor configs/inference\.json"):
        Predictor(tmp_path)
    with pytest.raises(ValueError, match="no threshold for csf 'DG-RES'"):
        Predictor(run_dir, csf="DG-RES")
    other = shutil.copytree(run_dir, tmp_path / "other")
    file = other / "results" / "run.json"
    stored = json.loads(file.read_text())
    changed = {**stored, "sha256": {**stored["sha256"], "checkpoint": "0" * 64}}
    file.write_text(json.dumps(seal(changed)))
    with pytest.raises(ValueError, match="were chosen for another checkpoint"):
        Predictor(other)
    shutil.rmtree(other / "results")
    with pytest.raises(FileNotFoundError, match="run the evaluation first, or set csf"):
        Predictor(other)
    undecided = Predictor(other, csf=None)  # a run that was not evaluated
    assert undecided(images[:2])[1].confidences.keys() >= {"MSR", "MCD-MSR", "ConfidNet"}
    assert undecided._passes.inferer.samples == 50
    file.parent.mkdir()
    file.write_text(json.dumps(stored)[:-9])
    with pytest.raises(ValueError, match=r"run\.json"):
        Predictor(other, csf=None)
    fitted = next((run_dir / "results" / "_fitted").glob("*.npy")).name
    shutil.rmtree(other)
    shutil.copytree(run_dir, other)
    (other / "results" / "_fitted" / fitted).write_bytes(b"x")
    with pytest.raises(ValueError, match="was changed"):
        Predictor(other)
    (other / "best.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"best\.pt is not the file that the training wrote"):
        Predictor(other)
