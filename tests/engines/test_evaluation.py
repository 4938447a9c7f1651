"""Evaluation: every case of every test set once, and never an output that is not finite."""

import json
import math
import shutil
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai_sf.transforms import CorruptionSweep, corrupt
from monai_sf.transforms.randomness import case_seed

from helpers.toy_engines import KINDS, make_evaluator, weights
from helpers.toy_problem import tiny_network, toy_cases
from monai_sf.data import TestBatches
from monai_sf.handlers import CollectOutputs, thumbnails
from monai_sf.inferers import MCDropoutInferer
from monai_sf.results import ARRAYS, ResultsError, TestSetWriter, load_results

DROPOUT_ARRAYS = ("mcd_log_softmax", "mcd_entropy", "mcd_softmax_variance", "mcd_waic")


def test_results_hold_every_case_of_every_test_set_once(evaluated):
    results = load_results(evaluated / "results")
    names = ["iid", *(f"corruption-{k}-{s}" for k in KINDS for s in (1, 3)), "target"]
    assert list(results.test_sets) == names
    assert results.run["sha256"]["checkpoint"]
    for name, test_set in results.test_sets.items():
        assert len(test_set) == (5 if name == "target" else 7)
        assert set(test_set.arrays) == {"logits", "features", "images", *DROPOUT_ARRAYS}
        assert sorted(results.cases_of(name)["case_id"]) == sorted(
            toy_cases()["case_id"][35:] if name == "target" else toy_cases()["case_id"][28:35]
        )


def test_outputs_are_the_networks_on_the_corrupted_images(evaluated):
    """Slow and obvious: one image at a time, corrupted alone, through the loaded network."""
    results = load_results(evaluated / "results")
    network = tiny_network().eval()
    network.load_state_dict(weights(evaluated / "best.pt"))
    images = {r["case_id"]: torch.from_numpy(r["image"]) for r in make_evaluator("unused").dataset.data}
    for name, test_set in results.test_sets.items():
        for i, case_id in enumerate(results.cases_of(name)["case_id"]):
            image = images[case_id]
            if test_set.corruption:
                seed = case_seed(0, test_set.corruption, case_id)
                image = corrupt(image, test_set.corruption, test_set.severity, seeds=seed)
            with torch.no_grad():
                expected = network(image[None].float())[0]
            np.testing.assert_allclose(test_set.arrays["logits"][i], expected, rtol=1e-4, atol=1e-5)
            shown = (image[0].numpy() * 255).round()
            np.testing.assert_allclose(test_set.arrays["images"][i], shown, atol=1)


