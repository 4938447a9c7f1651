"""The page in Chromium, from a file, without network."""

import numpy as np
import pytest

from monai_sf.report import build_report
from monai_sf.results import Results, TestSet
from monai_sf.scores import CSFS, PAPER_CSFS

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=document.documentElement.dataset.hacked=1>$$x^2$$"

SILENT = "() => Array.from(document.querySelectorAll('.silent-count'), e => e.textContent)"
DRAWN = """
  const screen = document.getElementById('latent-cloud'), { width, height } = screen;
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(screen, 0, 0);
  const words = new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer);
"""
PICTURE = f"() => {{{DRAWN} return words.reduce((h, w, i) => (h * 31 + w * (i + 1)) | 0, 0); }}"
# what is drawn on the map: pixels of the picture that differ from its corner
MARKED = f"() => {{{DRAWN} return words.reduce((n, w) => n + (w !== words[0]), 0); }}"


def settle(page):
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def centre(page):
    box = page.locator("#latent-stage").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


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


def test_other_scores_than_the_papers_are_shown_on_request(report, open_page):
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
    every = [n for n in CSFS if n in PAPER_CSFS[:6] or n not in PAPER_CSFS]
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
    said = page.evaluate(
        """() => Array.from({length: 100}, (_, i) => {
          const slider = document.getElementById('coverage');
          slider.value = i + 1;
          slider.dispatchEvent(new Event('input'));
          return Array.from(document.querySelectorAll('#cards .headline'), e => e.textContent);
        }).flat()"""
    )
    verbs = {tuple(text.removesuffix(" wrong.").rsplit(", ", 1)[1].rsplit(" ", 1)) for text in said}
    assert {verb for many, verb in verbs if many not in ("1", "fewer than 1")} == {"were"}
    assert {verb for many, verb in verbs if many in ("1", "fewer than 1")} <= {"was"}


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


def test_gallery_shows_two_of_each_then_more_in_order(report, open_page):
    page = open_page(report).page
    group = page.locator("#gallery [data-kind=corruption]")
    assert group.locator(".case").count() == 2
    group.locator("button.more").click()
    assert group.locator(".case").count() > 2
    shown = group.locator("dd:nth-of-type(3)").all_inner_texts()
    confidences = [float(t.split("\u00a0")[0]) for t in shown if t.endswith("%")]
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


SPAN = f"""() => {{
  // the height of what is coloured on the map, as a share of the picture
  {DRAWN}
  const bytes = new Uint8Array(words.buffer);
  const rows = [];
  for (let i = 0; i < width * height; i++) {{
    const c = [bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2]];
    if (Math.max(...c) - Math.min(...c) > 60) rows.push(Math.floor(i / width));
  }}
  return (rows.at(-1) - rows[0]) / height;
}}"""


def test_the_first_view_and_reset_fit_the_points(report, open_page):
    page = open_page(report).page
    page.select_option("#latent-colour", "class")
    settle(page)
    first = page.evaluate(PICTURE)
    assert 0.7 < page.evaluate(SPAN) <= 1
    for _ in range(6):
        page.locator("#latent-farther").click()
    page.wait_for_timeout(50)
    settle(page)
    assert page.evaluate(SPAN) < 0.5
    page.locator("#latent-reset").click()
    settle(page)
    assert page.evaluate(PICTURE) == first


def test_mouse_turns_zooms_and_pins(report, open_page):
    watched = open_page(report)
    page = watched.page
    page.locator("#latent-stage").scroll_into_view_if_needed()
    settle(page)
    first = page.evaluate(PICTURE)
    x, y = centre(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 40, steps=4)
    page.mouse.up()
    settle(page)
    turned = page.evaluate(PICTURE)
    assert turned != first
    page.mouse.wheel(0, -400)
    settle(page)
    assert page.evaluate(PICTURE) != turned
    page.locator("#latent-reset").click()
    settle(page)
    page.locator("#gallery .case button").first.click()
    settle(page)
    assert page.locator("#latent-pins .case").count() == 1
    pinned = page.locator("#latent-pins .case").get_attribute("data-point")
    marks = page.evaluate(
        "() => { const d = Bokeh.documents.map(d => d.get_model_by_name('marks')).find(Boolean).data;"
        " return [d.x[0], d.y[0]]; }"
    )
    box = page.locator("#latent-stage").bounding_box()
    page.mouse.move(box["x"] + marks[0] * box["width"], box["y"] + (1 - marks[1]) * box["height"])
    settle(page)
    assert page.locator("#latent-hover .case").get_attribute("data-point") == pinned
    assert page.locator("#latent-hover").is_visible()
    page.locator("#latent-pins .case button").click()
    assert page.locator("#latent-pins .case").count() == 0
    watched.check()


