"""The page in Chromium, from a file, without network."""

import numpy as np
import pytest

from helpers.pages import settle
from monai_sf.report import build_report
from monai_sf.results import Results, TestSet
from monai_sf.scores import PAPER_CSFS
from monai_sf.tables import available_csfs

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=document.documentElement.dataset.hacked=1>$$x^2$$"

SILENT = "() => Array.from(document.querySelectorAll('.silent-count'), e => e.textContent)"


def test_every_control_works_without_an_error_or_a_request(report, open_page):
    watched = open_page(report)
    page = watched.page
    assert "Rendered images, not CT" in page.locator(".banner").first.inner_text()
    assert page.locator("#cards article").count() == 2
    before = page.evaluate(SILENT)
    page.locator("#coverage").fill("100")
    after = page.evaluate(SILENT)
    assert [int(a) for a in after] > [int(b) for b in before]
    assert "100\u00a0%" in page.locator("#coverage-text").inner_text()
    for name in page.locator("#csf option").all_inner_texts():
        page.select_option("#csf", label=name)
        assert name in page.locator("#curve-text").inner_text()
    page.select_option("#seed", index=1)
    page.select_option("#study", "texture")
    assert page.locator("#cards article").count() == 3
    assert page.locator("#seed-box").is_hidden()
    for select in ("#gallery-set", "#latent-colour", "#latent-show", "#curve-set", "#table-metric"):
        for value in page.locator(f"{select} option").evaluate_all("o => o.map(e => e.value)"):
            page.select_option(select, value)
            settle(page)
    for slider in ("#latent-size", "#latent-opacity"):
        page.locator(slider).fill("0.5")
    page.select_option("#latent-show", "all")
    for button in page.locator("#latent-legend button, #curve-legend button, .map-buttons button").all():
        button.click()
    page.locator("#benchmark button").last.click()
    page.locator("#counts-box summary").click()
    for summary in page.locator("#provenance summary").all():
        summary.click()
    settle(page)
    watched.check()


def test_the_axis_of_the_curves_fits_all_but_the_first_cases(report, open_page):
    page = open_page(report).page
    read = """() => {
        const of = name => Bokeh.documents.map(d => d.get_model_by_name(name)).find(Boolean);
        const { xs, ys } = of("curves").data;
        const late = ys.flatMap((risks, i) => Array.from(risks).filter((_, k) => xs[i][k] >= 0.05));
        return [of("curves-figure").y_range.end, Array.from(of("points").data.y), late];
    }"""
    ends = []
    for step in ("1", "80"):
        page.locator("#coverage").fill(step)
        settle(page)
        end, dots, risks = page.evaluate(read)
        assert end == pytest.approx(min(1.02, max(0.02, 1.1 * max(dots + risks))))
        ends.append(end)
    assert min(ends) < 1


def test_other_scores_than_the_papers_are_shown_on_request(report, browser_runs, open_page):
    watched = open_page(report)
    page = watched.page

    def named():
        return (
            page.locator("#csf option").all_inner_texts(),
            page.locator("#benchmark tbody button").all_inner_texts(),
            [t.split()[0] for t in page.locator("#curve-legend button").all_inner_texts()],
        )

    few = list(PAPER_CSFS[:6])
    assert [list(names) for names in named()] == [few] * 3
    page.locator("#more-scores").check()
    every = list(available_csfs(browser_runs[0]))
    assert len(every) > len(few)
    assert [list(names) for names in named()] == [every] * 3
    page.select_option("#csf", "Energy")
    assert "Energy" in page.locator("#curve-text").inner_text()
    page.locator("#more-scores").uncheck()
    assert [list(names) for names in named()] == [few] * 3
    assert page.locator("#csf").input_value() == "MSR"
    watched.check()


def test_numbers_follow_the_slider(report, open_page):
    page = open_page(report).page
    data = page.evaluate("() => JSON.parse(document.getElementById('sf-data').textContent)")
    assert data["coverage"] == 80
    page.locator("#counts-box summary").click()
    for step in ("1", "37", "100"):
        page.locator("#coverage").fill(step)
        row = page.locator("#counts tr[data-set=iid] td").all_inner_texts()
        sure, silent = int(row[4].split(" ")[0]), int(row[5])
        assert sure >= 60 * int(step) / 100
        assert silent <= sure
        if step == "100":
            assert sure == 60
            assert row[1] == f"{100 * (1 - silent / 60):.1f}\u00a0%"
        # the four outcomes of a card are all of its cases
        counts = page.locator("#cards [data-kind=iid] .fates b").all_inner_texts()
        assert sum(map(int, counts)) == 60
        assert int(counts[1]) == silent
        assert int(counts[0]) + silent == sure


