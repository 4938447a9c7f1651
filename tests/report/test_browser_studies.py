"""What the page says of all studies, classes and scores together, in Chromium."""

import numpy as np
import pytest

from helpers.pages import settle
from monai_sf.metrics import aurc
from monai_sf.report import build_report
from monai_sf.results import Results
from monai_sf.tables.judge import failure_detection

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=document.documentElement.dataset.hacked=1>$$x^2$$"
MARKED = """() => {
  // what is drawn on the map: pixels of the picture that differ from its corner
  const screen = document.getElementById('latent-cloud'), { width, height } = screen;
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(screen, 0, 0);
  const words = new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer);
  return words.reduce((n, w) => n + (w !== words[0]), 0);
}"""


def test_one_column_a_study_for_every_measure(report, browser_runs, open_page):
    watched = open_page(report)
    page = watched.page
    heads = page.locator("#intervals thead tr")
    assert [t.replace("\n", " ") for t in heads.first.locator("th").all_inner_texts()] == [
        "study ordinary cases",
        "study texture",
    ]

    def values():
        return [float(t) for t in page.locator("#intervals tbody tr").first.locator("td b").all_inner_texts()]

    two, one = [
        [failure_detection(r, s, "MSR") for r in part]
        for part, s in ((browser_runs[:2], "iid"), (browser_runs[2:], "target"))
    ]
    mean = np.mean([aurc(d.confidence, d.error) for d in two])
    assert values()[0] == pytest.approx(100 * mean, abs=0.006)
    assert len(values()) == 3
    page.select_option("#study-metric", "accuracy")
    assert page.locator("#table-metric").input_value() == "accuracy"
    assert values()[0] == pytest.approx(100 - 100 * np.mean([d.error for d in two]), abs=0.006)
    assert values()[2] == pytest.approx(100 - 100 * one[0].error.mean(), abs=0.006)
    page.select_option("#table-metric", "silent")
    for cell in page.locator("#intervals tbody td").all_inner_texts():
        value, low, high = (float(t) for t in cell.replace("–", "\n").split("\n"))
        assert low <= value <= high
    watched.check()


def test_ways_of_training_are_not_mixed(make_run, open_page, tmp_path):
    runs = [make_run(method=m, n=40 + 10 * s, seed=s, width=0, pictures=None, corruptions=())
            for m, s in (("confidnet", 0), ("classifier", 1))]  # fmt: skip
    watched = open_page(build_report(runs, tmp_path / "r.html"))
    page = watched.page
    page.select_option("#table-metric", "accuracy")
    right = [100 - 100 * failure_detection(r, "iid", "MSR").error.mean() for r in runs]
    assert right[0] != right[1]
    first = page.locator("#benchmark tbody tr").first.locator("td").inner_text()
    assert float(first.split()[0]) == pytest.approx(right[0], abs=0.06)
    every = page.locator("#intervals tbody td b").first.inner_text()
    assert float(every) == pytest.approx(right[0], abs=0.006)
    watched.check()


def test_all_studies_at_a_glance(report, open_page):
    watched = open_page(report)
    page = watched.page
    rows = page.locator("#seen tbody tr")
    assert rows.locator("th").all_inner_texts() == [
        "Ordinary cases",
        "Disturbed images",
        "An unseen kind of disease texture",
    ]
    rates = [float(text.split("\u00a0")[0]) for text in rows.locator(".rate b").all_inner_texts()]
    said = [str(round(rate)) for rate in rates]
    most = max(said[1:], key=int)
    places = ["disturbed images", "an unseen kind of disease (texture)"]
    worst = " and on ".join(place for place, told in zip(places, said[1:], strict=True) if told == most)
    answer = page.locator("#answer").inner_text()
    assert f"sure of, {said[0]} were wrong on ordinary cases, but {most} on {worst}." in answer
    kinds = page.locator("#cards [data-kind=corruption] .breakdown tbody tr")
    assert kinds.locator("th").all_inner_texts() == ["gaussian noise", "brightness up"]
    counts = page.locator("#counts tr[data-set=corruption-brightness_up-5] td").nth(6).text_content()
    assert kinds.nth(1).locator("td").last.inner_text() == str(round(float(counts.split()[0])))
    assert page.locator("#promise").inner_text() == (
        "Nothing is promised: evaluated without calibration cases of two classes or more."
    )
    rows.locator("button").nth(2).click()
    assert page.locator("#study").input_value() == "texture"
    assert (
        page.locator("#cards [data-kind=manifestation] .silent-count").inner_text()
        == (rows.nth(2).locator(".rate").inner_text().rsplit(", ", 1)[1].split(" of ")[0])
    )
    assert rows.locator("button[aria-pressed=true]").count() == 1
    watched.check()


def test_the_answer_is_there_before_the_library_of_the_plots(report, chromium):
    page = chromium.new_page()
    page.add_init_script(
        """new MutationObserver((_, watcher) => {
          if (!document.querySelector('#cards article')) return;
          watcher.disconnect();
          window.early = [typeof Bokeh, document.getElementById('sf-arrays-1'), document.readyState];
        }).observe(document, {childList: true, subtree: true});"""
    )
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    assert page.evaluate("window.early") == ["undefined", None, "loading"]
    page.close()