def test_keyboard_turns_and_steps_through_silent_failures(report, open_page):
    watched = open_page(report)
    page = watched.page
    page.locator("#latent-stage").focus()
    frames = "() => Number(document.getElementById('latent-stage').dataset.frames)"
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "+", "-", "0"):
        before = page.evaluate(frames)
        page.keyboard.press(key)
        page.wait_for_function(f"() => ({frames})() > {before}")
    page.keyboard.press("n")
    first = page.locator("#latent-pins .case").get_attribute("data-point")
    assert "Silent failure 1 of" in page.locator("#latent-said").inner_text()
    assert page.locator("#latent-pins .outcome-3").count() == 1
    page.keyboard.press("n")
    assert page.locator("#latent-pins .case").get_attribute("data-point") != first
    page.keyboard.press("p")
    assert page.locator("#latent-pins .case").get_attribute("data-point") == first
    page.keyboard.press("Escape")
    assert page.locator("#latent-pins .case").count() == 0
    watched.check()


def test_legend_hides_what_is_pressed(report, open_page):
    page = open_page(report).page
    settle(page)
    all_marks = page.evaluate(MARKED)
    for button in page.locator("#latent-legend button").all():
        button.click()
    settle(page)
    assert page.evaluate(MARKED) < all_marks * 0.7
    assert page.locator("#latent-legend button[aria-pressed=true]").count() == 0
    # who presses with the keyboard stays where they are
    page.locator("#latent-legend button").nth(2).focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"


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


def test_a_finger_scrolls_the_page_or_turns_the_map(report, open_page):
    page = open_page(report, viewport={"width": 390, "height": 800}, has_touch=True).page
    page.evaluate("document.getElementById('latent-cloud').scrollIntoView({ block: 'center' })")
    x, y = centre(page)
    touch = page.context.new_cdp_session(page)

    def swipe(dx, dy):
        before = page.evaluate("scrollY"), page.evaluate(PICTURE)
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for k in range(1, 6):
            at = {"x": x + dx * k / 5, "y": y + dy * k / 5}
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [at]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(200)
        settle(page)
        return page.evaluate("scrollY") != before[0], page.evaluate(PICTURE) != before[1]

    assert swipe(-120, 20) == (False, True)
    assert swipe(0, -120)[0]


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


@pytest.mark.parametrize("mode", ["box", "lasso"])
def test_a_selection_on_the_map_becomes_a_gallery(report, open_page, mode):
    watched = open_page(report)
    page = watched.page
    page.locator("#latent-stage").scroll_into_view_if_needed()
    settle(page)
    page.locator(f"#latent-{mode}").click()
    box = page.locator("#latent-stage").bounding_box()
    left, top = box["x"] + 1, box["y"] + 60
    right, bottom = box["x"] + box["width"] - 2, box["y"] + box["height"] - 2
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom)) + (((left, bottom),) if mode == "lasso" else ()):
        page.mouse.move(x, y)
    page.mouse.up()
    settle(page)
    title = page.locator("#selection h3").inner_text()
    assert 60 < int(title.split(" ")[0]) <= 90
    assert page.locator("#selection .case").count() == 24
    assert page.locator("#selection .case .outcome-3").count() > 0
    page.get_by_text("clear the selection").click()
    assert page.locator("#selection").is_hidden()
    assert page.locator("#latent-turn").get_attribute("aria-pressed") == "true"
    watched.check()


def test_typical_images_lead_to_the_map(report, open_page):
    watched = open_page(report)
    page = watched.page
    assert page.locator("#concept-grid tbody tr").count() == 2
    thumb = page.locator("#concept-grid .thumb").first
    thumb.click()
    assert page.locator("#latent-pins .case").get_attribute("data-point") == thumb.get_attribute("data-point")
    for value in page.locator("#concept-column option").evaluate_all("o => o.map(e => e.value)"):
        page.select_option("#concept-column", value)
    watched.check()


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
