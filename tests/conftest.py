"""What all tests share."""

import logging
import os
import shutil

import pytest
import torch
from hypothesis import settings
from monai.data import set_track_meta
from monai.utils import set_determinism

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


if not torch.cuda.is_available():
    # With torch's CUDA build, torch.export has it count a GPU that is not there. The first backward pass
    # starts a thread for each GPU, after which no fork of this process could train.
    torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was():
    deterministic = torch.are_deterministic_algorithms_enabled()
    set_track_meta(True)  # fixtures of a whole module may have run a bundle before
    logging.getLogger("monai_sf").setLevel(logging.NOTSET)  # which applies its logging.conf
    yield
    set_determinism(None)
    torch.use_deterministic_algorithms(deterministic)
    set_track_meta(True)


@pytest.fixture(scope="session")
def chromium():
    """A running Chromium; skipped only where there is none and nobody promised one."""
    sync_api = None if "CI" in os.environ else pytest.importorskip("playwright.sync_api")
    if sync_api is None:
        import playwright.sync_api as sync_api
    found = shutil.which("chromium")
    if not found and "CI" not in os.environ:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


#: Why a test may be skipped even where everything that is documented should be installed.
MAY_BE_MISSING = (
    *("needs a GPU", "no LaTeX here", "no pytorch-ood here", "there are no tensors of text"),
    "Arrow's text is pandas 3's",
)


def _not_in_ci(report):
    """Make a skip a failure in CI, which installs every extra: what is not tested there may be broken."""
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2]
        if not reason.endswith(MAY_BE_MISSING):
            report.outcome, report.longrepr = "failed", f"must not be skipped in CI: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _not_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = _not_in_ci((yield))
    # pytest-xdist cannot send what some tests let the package print or log: text that UTF-8 does not have
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report