def test_evaluating_a_case_over_all_corruptions_reads_it_once(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    evaluator = make_evaluator(tmp_path, sweep=CorruptionSweep(), samples=0)
    reads, read = [], evaluator.dataset.transform

    def counted(record):
        reads.append(record["case_id"])
        return read(record)

    evaluator.dataset.transform = counted
    evaluator.run()
    assert len(load_results(tmp_path / "results").test_sets) == 1 + 25 + 1
    assert reads == list(toy_cases()["case_id"][28:])


def test_mc_dropout_differs_from_the_plain_pass(evaluated):
    arrays = load_results(evaluated / "results").test_sets["iid"].arrays
    plain = torch.from_numpy(np.array(arrays["logits"])).softmax(1).numpy()
    assert (np.abs(np.exp(arrays["mcd_log_softmax"]) - plain) > 1e-6).all()


def test_outputs_that_scores_are_fitted_to_do_not_depend_on_the_samples(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())

    def val(records):
        records[0]["split"] = "val"

    def stamps():
        return {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/evaluation.json")}

    make_evaluator(tmp_path, records_changed=val).run()
    made = stamps()
    assert made["validation"].keys() == {"checkpoint", "precision"}
    shutil.rmtree(tmp_path / "results")
    make_evaluator(tmp_path, samples=3, records_changed=val).run()
    assert stamps() == {**made, "results": {**made["results"], "dropout_samples": 3}}
    inferer = MCDropoutInferer(3, precision="bfloat16")
    both = f"remove {tmp_path / 'validation'} and {tmp_path / 'results'} to evaluate again"
    with pytest.raises(ResultsError, match=both):
        make_evaluator(tmp_path, inferer=inferer, records_changed=val).run()


def test_no_worker_outlives_an_evaluation_that_cannot_read(evaluated, tmp_path):
    before, alive = set(active_children()), []
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    evaluator = make_evaluator(
        tmp_path, num_workers=2, records_changed=lambda records: records[8].update(image="no image")
    )

    @evaluator.on(Events.ITERATION_COMPLETED(once=1))
    def look():
        alive.extend(set(active_children()) - before)

    with pytest.raises(AttributeError, match="in DataLoader worker process") as held:
        evaluator.run()
    assert len(alive) == 2
    assert set(active_children()) <= before
    assert held.tb  # which holds the reader


def test_nan_image_names_the_case(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())

    def spoil(records):
        records[8]["image"] = np.full_like(records[8]["image"], np.nan)

    with pytest.raises(FloatingPointError, match="test set target: logits, .* are not finite .* case36"):
        make_evaluator(tmp_path, records_changed=spoil, sweep=None).run()


def test_nan_image_names_the_case_though_its_corruption_fails_meanwhile(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())

    def spoil(records):
        records[2]["image"] = np.full_like(records[2]["image"], np.nan)

    with pytest.raises(
        FloatingPointError, match="test set iid: logits, .* are not finite for the cases case30"
    ):
        make_evaluator(tmp_path, records_changed=spoil).run()


def test_features_of_corrupted_cases_in_16_bits(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path, corrupted_features="float16").run()
    one, two = load_results(evaluated / "results"), load_results(tmp_path / "results")
    said = [results.run["corrupted_features"] for results in (one, two)]
    assert said == ["float32", "float16"]
    for name, test_set in one.test_sets.items():
        for key, array in test_set.arrays.items():
            narrow = key == "features" and test_set.kind == "corruption"
            expected = array.astype(np.float16) if narrow else array
            found = two.test_sets[name].arrays[key]
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def collected(folder, narrow=(), **outputs):
    """Collect the outputs of the cases a and b, and return the writer."""
    writer = TestSetWriter(folder, np.arange(2), {"name": "blurred"})
    collect = CollectOutputs({"blurred": writer}, {"a": 0, "b": 1}, (), narrow=narrow)
    engine = Engine(lambda engine, batch: None)
    engine.state.batch = {"test_set": "blurred", "case_id": ["a", "b"]}
    engine.state.output = {"pred": {"logits": torch.zeros(2, 2), **outputs}}
    collect(engine)
    collect.close()
    return writer


@pytest.mark.parametrize("too_large", [False, True])
def test_features_that_16_bits_do_not_hold_name_the_case(tmp_path, too_large):
    features = torch.tensor([[65504.0], [65520.0 if too_large else 65519.0]])  # 65520 is rounded to infinity
    if too_large:
        message = "test set blurred: features are beyond 65504, .*corrupted_features: float32.* the cases b$"
        with pytest.raises(FloatingPointError, match=message):
            collected(tmp_path, narrow=("blurred",), features=features)
    else:
        assert collected(tmp_path, narrow=("blurred",), features=features).done.all()


@pytest.mark.parametrize("narrow", [(), ("blurred",)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_output_that_is_not_finite_is_stored(tmp_path, bad, narrow):
    lengths = {"": (2,), "C": (2, 2), "F": (2, 3)}
    shapes = {name: lengths[shape] for name, (shape, _) in ARRAYS.items() if shape in lengths}
    for name, shape in {**shapes, "a_head_s_own": (2, 1, 1)}.items():
        spoiled = torch.zeros(shape, dtype=torch.float64 if shape == (2,) else torch.float32)
        spoiled.view(-1)[-1] = bad
        if bad == -math.inf and (
            name.endswith("_log_softmax") or name == "mcd_waic"
        ):  # of a probability of 0
            assert collected(tmp_path / name, narrow, **{name: spoiled}).done.all()
            continue
        with pytest.raises(FloatingPointError, match=f"test set blurred: {name} are .* the cases b$"):
            collected(tmp_path / name, narrow, **{name: spoiled})
    both = {name: torch.full((2,), bad) for name in ("mcd_entropy", "tta_entropy")}
    message = "mcd_entropy, tta_entropy are not finite for the cases a, b$"
    with pytest.raises(FloatingPointError, match=message):
        collected(tmp_path / "both", narrow, **both)


def test_an_evaluation_says_in_which_precision_it_was(evaluated, tmp_path):
    assert load_results(evaluated / "results").run["precision"] == "float32"
    with pytest.raises(ValueError, match="device cpu is not computed in float16: take float32"):
        make_evaluator(tmp_path, inferer=MCDropoutInferer(2, precision="float16"))
    with pytest.raises(ValueError, match="corrupted_features must be float32 or float16, got 'half'"):
        make_evaluator(tmp_path, corrupted_features="half")


def test_batches_that_are_made_ahead_give_the_same_files(evaluated, tmp_path, monkeypatch):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    init = TestBatches.__init__

    def on_gpu(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self._ahead = True

    monkeypatch.setattr(TestBatches, "__init__", on_gpu)
    make_evaluator(tmp_path).run()
    files = [file.relative_to(evaluated) for file in evaluated.rglob("results/**/*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        assert (tmp_path / file).read_bytes() == (evaluated / file).read_bytes()


def test_images_of_the_weakest_corruptions_are_left_out_where_there_are_too_many(evaluated, tmp_path):
    (tmp_path / "best.pt").write_bytes((evaluated / "best.pt").read_bytes())
    make_evaluator(tmp_path, thumbnail_limit=2 * 7).run()  # two kinds, seven cases: one severity
    sets = load_results(tmp_path / "results").test_sets
    assert {name for name, found in sets.items() if "images" not in found.arrays} == {
        f"corruption-{kind}-1" for kind in KINDS
    }


def test_thumbnails_keep_orientation_range_and_colour():
    letter = torch.zeros(1, 3, 4, 8)
    letter[0, 0, 0, :] = 1.0  # red bar at the top
    letter[0, 2, :, 0] = 1.0  # blue bar at the left
    picture = thumbnails(letter, 64)
    assert picture.shape == (1, 4, 8, 3)
    assert picture[0, 0, 5].tolist() == [255, 0, 0]
    assert picture[0, 3, 0].tolist() == [0, 0, 255]
    assert thumbnails(torch.full((2, 1, 128, 64), 0.5), 64).shape == (2, 64, 32)
    assert (thumbnails(torch.full((2, 1, 128, 64), 0.5), 64) == 128).all()
    assert thumbnails(torch.rand(1, 6, 8, 8), 64).shape == (1, 8, 8, 3)
    assert thumbnails(torch.rand(1, 2, 8, 8), 64).shape == (1, 8, 8)
