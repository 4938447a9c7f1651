"""An exported bundle: what is in it, that it gives the run's predictions anywhere, and what is refused."""

import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    onnx_export,
    verify_metadata,
    verify_net_in_out,
)
from PIL import Image

from helpers.bundle_readers import DeployReader, LabelReader
from helpers.forks import as_new, fork, forked, run_module, status_of
from helpers.toy_fits import network
from helpers.toy_runs import CONFIG, evaluate, train, write_images
from monai_sf.bundle.__main__ import main
from monai_sf.bundle.export import export_run
from monai_sf.bundle.model_card import model_card
from monai_sf.data.errors import root_cause
from monai_sf.networks.checkpoints import save_checkpoint, summarise_training
from monai_sf.results import load_results
from monai_sf.results.format import seal
from monai_sf.tables.format import number

BUNDLES = Path(__file__).parents[2] / "bundles"
SCHEMA = Path(__file__).parents[2] / "docs" / "metadata.schema.json"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return evaluate(train(tmp_path_factory.mktemp("work") / "secret-place" / "run"))


@pytest.fixture(scope="module")
def archive(run_dir, tmp_path_factory):
    return export_run(run_dir, tmp_path_factory.mktemp("zip") / "missing" / "bundle.zip")


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "images"
    return folder, write_images(folder)


