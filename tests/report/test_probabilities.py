"""The panel on the probabilities, and what the page is told for it."""

import dataclasses

import numpy as np
import pytest

from helpers.pages import payload
from monai_sf.report import build_report
from monai_sf.tables import reliability


@pytest.fixture(scope="module")
def run(make_run):
    made = make_run("texture", n=80, width=0, pictures=None)
    return dataclasses.replace(made, fitted={"temperature.temperature": np.array([1.8])})


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    return build_report(run, tmp_path_factory.mktemp("panel") / "r.html")


def test_the_numbers_are_those_of_the_clean_test_sets(run, page):
    sets = payload(page)["runs"][0]["sets"]
    assert [bool(s["probabilities"]) for s in sets] == [True, True, False, False]
    for shown in sets[:2]:
        told, found = shown["probabilities"], reliability(run, shown["name"])
        assert told["temperature"] == 1.8
        for name in ("before", "after"):
            own = getattr(found, name)
            assert [told[name][k] for k in ("cases", "ece", "brier", "nll")] == list(own[:4])
            assert sum(n for *_, n in told[name]["bins"]) == own.cases
    assert sets[0]["probabilities"]["before"] != sets[0]["probabilities"]["after"]


@pytest.mark.browser
def test_the_panel(run, page, open_page):
    watched = open_page(page)
    numbers = watched.page.locator("#reliability-numbers tbody td")
    for name in ("iid", "target"):
        found = reliability(run, name)
        shown = numbers.all_inner_texts()
        assert shown[:2] == [f"{100 * r.ece:.1f}\xa0%" for r in (found.before, found.after)]
        assert shown[2:] == [f"{r[k]:.3f}" for k in (2, 3) for r in (found.before, found.after)]
        watched.page.locator("#probabilities-set").select_option(index=1)
    drawn = """() => {
      const models = Bokeh.documents.map((d) => d.get_model_by_name("reliability-bins"));
      return models.find(Boolean).data.x.length;
    }"""
    found = reliability(run, "target")
    filled = sum(int((r.counts > 0).sum()) for r in (found.before, found.after))
    assert watched.page.evaluate(drawn) == filled
    watched.check()
