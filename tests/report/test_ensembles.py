"""Runs that differ in the seed only give one more run of the page: their ensemble."""

import numpy as np
import pytest

from helpers.pages import payload
from monai_sf.metrics import aurc
from monai_sf.report import build_report
from monai_sf.results import Results
from monai_sf.tables import benchmark_table

DE = ["DE-MSR", "DE-PE", "DE-EE", "DE-MI"]


def seeds(make_run, study="iid", count=3, **about):
    """Runs with the cases of seed 0 and outputs of their own."""
    first = make_run(study, **about)
    runs = [first]
    for seed in range(1, count):
        sets = {}
        rng = np.random.default_rng(seed)
        for name, one in first.test_sets.items():
            noise = rng.normal(0, 1.5, one.arrays["logits"].shape).astype(np.float32)
            arrays = {**one.arrays, "logits": one.arrays["logits"] + noise}
            sets[name] = type(one)(name, one.kind, one.rows, arrays, one.corruption, one.severity)
        runs.append(Results({**first.run, "seed": seed}, first.cases, sets))
    return runs


@pytest.fixture(scope="module")
def runs(make_run):
    return [*seeds(make_run, n=60), make_run("texture", n=40)]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    return payload(build_report(runs, tmp_path_factory.mktemp("ensemble") / "r.html", max_points=80))


def test_it_is_one_more_run_with_curves_failures_and_pictures(runs, page):
    assert [run["title"] for run in page["runs"]] == [
        *(f"confidnet, seed {seed}" for seed in (0, 1, 2, 0)),
        "confidnet, ensemble of 3 seeds",
    ]
    shown = page["runs"][-1]
    assert shown["study"] == "iid"
    assert [csf["name"] for csf in shown["csfs"]] == DE
    assert [one["name"] for one in shown["sets"]] == [one["name"] for one in page["runs"][0]["sets"]]
    assert shown["points"]["images"] > 0
    assert shown["points"]["count"] <= 80
    assert shown["points"]["xyz"] is None
    assert "has no latent space of its own" in " ".join(
        n["text"] for n in shown["notes"] if n["about"] == "map"
    )
    ensemble = Results.ensemble(runs[:3])
    mean = ensemble.test_sets["iid"].arrays["ensemble_log_softmax"]
    error = (mean.argmax(axis=1) != ensemble.labels_of("iid")).astype(float)
    of_iid = shown["csfs"][0]["sets"][0]
    assert of_iid["aurc"] == pytest.approx(aurc(mean.max(axis=1), error))
    assert of_iid["errors"] == error.sum()
    assert of_iid["aurcInterval"] is not None


def test_its_rows_are_in_the_tables_and_offered_at_once(runs, page):
    expected = benchmark_table(runs)
    at = page["table"]["rows"].index
    for csf in DE:
        assert page["csfs"][csf]["usual"]
        found = dict(zip(page["table"]["columns"], page["table"]["values"][at(csf)], strict=True))
        assert found["iid"] == pytest.approx(expected.loc[csf, "iid"])
        assert page["table"]["methods"][csf] == "confidnet"
        cells = dict(
            zip([c["study"] for c in page["studies"]["columns"]], page["studies"]["rows"][csf], strict=True)
        )
        assert cells["iid"] is not None


def test_words_and_origin_count_it_apart(make_run, runs, tmp_path):
    path = build_report(runs[:3], tmp_path / "r.html", max_points=20)
    assert "3 classifiers (studies: ordinary cases) were tested" in path.read_text(encoding="utf-8")
    facts = payload(path)["provenance"]["runs"]
    assert [fact["title"] for fact in facts][-1] == "iid · confidnet · ensemble of 3 seeds"
    assert "members" in str(facts[-1]["run"])
    alone = build_report(Results.ensemble(runs[:3]), tmp_path / "alone.html", max_points=20)
    assert "One ensemble of classifiers, tested on" in alone.read_text(encoding="utf-8")
    other = Results.ensemble(seeds(make_run, "texture", count=2, n=40))
    both = build_report([Results.ensemble(runs[:3]), other], tmp_path / "both.html", max_points=20)
    assert "2 ensembles of classifiers (studies: " in both.read_text(encoding="utf-8")
    assert [csf["name"] for csf in payload(alone)["runs"][0]["csfs"]] == DE


def test_seeds_that_are_no_ensemble_are_noted(make_run, tmp_path):
    runs = [make_run("iid", n=40), make_run("iid", n=40, seed=1)]  # other labels
    content = payload(build_report(runs, tmp_path / "r.html", max_points=20))
    assert len(content["runs"]) == 2
    (note,) = [n["text"] for n in content["notes"]]
    assert note.startswith(
        "Ensemble of iid, confidnet: these runs are no ensemble: seed 1 differs from seed 0"
    )
    hidden = payload(build_report(runs, tmp_path / "a.html", max_points=20, anonymous=True))
    assert "The seeds of a study are no ensemble." in [n["text"] for n in hidden["notes"]]


def test_an_anonymous_page_has_it(runs, tmp_path):
    content = payload(build_report(runs[:2], tmp_path / "a.html", max_points=20, anonymous=True))
    assert content["runs"][-1]["title"] == "confidnet, ensemble of 2 seeds"


def test_only_chosen_scores_make_one(runs, tmp_path):
    content = payload(build_report(runs[:2], tmp_path / "r.html", max_points=20, csfs=["MSR"]))
    assert [run["title"] for run in content["runs"]] == ["confidnet, seed 0", "confidnet, seed 1"]
    assert content["notes"] == []


def test_a_reader_finds_it_by_its_score(runs, tmp_path, open_page):
    watched = open_page(build_report(runs[:3], tmp_path / "r.html", max_points=60))
    page = watched.page
    page.locator("#benchmark").get_by_role("button", name="DE-MSR").click()
    assert page.locator("#csf").input_value() == "DE-MSR"
    assert page.locator("#seed-box").is_hidden()  # there is one
    page.locator("#csf").select_option("MSR")
    options = page.locator("#seed option").all_text_contents()
    assert options == ["confidnet, seed 0", "confidnet, seed 1", "confidnet, seed 2"]
    watched.check()