def test_images_are_neither_transposed_nor_mirrored(report, open_page, make_run):
    page = open_page(report).page
    page.wait_for_selector("#gallery canvas[data-drawn]")
    pixels = page.locator("#gallery canvas").first.evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    )
    shown = np.array(pixels).reshape(64, 64, 4)[..., 0] > 127
    letter = make_run(n=1).test_sets["iid"].arrays["images"][0] > 127
    assert (shown == letter).mean() > 0.98
    for wrong in (letter.T, letter[:, ::-1], letter[::-1]):
        assert (shown == wrong).mean() < 0.9


@pytest.mark.parametrize(("width", "first"), [(390, 2), (1300, 3)])
def test_gallery_shows_a_row_of_each_then_more_in_order(report, open_page, width, first):
    page = open_page(report, viewport={"width": width, "height": 900}).page
    group = page.locator("#gallery [data-kind=corruption]")
    assert group.locator(".case").count() == first
    group.locator("button.more").click()
    assert group.locator(".case").count() > first
    shown = group.locator("figcaption > .pairs > div:nth-child(3) dd").all_inner_texts()
    confidences = [float(t.removesuffix("\u00a0%")) for t in shown]
    assert len(confidences) == group.locator(".case").count()
    assert confidences == sorted(confidences, reverse=True)


@pytest.mark.parametrize("width", [1400, 1280, 360])
def test_no_word_of_a_card_is_broken(report, open_page, width):
    page = open_page(report, viewport={"width": width, "height": 900}).page
    lines = page.locator(".case .pairs dd").evaluate_all(
        "all => all.map(e => { const r = document.createRange(); r.selectNodeContents(e);"
        " return [e.textContent, new Set(Array.from(r.getClientRects(), b => b.top)).size]; })"
    )
    short = [(text, n) for text, n in lines if text in ("benign", "malignant") or text.endswith("%")]
    assert len(short) >= 12
    assert [(text, n) for text, n in short if n > 1] == []


@pytest.mark.parametrize("anonymous", [False, True])
def test_hostile_text_stays_text(make_run, open_page, tmp_path, anonymous):
    run = make_run("texture", n=40, hostile=HOSTILE, dataset=f"d{HOSTILE}", method=f"m{HOSTILE}")
    path = build_report(run, tmp_path / "r.html", title=HOSTILE, max_points=60, anonymous=anonymous)
    watched = open_page(path)
    page = watched.page
    assert page.locator("h1").inner_text() == HOSTILE
    page.locator("#latent-stage").focus()
    page.keyboard.press("n")
    for mode in page.locator("#latent-colour option").evaluate_all("o => o.map(e => e.value)"):
        page.select_option("#latent-colour", mode)
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    # long words do not make the page wider than a phone
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    if not anonymous:
        assert HOSTILE in page.locator("#gallery .id").first.inner_text()
    assert page.locator("img").count() == 0
    watched.check()


def bare(run, *, drop=(), **changes):
    sets = {}
    for name, s in run.test_sets.items():
        arrays = {k: changes.get(k, v) for k, v in s.arrays.items() if k not in drop}
        sets[name] = TestSet(s.name, s.kind, s.rows, arrays, s.corruption, s.severity)
    return Results(run.run, run.cases, sets)


def _perfect(make_run):
    run = make_run(n=12, corruptions=())
    sure = 9 * np.eye(2)[run.labels_of("iid")].astype(np.float32)
    return bare(run, drop=("mcd_log_softmax", "mcd_entropy"), logits=sure)


POOR = {
    "only logits": lambda make: bare(
        make(n=12), drop=("features", "images", "mcd_log_softmax", "mcd_entropy", "confidence_logit")
    ),
    "no failure": _perfect,
    "two cases": lambda make: make(n=2, corruptions=()),
    "1139 classes": lambda make: make(n=30, classes=1139, corruptions=()),
    "one patient": lambda make: Results((r := make(n=12)).run, r.cases.assign(group="p"), r.test_sets),
    "one class": lambda make: Results((r := make(n=12)).run, r.cases.assign(label=0), r.test_sets),
}


