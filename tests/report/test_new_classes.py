"""Cases of none of the classes on the page: their counts, their names, and their true class in scripts."""

import dataclasses

import numpy as np
import pytest

from helpers.pages import payload
from monai_sf.report import build_report
from monai_sf.report.privacy import cleaned
from monai_sf.report.runs import evaluate, shown_labels, truths
from monai_sf.tables import benchmark_table
from monai_sf.tables.judge import failure_detection


@pytest.fixture(scope="module")
def run(make_run):
    return make_run("unknown", n=60, corruptions=())


def test_what_a_case_is_has_a_name_though_it_is_no_class(run):
    assert truths(run) == ["benign", "malignant", "not among the classes: rash"]
    labels = shown_labels(run)
    assert set(labels[run.test_sets["target"].rows]) == {2}
    np.testing.assert_array_equal(labels[run.test_sets["iid"].rows], run.labels_of("iid"))
    unnamed = dataclasses.replace(run, cases=run.cases.drop(columns="label_name"))
    assert truths(unnamed)[2:] == ["not among the classes"]
    assert set(shown_labels(unnamed)) == {0, 1, 2}


def test_counts_are_of_the_new_cases_and_curves_of_both(run):
    found = evaluate(run, 200, 0)
    shown = found.shown["target", "MSR"]
    assert shown.errors == 30
    confidence = failure_detection(run, "target", "MSR").confidence
    kept = (confidence >= found.thresholds["MSR"][79]).sum()
    assert (shown.trusted[79], shown.silent[79]) == (kept, kept)
    assert shown.aurc == benchmark_table([run]).loc["MSR", "new"]
    low, high = shown.aurc_interval
    assert low <= shown.aurc <= high
    assert shown.risk[-1] == pytest.approx((30 + found.shown["iid", "MSR"].errors) / 90)


def test_the_sample_has_room_for_other_cases(run):
    for most, expected in ((30, 10), (66, 22), (80, 26), (90, 30), (200, 30)):
        found = evaluate(run, most, 0)
        assert len(found.sample.position) == min(most, 90)
        assert (found.sample.test_set == 1).sum() == expected
    alone = dataclasses.replace(run, test_sets={"target": run.test_sets["target"]})
    assert len(evaluate(alone, 20, 0).sample.position) == 20


def test_without_ordinary_cases_counts_stay_and_the_area_is_none(run, tmp_path):
    alone = dataclasses.replace(run, test_sets={"target": run.test_sets["target"]})
    shown = evaluate(alone, 200, 0).shown["target", "MSR"]
    assert np.isnan(shown.aurc)
    assert shown.aurc_interval is None
    assert shown.errors == 30
    page = payload(build_report(alone, tmp_path / "report.html"))
    score = next(csf for csf in page["runs"][0]["csfs"] if csf["name"] == "MSR")
    assert score["sets"][0]["aurc"] is None
    assert page["studies"]["rows"]["MSR"] == [None]


def test_the_page_says_what_they_are(run, tmp_path):
    page = payload(build_report(run, tmp_path / "report.html"))
    mine = page["runs"][0]
    assert mine["truths"] == [*mine["classes"], "not among the classes: rash"]
    assert page["groups"]["new_class"]["title"] == "A disease it was never shown"
    assert page["table"]["columns"] == ["iid", "new"]
    named = {group["value"] for group in mine["concepts"][0]["groups"]}
    assert named == set(mine["truths"])
    given = payload(
        build_report(dataclasses.replace(run, run={**run.run, "audit": True}), tmp_path / "g.html")
    )
    assert "none of the model's classes" in given["groups"]["new_class"]["meaning"]


def test_their_names_are_hidden_and_redacted_like_those_of_classes(run):
    cases = run.cases.copy()
    one = run.test_sets["target"].rows[0]
    cases.loc[one, "label_name"] = "/home/jdoe/secret"
    cases.loc[run.test_sets["target"].rows[1], "label_name"] = "jdoe's own disease"
    named = dataclasses.replace(run, cases=cases)
    (shown,) = cleaned([named])
    assert any("jdoe's own disease" in name for name in truths(shown))
    assert not any("/home" in name for name in truths(shown))
    (hidden,) = cleaned([named], anonymous=True)
    assert not any("jdoe" in name for name in truths(hidden))
    assert any("rash" in name for name in truths(hidden))


@pytest.mark.browser
def test_cards_and_map_name_them_and_count_them_as_wrong(run, open_page, tmp_path):
    watched = open_page(build_report(run, tmp_path / "report.html"))
    page = watched.page
    card = page.locator('.group-card[data-kind="new_class"]')
    assert "A disease it was never shown 30 cases" in card.locator("h3").inner_text()
    assert card.locator(".correct-count").inner_text() == "0"
    assert card.locator(".alarm-count").inner_text() == "0"
    assert "No answer on them can be right." in card.inner_text()
    page.select_option("#curve-set", "1")
    found = failure_detection(run, "target", "MSR").confidence, failure_detection(run, "iid", "MSR")
    threshold = evaluate(run, 20, 0).thresholds["MSR"][79]
    kept = int((found[0] >= threshold).sum() + (found[1].confidence >= threshold).sum())
    said = page.locator("#curve-text").inner_text()
    assert "“A disease it was never shown” together with “Ordinary cases”" in said
    assert f"sure of {kept} of 90 cases" in said
    for metric in ("silent", "accuracy"):  # the same for every score, so none of them is best
        page.select_option("#table-metric", metric)
        rows = page.locator("#benchmark tbody tr:has(td)").all()
        stars = [row.locator("td").nth(1).locator(".best").count() for row in rows]
        assert len(stars) > 1
        assert sum(stars) == 0
    page.select_option("#latent-colour", "class")
    assert "not among the classes: rash" in page.locator("#latent-class").inner_text()
    page.select_option("#latent-colour", "classifier")
    assert "not among the classes: rash, called malignant" in page.locator("#latent").inner_text()
    watched.check()
