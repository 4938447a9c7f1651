"""Take the pictures of a report that the documentation shows.

    python docs/screenshot.py report.html docs/images/report.png [--dark] [--width 1400] [--at latent]

Needs playwright and a Chromium (``chromium`` on the path, or the one that ``playwright install`` brings).
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    """Open the page without network, wait until it is drawn, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--at", help="id of the part of the page to begin with")
    parser.add_argument("--study", help="value of the study to choose, by default the first one")
    parser.add_argument("--full", action="store_true", help="the whole page, however long")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(
            viewport={"width": options.width, "height": options.height},
            color_scheme="dark" if options.dark else "light",
            reduced_motion="reduce",
            offline=True,
        )
        page = context.new_page()
        page.goto(options.report.resolve().as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        if options.study:
            page.select_option("#study", options.study)
        if options.at:
            page.locator(f"#{options.at}").evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(800)
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.picture, full_page=options.full)
        browser.close()
    print(options.picture)


if __name__ == "__main__":
    main()