@pytest.fixture
def bundle(archive, tmp_path):
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def predict(config, output, **overrides):
    workflow = ConfigWorkflow(
        str(config), workflow_type="infer", logging_file=False, output=str(output), **overrides
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    return pd.read_csv(output).set_index("case_id")


def refused(config, tmp_path, **overrides):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        predict(config, tmp_path / "refused.csv", **overrides)
    assert not (tmp_path / "refused.csv").exists()
    return str(root_cause(caught.value))


def test_the_unpacked_bundle_gives_the_predictions_of_the_run(run_dir, bundle, pixels, tmp_path):
    """By the command, in another folder, with the run out of reach; the run's own by a published config."""
    images, _ = pixels
    hidden = run_dir.rename(run_dir.with_name("moved"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = ["--config_file", bundle / "configs" / "inference.json", "--dataset_dir", images]

    def monai_bundle():
        as_new(elsewhere)
        run_module("monai.bundle", "run", *options, "--output", "there.csv")

    done = forked(monai_bundle, tmp_path)
    hidden.rename(run_dir)
    assert done.returncode == 0, done.stderr
    there = pd.read_csv(elsewhere / "there.csv").set_index("case_id")
    here = predict(
        BUNDLES / "dermoscopy" / "configs" / "inference.json",
        tmp_path / "here.csv",
        run_dir=str(run_dir),
        dataset_dir=str(images),
    )
    assert list(there) == list(here)
    assert {"MSR", "ConfidNet", "MCD-MI", "MDS", "kNN"} < set(here)
    for column in here:
        if here[column].dtype.kind == "f":
            np.testing.assert_allclose(there[column], here[column], rtol=1e-5, atol=1e-6, err_msg=column)
        else:
            assert there[column].equals(here[column]), column
    assert set(here["class"]) <= {"dark", "bright"}
    assert here["MSR"].std() > 0


def test_torchscript_and_onnx_give_logits_and_features_of_batches_of_any_size(run_dir, bundle, pixels):
    network = network_of(bundle)
    scripted = torch.jit.load(bundle / "models" / "model.ts")
    session = onnxruntime.InferenceSession(bundle / "models" / "model.onnx")
    assert [one.name for one in session.get_inputs()] == ["image"]
    assert [one.name for one in session.get_outputs()] == ["logits", "features"]
    _, images = pixels
    for count in (1, 2, 5, 40):
        batch = torch.from_numpy(images[:count])
        with torch.no_grad():
            expected, found = network.outputs(batch), scripted(batch)
        logits, features = session.run(["logits", "features"], {"image": images[:count]})
        for wanted, there, other in (
            (expected.logits, found[0], logits),
            (expected.features, found[1], features),
        ):
            torch.testing.assert_close(there, wanted)
            torch.testing.assert_close(torch.from_numpy(other), wanted, rtol=1e-4, atol=1e-5)
    assert wanted.std(0).max() > 0  # or the images would make no difference


def network_of(bundle):
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    return network


def test_monai_checks_and_exports_the_bundle_with_its_defaults(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where MONAI leaves what it reads again
    config, meta = (str(bundle / "configs" / name) for name in ("inference.json", "metadata.json"))
    verify_metadata(meta, str(SCHEMA))
    verify_net_in_out("network_def", meta, config, device="cpu")
    weights = str(bundle / "models" / "model.pt")
    ckpt_export(filepath=str(tmp_path / "a.ts"), ckpt_file=weights, meta_file=meta, config_file=config)
    onnx_export("network_def", str(tmp_path / "a.onnx"), weights, meta, config)
    with torch.no_grad():
        image = torch.rand(1, 1, 16, 16)
        expected = network_of(bundle)(image)
        torch.testing.assert_close(torch.jit.load(tmp_path / "a.ts")(image), expected)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-5)
    with zipfile.ZipFile(bundle / "models" / "model.ts") as file:  # where MONAI Deploy looks for them
        assert json.loads(file.read("model/extra/inference.json")) == json.loads(Path(config).read_text())
        assert json.loads(file.read("model/extra/metadata.json")) == json.loads(Path(meta).read_text())


def test_monai_label_and_monai_deploy_get_the_probabilities(bundle, pixels, tmp_path):
    """Deploy from model.ts alone, whose outputs are two."""
    own = predict(bundle / "configs" / "inference.json", tmp_path / "p.csv", dataset_dir=str(pixels[0]))
    label, deploy = LabelReader(bundle), DeployReader(bundle / "models" / "model.ts")
    for name in own.index[:3]:
        file = pixels[0] / name
        probabilities, label_name = label(str(file))
        assert label_name == own.loc[name, "class"]
        np.testing.assert_allclose(probabilities.max(), own.loc[name, "MSR"], atol=1e-5)
        rgb = np.asarray(Image.open(file).convert("RGB"), np.float32)  # as its loader of pictures makes it
        array = np.transpose(rgb, (2, 0, 1))
        meta = {"filename": str(file), "original_shape": array.shape, "source_format": ".png"}
        np.testing.assert_allclose(deploy(array, meta), probabilities, atol=1e-5)


def test_the_same_run_gives_the_same_bytes_and_replaces_only_an_export(run_dir, archive, tmp_path, capsys):
    other = tmp_path / "bundle.zip"
    shutil.copy(archive, other)
    with zipfile.ZipFile(other, "a") as file:
        file.writestr("more", "")  # of a user
    mine = other.read_bytes()
    assert main(["export", str(run_dir), "-o", str(other)]) == 1
    assert "will not replace" in capsys.readouterr().err
    assert other.read_bytes() == mine
    shutil.copy(archive, other)
    assert main(["export", str(run_dir), "-o", str(other)]) == 0
    assert other.read_bytes() == archive.read_bytes()
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == f"check {run_dir}"
    assert printed.splitlines()[-1] == f"write {other}"
    assert os.listdir(tmp_path) == ["bundle.zip"]


def test_the_model_card_has_the_numbers_of_the_run(run_dir, bundle):
    """AURC by trapezoids over the points of all distinct confidences; thresholds as stored."""
    card = (bundle / "docs" / "README.md").read_text()
    results = load_results(run_dir / "results")
    logits = np.asarray(results.test_sets["iid"].arrays["logits"], np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    confidence, error = shares.max(1), shares.argmax(1) != results.labels_of("iid")
    kept = [confidence >= value for value in sorted(set(confidence), reverse=True)]
    coverage = [0.0, *(k.mean() for k in kept)]
    risk = [error[kept[0]].mean(), *(error[k].mean() for k in kept)]
    aurc = sum(np.diff(coverage) * (np.array(risk[1:]) + risk[:-1]) / 2)
    first = re.search(r"^\| MSR \| \**([\d.]+)", card[card.index("AURC in per cent") :], re.M)
    assert float(first[1]) == pytest.approx(100 * aurc, abs=0.051)
    assert f"| iid | {len(error)} | {error.sum()} |" in card
    point = results.run["thresholds"]["csfs"]["Margin"]
    shown = "none: defer all" if point["threshold"] is None else f"{point['threshold']:.6g}"
    numbers = [None if point[key] is None else number(100 * point[key]) for key in ("risk", "bound")]
    assert re.search(
        rf"\| Margin \| {re.escape(shown)} \| [\d.]+ \| {numbers[0] or '–'} \| {numbers[1] or '–'}", card
    )
    stored = results.run["thresholds"]["csfs"]["MCD-MSR"]["threshold"]  # of a logarithm
    assert f"| MCD-MSR | {'none: defer all' if stored is None else f'{np.exp(stored):.6g}'} |" in card
    assert "| precision | evaluated, and to be used, in float32 |" in card
    assert json.loads((bundle / "models/evaluation/run.json").read_text())["precision"] == "float32"
    assert "| cases | 17 for training, 11 for validation, 20 for calibration |" in card
    assert "20 calibration cases\nof 20 groups" in card
    assert "at most 70 % of the\ntrusted predictions are wrong, with a probability of 10 %" in card
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    without = {key: value for key, value in results.run.items() if key != "thresholds"}
    assert "no thresholds: give `--csf null`" in model_card(run_dir / "results", without, metadata)


def test_nothing_of_cases_sources_or_folders_is_in_it(run_dir, bundle):
    secrets = ("secret-place", "Ward 7", str(Path(torch.__file__).parents[1]), "helpers", *case_ids(run_dir))
    for path in bundle.rglob("*"):
        if path.is_dir():
            continue
        contents = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                contents += map(file.read, file.namelist())
        for secret in secrets:
            assert not any(secret.encode() in content for content in contents), (path, secret)
    run = json.loads((bundle / "models" / "evaluation" / "run.json").read_text())
    assert not {"split_counts", "sources", "trained_on"} & set(run)


def case_ids(run_dir):
    cases = pd.read_csv(run_dir / "results" / "cases.csv", dtype=str)
    return [f"{name}" for name in cases["case_id"]]


@pytest.mark.parametrize(
    "name",
    [
        "configs/inference.json",
        "models/evaluation/_fitted/neighbours.bank.npy",
        "models/evaluation/run.json",
        "models/model.onnx",
        "models/model.pt",
    ],
)
def test_what_was_changed_since_the_export_is_refused(bundle, pixels, tmp_path, name):
    content = bytearray((bundle / name).read_bytes())
    at = content.index(b'"batch_size": 64') + 14 if name.endswith("inference.json") else len(content) * 2 // 3
    content[at] = ord("3") if name.endswith("inference.json") else content[at] ^ 1
    (bundle / name).write_bytes(content)
    config = bundle / "configs" / "inference.json"
    assert name in refused(config, tmp_path, dataset_dir=str(pixels[0]), csf=None)


def test_what_predictions_do_not_need_may_be_changed_or_removed(bundle, pixels, tmp_path):
    for name in ("docs/README.md", "LICENSE", "configs/metadata.json"):
        (bundle / name).write_text((bundle / name).read_text().replace(" ", "  "))
    for name in ("model.ts", "model.onnx"):
        (bundle / "models" / name).unlink()
    table = predict(bundle / "configs" / "inference.json", tmp_path / "p.csv", dataset_dir=str(pixels[0]))
    assert len(table) == 40


def test_a_threshold_that_was_changed_and_sealed_again_is_refused(bundle, pixels, tmp_path):
    path = bundle / "models" / "evaluation" / "run.json"
    run = json.loads(path.read_text())
    run["thresholds"]["csfs"]["MSR"]["threshold"] = -9.0
    path.write_text(json.dumps(seal(run)))
    said = refused(bundle / "configs" / "inference.json", tmp_path, dataset_dir=str(pixels[0]))
    assert "models/evaluation/run.json" in said
    assert "unpack the archive again" in said.lower()


@pytest.mark.parametrize("where", ["run", "bundle"])
def test_overrides_win_unless_they_contradict_the_training(run_dir, bundle, pixels, tmp_path, where):
    if where == "run":
        config = BUNDLES / "dermoscopy" / "configs" / "inference.json"
        given = {"run_dir": str(run_dir), "dataset_dir": str(pixels[0])}
    else:
        config, given = bundle / "configs" / "inference.json", {"dataset_dir": str(pixels[0])}
    for wrong in (
        {"image_size": [20, 20]},
        {"network_def#backbone#init_features": 8},
        {"method": "devries"},
        {"intensity": {"window": [0, 100]}},
    ):
        key = next(iter(wrong)).partition("#")[0]
        assert re.search(
            rf"trained with another network, other images or classes \({key}: ",
            refused(config, tmp_path, **given, **wrong),
        )
    plain = predict(config, tmp_path / "plain.csv", **given)
    same = predict(
        config, tmp_path / "same.csv", **given, image_size=[16, 16], pattern="case0*.png", mc_samples=3
    )
    assert len(same) == 10
    np.testing.assert_allclose(same["MSR"], plain["MSR"].iloc[:10], rtol=1e-5)
    assert (same["MCD-MSR"] != plain["MCD-MSR"].iloc[:10]).any()
    said = refused(config, tmp_path, **given, csf="MCD-MSR", mc_samples=3)
    assert "was chosen with mc_samples 2, which is 3 here" in said
    said = refused(config, tmp_path, **given, class_names=["bright", "dark"])
    assert 'class_names: ["dark", "bright"] there, ["bright", "dark"] now' in said
    said = refused(config, tmp_path, **given, csf=None, class_names=["bright", "dark"])
    assert 'class_names: ["dark", "bright"] there, ["bright", "dark"] now' in said


def test_an_ensemble_takes_its_config_from_its_runs(run_dir, pixels, tmp_path):
    config = BUNDLES / "dermoscopy" / "configs" / "inference.json"
    other = evaluate(train(tmp_path / "other", 7, seed=4), {"seed": 4}, seed=4)
    given = {"ensemble": [str(run_dir), str(other)], "dataset_dir": str(pixels[0])}
    table = predict(config, tmp_path / "p.csv", **given)
    assert len(table) == 40
    assert {"DE-MSR", "DE-MI", "defer"} < set(table)
    assert "image_size: [16, 16] there" in refused(config, tmp_path, **given, image_size=[20, 20])


def test_a_checkpoint_that_is_named_says_what_it_was_trained_on(run_dir, pixels, tmp_path):
    config = BUNDLES / "dermoscopy" / "configs" / "inference.json"
    given = {"checkpoint": str(run_dir / "best.pt"), "csf": None, "dataset_dir": str(pixels[0])}
    named = predict(config, tmp_path / "p.csv", **given)
    whole = predict(config, tmp_path / "w.csv", run_dir=str(run_dir), dataset_dir=str(pixels[0]))
    assert named["MSR"].equals(whole["MSR"])
    assert "image_size: [16, 16] there" in refused(config, tmp_path, **given, image_size=[20, 20])


def test_a_run_that_was_only_trained_decides_too(tmp_path, pixels):
    config = BUNDLES / "dermoscopy" / "configs" / "inference.json"
    folder = train(tmp_path / "run")
    table = predict(
        config, tmp_path / "p.csv", run_dir=str(folder), dataset_dir=str(pixels[0]), csf=None, mc_samples=2
    )
    assert len(table) == 40
    assert "defer" not in table
    (folder / "train.config.json").write_text("{")
    said = refused(config, tmp_path, run_dir=str(folder), dataset_dir=str(pixels[0]), csf=None)
    assert "train.config.json" in said


def test_texts_that_mean_something_elsewhere_and_images_of_any_size(tmp_path, pixels):
    names = ["<script>alert(1)</script>|`x`", "$[1](http://a.b) *#* @x"]
    changes = {"class_names": names, "image_size": None}
    run = train(tmp_path / "run", **changes)
    evaluate(run, {"class_names": names, "study_description": "<img src=x>\n# heading"}, **changes)
    archive = export_run(run, tmp_path / "b.zip")
    bundle = tmp_path / "b"
    with zipfile.ZipFile(archive) as file:
        file.extractall(bundle)
    card = (bundle / "docs" / "README.md").read_text()
    assert "<script>" not in card
    assert "<img" not in card
    assert "# heading" not in card.splitlines()
    assert r"0: &lt;script\>alert(1)&lt;/script\>\|\`x\`" in card
    assert r"\[1\](http\://a.b)" in card
    table = predict(bundle / "configs" / "inference.json", tmp_path / "p.csv", dataset_dir=str(pixels[0]))
    assert set(table["class"]) <= set(names)
    images = torch.rand(3, 1, 24, 40)
    session = onnxruntime.InferenceSession(bundle / "models" / "model.onnx")
    logits, _ = session.run(None, {"image": images.numpy()})
    with torch.no_grad():
        expected = network_of(bundle)(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-5)
    verify_metadata(str(bundle / "configs" / "metadata.json"), str(SCHEMA))


def _unknown(run_dir):
    return run_dir.with_name("nowhere"), FileNotFoundError, "no folder .*nowhere"


def _no_run(run_dir):
    (run_dir / "train.config.json").unlink()
    return run_dir, FileNotFoundError, r"no train\.config\.json"


def _not_evaluated(run_dir):
    (run_dir / "results" / "run.json").unlink()
    return run_dir, FileNotFoundError, r"no finished evaluation .*evaluate\.yaml"


def _replaced(run_dir):
    torch.save({"network": network(9).state_dict()}, run_dir / "best.pt")
    return run_dir, ValueError, r"best\.pt is not the file that the training wrote"


def _trained_again(run_dir):
    for name in ("checkpoints.json", "training.json"):
        (run_dir / name).unlink()
    save_checkpoint(run_dir / "best.pt", {"network": network(9).state_dict()})
    summarise_training(run_dir, {})
    return run_dir, ValueError, "evaluation of another checkpoint than .* and evaluate again"


def _damaged(run_dir):
    path = run_dir / "results" / "iid" / "logits.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return run_dir, ValueError, r"logits\.npy was changed"


def _fitted_gone(run_dir):
    shutil.rmtree(run_dir / "results" / "_fitted")
    return run_dir, ValueError, "_fitted.* is missing"


def _audited(run_dir):
    (run_dir / "train.config.json").rename(run_dir / "evaluate.config.json")
    (run_dir / "evaluate.config.json").write_text('{"audit": true}')
    return run_dir, ValueError, "is the audit of a model that was given: only networks that a bundle trains"


def _other_network(run_dir):
    own = {"_target_": "helpers.toy_runs.Unknown", "network": CONFIG["network_def"]}
    shutil.rmtree(run_dir)
    evaluate(train(run_dir, network_def=own), network_def=own)
    return run_dir, ValueError, "network_def of .* is a Unknown: only a ConfidenceClassifier is exported"


def _other_config(run_dir):
    (run_dir / "train.config.json").write_text(json.dumps({**CONFIG, "image_size": [20, 20]}))
    return run_dir, ValueError, r"train\.config\.json: changed since the training"


@pytest.mark.parametrize(
    "spoil",
    [
        _unknown,
        _no_run,
        _not_evaluated,
        _replaced,
        _trained_again,
        _damaged,
        _fitted_gone,
        _other_config,
        _audited,
        _other_network,
    ],
)
def test_a_run_that_cannot_be_exported(run_dir, tmp_path, spoil):
    shutil.copytree(run_dir, tmp_path / "run")
    folder, kind, said = spoil(tmp_path / "run")
    with pytest.raises(kind, match=said):
        export_run(folder, tmp_path / "out" / "bundle.zip")
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_program_is_kept(run_dir, tmp_path, capsys):
    thesis = tmp_path / "thesis.zip"
    with zipfile.ZipFile(thesis, "w") as file:
        file.writestr("thesis.txt", "all of it")
    before = thesis.read_bytes()
    (tmp_path / "text.zip").write_text("text")
    for name, said in (
        ("thesis.zip", "no exported bundle: choose another"),
        ("text.zip", "no exported bundle"),
        ("", "it is a folder; name a file in it"),
    ):
        assert main(["export", str(run_dir), "-o", str(tmp_path / name)]) == 1
        assert said in capsys.readouterr().err
    assert thesis.read_bytes() == before


def test_without_onnx_the_remedy_is_said_before_anything_is_done(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    assert main(["export", str(tmp_path / "nowhere"), "-o", str(tmp_path / "b.zip")]) == 1
    assert capsys.readouterr().err == "error: the export needs onnxscript: pip install 'monai-sf[onnx]'\n"


@pytest.mark.parametrize("limit", [2_000, 100_000, 300_000])
def test_a_full_disk_leaves_nothing_behind(run_dir, archive, tmp_path, limit):
    assert archive.stat().st_size > limit
    output = tmp_path / "out" / "bundle.zip"

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(OSError, match=r"cannot write .*bundle\.zip: .*Free space"):
            export_run(run_dir, output)

    assert status_of(fork(full)) == 0
    assert not list(output.parent.iterdir())
