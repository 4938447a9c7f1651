"""The map of the latent space in Chromium: mouse, finger, keyboard, legend, selections, what leads to it."""

import pytest

from helpers.pages import settle
from monai_sf.report import build_report
from monai_sf.results import Results

pytestmark = pytest.mark.browser

DRAWN = """
  const screen = document.getElementById('latent-cloud'), { width, height } = screen;
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(screen, 0, 0);
  const words = new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer);
"""
PICTURE = f"() => {{{DRAWN} return words.reduce((h, w, i) => (h * 31 + w * (i + 1)) | 0, 0); }}"
# what is drawn on the map: pixels of the picture that differ from its corner
MARKED = f"() => {{{DRAWN} return words.reduce((n, w) => n + (w !== words[0]), 0); }}"


def centre(page):
    box = page.locator("#latent-stage").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


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


def test_disturbed_images_are_on_the_map_on_request(report, open_page):
    watched = open_page(report)
    page = watched.page

    def counted():
        return sum(int(text) for text in page.locator("#latent-legend .quiet").all_inner_texts())

    few, words = counted(), page.locator("#latent-text").inner_text()
    assert "opens without the disturbed images" in words
    # next to it, failures that are on it
    beside = page.locator("#latent-surest .case")
    assert beside.count() >= 1
    assert "severity" not in beside.first.inner_text()
    # one that is asked for is shown, with all others of its kind
    page.locator("#gallery [data-kind=corruption] button", has_text="show on map").first.click()
    settle(page)
    assert page.locator("#latent-show").input_value() == "all"
    assert counted() == 90 > few > 0
    assert beside.count() == 0
    page.select_option("#latent-show", "undisturbed")
    assert counted() == few
    watched.check()


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


@pytest.mark.parametrize("mode", ["box", "lasso"])
def test_a_selection_on_the_map_becomes_a_gallery(report, open_page, mode):
    watched = open_page(report)
    page = watched.page
    page.select_option("#latent-show", "all")
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


def test_the_map_says_why_it_is_missing_and_nothing_else(make_run, open_page, tmp_path):
    run = make_run(n=12, width=0, corruptions=())
    named = {**run.run, "class_names": ["Nottingham map", "malignant"]}
    run = Results(named, run.cases.assign(label=0), run.test_sets)
    page = open_page(build_report(run, tmp_path / "r.html")).page
    assert "All cases are of one class (Nottingham map)" in page.locator("#notes").inner_text()
    assert page.locator("#latent-text").inner_text() == (
        "No features are stored, so there is no map of the latent space."
    )
