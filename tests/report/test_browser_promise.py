"""The promise, and what was seen at its threshold, in Chromium."""

import re

import numpy as np
import pytest

from helpers.pages import settle
from helpers.promises import promise, with_promise
from monai_sf.report import build_report
from monai_sf.tables.judge import failure_detection

pytestmark = pytest.mark.browser


def test_the_promise_what_was_seen_and_the_way_back(make_run, open_page, tmp_path):
    run = make_run("mskcc", n=60, corruptions=("gaussian_noise",))
    reference = failure_detection(run, "iid", "MSR").confidence
    # between two confidences, where none of the other working points lies
    threshold = float(np.sort(reference)[30:32].mean())
    csfs = {"MSR": promise(threshold), "PE": promise(needed=700), "MCD-PE": promise()}
    run = with_promise(run, csfs, cases=90, groups=30)
    watched = open_page(
        build_report(run, tmp_path / "r.html", coverage=70), viewport={"width": 1024, "height": 768}
    )
    page = watched.page

    def rows():
        rows = page.locator("#seen tbody tr").all()
        return {r.get_attribute("data-kind"): r.inner_text().replace("\u00a0", " ") for r in rows}

    assert "at most 5 of 100 answers it is sure of are wrong" in page.locator("#promise").inner_text()
    assert "90 calibration cases of 30 groups" in page.locator("#promise").inner_text()
    for name, kind in (("iid", "iid"), ("target", "acquisition")):
        found = failure_detection(run, name, "MSR")
        sure = found.confidence >= threshold
        assert f"{int(found.error[sure].sum())} of {sure.sum()}" in rows()[kind]
        assert f"{100 * sure.mean():.0f} %" in rows()[kind]
    assert {text.split("\t")[1].strip() for text in rows().values()} <= {
        *("✓ kept", "? not shown to be kept", "? not shown, too few patients", "✕ broken"),
    }  # fmt: skip
    # the whole first view is seen without scrolling
    assert page.locator("#seen").bounding_box()["y"] + page.locator("#seen").bounding_box()["height"] < 768
    # every picture's card has the threshold, in the score's unit
    shown = f"{100 * np.exp(threshold):.1f}"
    for text in page.locator("#gallery .case").all_inner_texts():
        sure, limit = (
            re.search(rf"{word}\s+(?:just above )?([\d.]+)", text)[1] for word in ("confidence", "threshold")
        )
        assert limit == shown
        assert ("decided alone" in text) == ("Silent failure" in text)
        assert ("decided alone" in text) <= (float(sure) >= float(limit))
    label = page.locator("#gallery canvas").first.get_attribute("aria-label")
    assert f"threshold {shown}\u00a0%: decided alone" in label
    at_promise = rows()
    page.locator("#coverage").fill("100")
    assert "nothing is promised" in page.locator("#promise").inner_text()
    assert "kept" not in "".join(rows().values())
    page.locator("#to-promise").click()
    assert rows() == at_promise
    page.select_option("#csf", "PE")
    assert "it would take about 700 groups" in page.locator("#promise").inner_text()
    assert page.locator("#coverage").input_value() == "70"
    page.select_option("#csf", "MCD-PE")
    assert "no number of cases would do" in page.locator("#promise").inner_text()
    page.select_option("#csf", "MCD-MSR")
    assert "no threshold was chosen for it" in page.locator("#promise").inner_text()
    page.select_option("#csf", "MSR")
    assert rows() == at_promise
    page.locator("#every-set").click()
    settle(page)
    verdicts = page.locator("#counts .verdict")
    assert verdicts.count() == len(run.test_sets)
    watched.check()


def test_nothing_of_the_promise_is_cut_off_on_a_phone(make_run, open_page, tmp_path):
    run = make_run("mskcc", n=60, corruptions=("gaussian_noise",))
    threshold = float(np.median(failure_detection(run, "iid", "MSR").confidence))
    report = build_report(with_promise(run, {"MSR": promise(threshold)}), tmp_path / "r.html")
    watched = open_page(report, viewport={"width": 390, "height": 844})
    # counts of a real study: the longest text of a row
    watched.page.evaluate(
        "for (const one of document.querySelectorAll('#seen .rate .quiet'))"
        " one.textContent = ' (22.6 % to 29.4 %), 2,189 of 8,623 images'"
    )
    right = "one => one.getBoundingClientRect().right"
    box = watched.page.locator("#seen").evaluate(right)
    cells = watched.page.locator("#seen :is(th, td, td *):not(thead *)").all()
    assert cells
    assert all(cell.evaluate(right) <= box for cell in cells)
    watched.check()
