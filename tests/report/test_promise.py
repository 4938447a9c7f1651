"""What was seen at the promised threshold: patients count alike, as in the promise, and a tie is trusted."""

import numpy as np
import pandas as pd
import pytest

from helpers.promises import promise, with_promise
from monai_sf.metrics.clusters import wilson
from monai_sf.report.promise import seen_at
from monai_sf.report.runs import evaluate
from monai_sf.report.words import unpromised
from monai_sf.report.working_points import effective_sizes
from monai_sf.results import Results


def by_loop(threshold, confidence, error, groups):
    """Risk and effective size of patients, each of whom counts once."""
    wrong, counted = {}, {}
    for c, e, g in zip(confidence, error, groups, strict=True):
        share = (c >= threshold) / sum(other == g for other in groups)
        counted[g] = counted.get(g, 0) + share
        wrong[g] = wrong.get(g, 0) + share * e
    return sum(wrong.values()) / sum(counted.values())


def unequal(n=400, seed=0, hard=0.4, easy=0.005, big=20):
    """Patients of one image, and hard ones of many."""
    rng = np.random.default_rng(seed)
    many = rng.random(n) < 0.05
    groups = np.repeat(np.arange(n), np.where(many, big, 1))
    error = (rng.random(len(groups)) < np.where(many[groups], hard, easy)).astype(float)
    return rng.random(len(groups)), error, groups


def test_every_patient_counts_once_however_many_images_there_are():
    confidence, error, groups = unequal()
    seen = seen_at(0.3, confidence, error, groups)
    assert seen.rate == pytest.approx(by_loop(0.3, confidence, error, groups))
    of_images = error[confidence >= 0.3].mean()
    assert seen.rate < seen.high < 0.1 < of_images


def test_an_easy_patient_of_many_images_hides_no_broken_promise():
    confidence, error, groups = unequal(n=1000, hard=0.0, easy=0.11)
    seen = seen_at(-1.0, confidence, error, groups)
    assert error.mean() < 0.07 < seen.low


@pytest.mark.parametrize("images", [1, 5])
def test_patients_of_equal_size_change_no_number(images):
    rng = np.random.default_rng(3)
    groups = np.arange(60).repeat(images)
    confidence, error = rng.random(len(groups)), (rng.random(len(groups)) < 0.2) * 1.0
    rate = error[confidence >= 0.4].mean()
    size = effective_sizes(confidence, error, np.array([0.4]), groups)[0]
    assert seen_at(0.4, confidence, error, groups)[:3] == pytest.approx((rate, *wilson(rate, size)))


def test_the_interval_covers_the_promised_risk_of_patients():
    covered = []
    for seed in range(200):
        seen = seen_at(-1.0, *unequal(n=1500, seed=seed))
        covered.append(seen.low <= 0.05 * 0.4 + 0.95 * 0.005 <= seen.high)
    assert np.mean(covered) > 0.92


@pytest.mark.parametrize(("patients", "few"), [(9, True), (10, False)])
def test_fewer_than_ten_patients_are_few(patients, few):
    confidence = np.append(np.ones(5 * patients), np.zeros(50))
    groups = np.append(np.arange(patients).repeat(5), np.arange(100, 150))
    assert seen_at(0.5, confidence, np.zeros(len(groups)), groups).few is few


def test_a_case_at_the_threshold_is_trusted_and_without_one_nothing_is_seen():
    confidence, error = np.array([0.5, 0.5, 0.4]), np.array([1.0, 0, 0])
    assert seen_at(0.5, confidence, error, np.arange(3)).rate == 0.5
    assert seen_at(0.6, confidence, error, np.arange(3)) is None
    assert seen_at(None, confidence, error, np.arange(3)) is None
    alone = seen_at(0.0, confidence, error, np.zeros(3, int)).of_page()
    assert (alone["low"], alone["high"], alone["few"]) == (None, None, True)


def test_a_run_has_the_numbers_of_each_set_and_of_each_kind(make_run):
    run = make_run("iid", n=60)
    sizes = np.random.default_rng(0).integers(0, 25, len(run.cases))  # patients of unequal size
    run = Results(run.run, run.cases.assign(group=[f"p{i}" for i in sizes]), run.test_sets)
    threshold = -0.3
    shown = evaluate(with_promise(run, {"MSR": promise(threshold), "PE": promise()}), 50, 0, ["MSR", "PE"])
    codes = pd.factorize(run.cases["group"])[0]
    for kind in {s.kind for s in shown.sets}:
        sets = [s for s in shown.sets if s.kind == kind]
        found = [shown.shown[s.name, "MSR"] for s in sets]
        parts = [
            (f.detection.confidence, f.detection.failed, codes[s.rows])
            for f, s in zip(found, sets, strict=True)
        ]
        for f, part in zip(found, parts, strict=True):
            assert f.seen.rate == pytest.approx(by_loop(threshold, *part))
        pooled = [np.concatenate(column) for column in zip(*parts, strict=True)]
        assert shown.seen[kind, "MSR"].rate == pytest.approx(by_loop(threshold, *pooled))
        assert shown.seen[kind, "PE"] is None


def test_why_nothing_is_promised_for_an_ensemble():
    assert "inference chooses one" in unpromised({"members": ["a", "b"]})
    assert "without calibration cases" in unpromised({})
