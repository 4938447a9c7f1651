"""The built site in Chromium, without a network: nothing is missing, nothing is wider than the window."""

import os
from pathlib import Path

import pytest
from gallery_reports import REPORTS

#: The folder that ``sphinx-build`` has written.
SITE = "MONAI_SF_SITE"
PAGES = [
    "index",
    "tutorials/index",
    "guides/own_images",
    "concepts/guarantee",
    "reference/scores",
    "reference/config_keys",
    "reference/api/metrics",
    "gallery/index",
    *(f"gallery/reports/{name}" for name in REPORTS),
]
PICTURES = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"


@pytest.fixture(scope="module")
def site():
    """The built site; CI builds it before the tests."""
    if "CI" not in os.environ and SITE not in os.environ:
        pytest.skip(f"{SITE} does not name a built site")
    return Path(os.environ[SITE]).resolve()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1300])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_site(site, chromium, name, width):
    errors = []
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, reduced_motion="reduce", offline=True
    )
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda sent: errors.append(sent.url) if sent.url.startswith("http") else None)
    page.goto((site / f"{name}.html").as_uri())
    if "reports" in name:
        page.wait_for_selector("html[data-ready=yes]", timeout=30_000)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(PICTURES) == []
    context.close()
    assert errors == []
