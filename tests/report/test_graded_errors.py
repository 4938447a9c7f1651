"""A report on answers with errors between 0 and 1, such as those of a segmentation."""

import re

import numpy as np
import pytest

from helpers.pages import payload, settle
from monai_sf.report import build_report
from monai_sf.report.runs import evaluate
from monai_sf.report.working_points import mean_errors
from monai_sf.results import Results, ResultsError

N = 60


def make(seed=0, **more):
    rng = np.random.default_rng(seed)
    errors = np.random.default_rng(7).beta(1, 2, N)
    confidences = {"Good": -errors + rng.normal(0, 0.2, N), "Coin": rng.random(N)}
    ids = [f"case{i}" for i in range(20)]
    options = {
        "features": rng.normal(size=(N, 5)),
        "images": rng.integers(0, 255, (N, 16, 16), np.uint8),
        "case_ids": [*ids, *(f"far{i}" for i in range(20)), *ids],
        "domains": ["iid"] * 20 + ["clinic-b"] * 20 + ["corruption-blur-2"] * 20,
        "columns": {"size": ["small", "large"] * 30},
        "seed": seed,
        "dataset": "organ",
        **more,
    }
    return Results.from_scores(confidences, errors, **options)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return build_report([make(), make(1)], tmp_path_factory.mktemp("graded") / "r.html", max_points=50)


def test_counts_are_of_failures_and_areas_of_the_errors():
    run = evaluate(make(failure_above=0.4), 50, 0)
    shown = run.shown["iid", "Good"]
    errors, confidence = (make().test_sets["iid"].arrays[name] for name in ("errors", "score_1"))
    assert shown.errors == (errors > 0.4).sum()
    for step in (0, 49, 79, 99):
        kept = confidence >= run.thresholds["Good"][step]
        assert shown.trusted[step] == kept.sum()
        assert shown.silent[step] == (errors[kept] > 0.4).sum()
        assert shown.mean_error[step] == pytest.approx(errors[kept].mean())
    assert shown.risk[-1] == pytest.approx(errors.mean())
    cell = run.cells[(run.cells["metric"] == "aurc") & (run.cells["csf"] == "Good")].iloc[0]
    assert shown.aurc == cell["value"]


def test_the_mean_error_of_nothing_is_undefined():
    found = mean_errors(np.array([1.0, 2.0]), np.array([0.5, 0.1]), np.array([3.0, 2.0, 0.0]))
    np.testing.assert_allclose(found, [np.nan, 0.1, 0.3])


def test_the_page_has_no_classes(page):
    html = page.read_text(encoding="utf-8")
    assert "<h1>Where organ fails silently</h1>" in html
    assert re.search(r"error <b>above 0\.5</b> counts as <b>wrong</b>", html)
    assert "A classifier decides" not in html
    run = payload(page)["runs"][0]
    assert run["classes"] == []
    assert [c["name"] for c in run["csfs"]] == ["Good", "Coin"]
    assert [c["column"] for c in run["concepts"]] == ["size"]
    assert any("no classes: cases with an error above 0.5" in note["text"] for note in run["notes"])
    assert {c["name"] for c in run["cases"]["columns"]} == {"size"}


def test_an_anonymous_page_can_be_made(tmp_path):
    run = payload(build_report(make(failure_above=0.4), tmp_path / "r.html", anonymous=True))["runs"][0]
    assert any("above 0.4" in note["text"] for note in run["notes"])


def test_kinds_and_limits_are_not_mixed(tmp_path):
    label = np.arange(20) % 2
    classes = Results.from_arrays(np.eye(2)[label] * 3, label, dataset="organ")
    for other in (classes, make(2, failure_above=0.1)):
        with pytest.raises(ResultsError, match="one failure_above: make one for each"):
            build_report([make(), other], tmp_path / "r.html")


def test_cards_show_error_and_confidence_and_the_dot_lies_on_the_curve(page, open_page):
    watched = open_page(page)
    view = watched.page
    card = view.locator("#gallery figure.case").first
    text = card.inner_text()
    assert re.search(r"error\s+0\.\d\d", text)
    assert "called" not in text
    assert view.locator("#latent-class-box").is_hidden()
    assert "undefined" not in view.locator("body").inner_text()
    labels = view.eval_on_selector_all("[aria-label]", "all => all.map(e => e.ariaLabel).join(' ')")
    assert "undefined" not in labels
    view.locator("#curves-plot").scroll_into_view_if_needed()
    settle(view)
    said = re.search(r"Their mean error is (\d+\.\d).%", view.locator("#curve-text").inner_text())
    models = "Bokeh.documents.map(d => d.get_model_by_name('points'))"
    dot = view.evaluate(f"() => {models}.find(m => m && m.data.y.length).data.y[0]")
    expected = evaluate(make(), 50, 0).shown["iid", "Good"].mean_error[79]
    assert dot == pytest.approx(expected)
    assert float(said[1]) == pytest.approx(100 * expected, abs=0.05)
    view.locator("#sweep-grid").scroll_into_view_if_needed()
    settle(view)
    sweep = view.locator("#sweep").inner_text()
    assert "the error of the answer and the confidence of Good" in sweep
    assert "undefined" not in sweep
    watched.check()