@pytest.mark.parametrize("case", POOR)
def test_poor_results_still_make_a_page(case, make_run, open_page, tmp_path):
    watched = open_page(build_report(POOR[case](make_run), tmp_path / "r.html"))
    page = watched.page
    assert page.locator("#cards article").count() >= 1
    assert page.locator("#benchmark tbody tr").count() >= 1
    notes = page.locator("#notes li").count()
    assert (notes > 0) == (case != "1139 classes")
    # the two cases are of one patient too
    of_one = case in ("one patient", "two cases")
    assert ("no interval" in page.locator("#cards").inner_text()) == of_one
    page.locator("#coverage").fill("50")
    for select in ("#latent-colour", "#gallery-set", "#csf"):
        if page.locator(select).is_visible():
            for value in page.locator(f"{select} option").evaluate_all("o => o.map(e => e.value)"):
                page.select_option(select, value)
                settle(page)
    watched.check()


# texts whose contrast is less than WCAG's level AA asks for
PALE = """() => {
  const pen = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = colour => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return Array.from(pen.getImageData(0, 0, 1, 1).data, (v, i) => i < 3 ? v : v / 255);
  };
  const over = (top, below) => below.map((v, i) => v * (1 - top[3]) + top[i] * top[3]);
  const ground = e =>
    e ? over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255];
  const light = c => {
    const [r, g, b] = c.map(v => v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.getClientRects().length || e.closest('script, style, option')) continue;
    const style = getComputedStyle(e), below = ground(e);
    let opacity = 1;
    for (let p = e; p; p = p.parentElement) opacity *= getComputedStyle(p).opacity;
    const ink = rgba(style.color);
    ink[3] *= opacity;
    const [low, high] = [light(over(ink, below)), light(below)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if ((high + 0.05) / (low + 0.05) < (large ? 3 : 4.5)) pale.push(text.slice(0, 40));
  }
  return pale;
}"""


@pytest.mark.parametrize("width", [360, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(report, open_page, width, scheme):
    watched = open_page(report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    # the answer needs no scrolling, and on a phone a finger meets everything
    box = watched.page.locator("#answer").bounding_box()
    assert box["y"] + box["height"] < 800
    small = watched.page.locator("button, select, summary, nav a").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().height).filter(h => h && h < 40).length"
    )
    assert width > 360 or small == 0
    if width == 1920:
        watched.page.locator("#latent-legend button").first.click()
        assert watched.page.evaluate(PALE) == []
    watched.check()


def test_everything_that_can_be_used_has_a_name(report, open_page):
    page = open_page(report).page
    nameless = page.evaluate(
        """() => {
          const named = e => e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim()
            || e.getAttribute('aria-labelledby');
          const all = document.querySelectorAll('button, select, input, [role=img], [role=application]');
          return Array.from(all).filter(e => !named(e)).map(e => e.outerHTML.slice(0, 120));
        }"""
    )
    assert nameless == []
    # the plots' library puts stops of the tab key into its shadow roots
    stops = page.evaluate(
        """() => {
          const within = e => [...e.children, ...(e.shadowRoot?.children ?? [])];
          const below = e => within(e).flatMap(c => [c, ...below(c)]);
          return Array.from(document.querySelectorAll('#latent-plot, [role=img]'), below).flat()
            .filter(e => e.tabIndex >= 0).length;
        }"""
    )
    assert stops == 0
    ids = page.evaluate("() => Array.from(document.querySelectorAll('[id]'), e => e.id)")
    assert len(ids) == len(set(ids))


def test_the_sweep_follows_one_image(report, open_page):
    watched = open_page(report)
    page = watched.page
    assert page.locator("#sweep-grid tbody tr").count() == 2
    assert page.locator("#sweep-grid td canvas").count() == 2 * 3
    first = page.locator("#sweep-grid .quiet").all_inner_texts()
    page.select_option("#sweep-case", index=1)
    assert page.locator("#sweep-grid .quiet").all_inner_texts() != first
    page.select_option("#sweep-kind", "gaussian noise")
    drawn = page.evaluate(
        "() => Bokeh.documents.map(d => d.get_model_by_name('sweep-curves')).find(Boolean).data.xs[0]"
    )
    assert drawn == [0, 1, 5]
    watched.check()


def test_printing_keeps_the_plots_whole_and_the_screen_as_it_was(report, open_page):
    watched = open_page(report, color_scheme="dark")
    page = watched.page
    size = "() => Array.from(document.querySelectorAll('.plot-frame, #curves-plot'), e => e.offsetWidth)"
    before = page.evaluate(size)
    stage = "() => getComputedStyle(document.documentElement).getPropertyValue('--stage')"
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(stage) == "#fff"
    assert page.locator("#coverage").is_hidden()
    zoomed = page.locator(".plot-frame").bounding_box()
    assert zoomed["width"] <= 681
    page.emulate_media(media="screen")
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    settle(page)
    assert page.evaluate(size) == before
    watched.check()
