"""Made-up runs for the report's tests, and pages that have no network."""

from pathlib import Path

import pytest

from helpers import made_up_runs
from monai_sf.report import build_report

HOSTILE = "<img src=x onerror=document.documentElement.dataset.hacked=1>"


@pytest.fixture(scope="session")
def make_run():
    return made_up_runs.make_run


@pytest.fixture(scope="session")
def browser_runs(make_run):
    return [
        make_run(s, n=60, seed=seed, corruptions=("gaussian_noise", "brightness_up"), data_kind="rendered")
        for s, seed in (("iid", 0), ("iid", 1), ("texture", 0))
    ]


@pytest.fixture(scope="session")
def report(browser_runs, tmp_path_factory):
    return build_report(browser_runs, tmp_path_factory.mktemp("browser") / "report.html", max_points=90)


class Watched:
    """An open page with what went wrong on it."""

    def __init__(self, browser, path, **options):
        self.errors, self.requests = [], []
        self.context = browser.new_context(
            **{"viewport": {"width": 1300, "height": 900}, "reduced_motion": "reduce", **options}
        )
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        url = Path(path).resolve().as_uri()

        def cut(route):
            if route.request.url == url:
                route.continue_()
            else:
                self.requests.append(route.request.url)
                route.abort()

        self.context.route("**/*", cut)
        self.page.goto(url)
        self.page.wait_for_selector("html[data-ready=yes]", timeout=20_000)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def check(self):
        assert self.requests == []
        assert self.errors == []
        assert self.page.evaluate("document.documentElement.dataset.hacked") is None


@pytest.fixture
def open_page(chromium):
    opened = []

    def opener(path, **options):
        opened.append(Watched(chromium, path, **options))
        return opened[-1]

    yield opener
    for watched in opened:
        watched.context.close()