def test_classes_are_chosen_among_many(make_run, open_page, tmp_path):
    run = make_run(n=120, classes=12, corruptions=())
    watched = open_page(build_report(run, tmp_path / "r.html"))
    page = watched.page
    page.select_option("#latent-colour", "class")
    chosen = ("class 3", "class 11")
    for name in chosen:
        page.select_option("#latent-class", label=name)
    settle(page)
    # the chosen ones come first in the legend, and only they are drawn
    legend = [" ".join(t.split()) for t in page.locator("#latent-legend button").all_inner_texts()]
    assert {t.strip().rsplit(" ", 1)[0] for t in legend[:2]} == set(chosen)
    assert page.locator("#latent-classes button").count() == 2
    caption = page.locator("#concept-grid > p").inner_text()
    assert caption == "source. The 8 most frequent of 12 classes on the map"
    # one domain makes no table: its classes stand side by side
    assert page.locator("#concept-grid figure").count() == 8
    # without disturbed images there is no such part to go to
    assert page.locator("nav a[href='#sweep']").is_hidden()
    assert page.locator("nav a[href='#concepts']").is_visible()
    few = page.evaluate(MARKED)
    for button in page.locator("#latent-classes button").all()[::-1]:
        button.click()
    settle(page)
    assert page.evaluate(MARKED) > 1.5 * few
    page.select_option("#latent-colour", "classifier")
    legend = [" ".join(t.split()) for t in page.locator("#latent-legend button").all_inner_texts()]
    labels = run.labels_of("iid")
    found = failure_detection(run, "iid", "MSR")
    pairs = [f"class {a}, called class {b}" for a, b in zip(labels, found.prediction, strict=True) if a != b]
    assert legend[0].split() == ["correct", str(len(labels) - len(pairs))]
    most = max(pairs, key=pairs.count)
    assert legend[1].strip().endswith(f" {pairs.count(most)}")
    counted = sum(int(t.split()[-1]) for t in legend)
    assert counted == len(labels)
    assert len(legend) == 8
    watched.check()


def test_descriptions_are_read_as_text(make_run, open_page, tmp_path):
    run = make_run("texture", n=20, corruptions=())
    about = {
        **run.run,
        "study_description": f"Solid nodules {HOSTILE} from /home/someone/data",
        "test_set_descriptions": {"target": "Nodules of ground glass", "iid": 7},
    }
    path = build_report(Results(about, run.cases, run.test_sets), tmp_path / "r.html")
    watched = open_page(path)
    text = watched.page.locator("#study-text").inner_text()
    assert text == f"texture: Solid nodules {HOSTILE} from [path]"
    cards = watched.page.locator("#cards article > p.quiet:nth-of-type(1)").all_inner_texts()
    assert cards == [
        "new cases of the same kind as in training",
        "Nodules of ground glass",
    ]
    watched.check()


def test_disagreement_sides_are_caught_by_the_other_score(report, browser_runs, open_page):
    watched = open_page(report)
    page = watched.page
    page.select_option("#csf", "MSR")
    page.locator("#coverage").fill("60")
    page.select_option("#other-csf", "ConfidNet")
    sides = page.locator("#disagreements section")
    assert sides.locator("h3").all_inner_texts() == [
        "MSR misses, ConfidNet catches",
        "ConfidNet misses, MSR catches",
    ]
    run = browser_runs[0]
    counts = [0, 0]
    for csf, other, k in (("MSR", "ConfidNet", 0), ("ConfidNet", "MSR", 1)):
        for name in run.test_sets:
            a, b = (failure_detection(run, name, c) for c in (csf, other))
            (lowest, least) = (
                np.sort(failure_detection(run, "iid", c).confidence)[::-1][35] for c in (csf, other)
            )  # 36 of 60 are 60 %
            caught = (a.confidence >= lowest) & (b.confidence < least)
            counts[k] += int((caught & (a.error > 0) & (b.error > 0)).sum())
    # all cases are counted, not only those that are shown
    assert [int(t) for t in page.locator("#disagreements .missed-count").all_inner_texts()] == counts
    shown = sides.locator(".case").count()
    assert 0 < shown < sum(counts)
    assert sum(counts) > 0
    watched.check()


def test_corruptions_that_are_called_the_same_stay_two(make_run, open_page, tmp_path):
    run = make_run(n=20, corruptions=("gaussian_noise", "gaussian noise"))
    watched = open_page(build_report(run, tmp_path / "r.html"))
    for table in ("#cards [data-kind=corruption] .breakdown", "#sweep-grid"):
        rows = watched.page.locator(f"{table} tbody tr")
        assert rows.locator("th").all_inner_texts() == ["gaussian noise"] * 2
        assert [row.locator("td").count() for row in rows.all()] == [2 if "cards" in table else 3] * 2
    watched.check()


def test_a_picture_of_the_sweep_stands_below_its_severity(make_run, open_page, tmp_path):
    run = make_run(n=20, corruptions=("gaussian_noise", "brightness_up"))
    left = {name: s for name, s in run.test_sets.items() if name != "corruption-brightness_up-1"}
    watched = open_page(build_report(Results(run.run, run.cases, left), tmp_path / "r.html"))
    table = watched.page.locator("#sweep-grid")
    heads = table.locator("thead th").all_inner_texts()
    assert heads == ["Disturbance", "clean", "severity 1", "severity 5"]
    for row in table.locator("tbody tr").all():
        for head, cell in zip(heads[1:], row.locator("td").all(), strict=True):
            for picture in cell.locator("canvas").all():
                assert head == "clean" or head in picture.get_attribute("aria-label")
    assert table.locator("canvas").count() == 5
    watched.check()
