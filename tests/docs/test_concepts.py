"""The pages of concepts print what they say, and their figure can be drawn."""

import contextlib
import io
import xml.etree.ElementTree as ET

import areas_figure
import pytest

from helpers.fences import ROOT, fences


@pytest.mark.parametrize("page", ["silent_failures", "areas", "which_score"])
def test_a_page_prints_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed, shown = [], []
    for fence in fences(ROOT / "docs" / "concepts" / f"{page}.md"):
        if fence.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(fence.text, fence.place, "exec"), names)  # the page is this project's own
            printed.append(output.getvalue())
        elif fence.language == "text":
            shown.append(fence.text)
    assert printed == shown
    assert shown


def test_the_figure_of_the_areas_shows_what_the_page_says(tmp_path):
    areas_figure.draw(tmp_path / "areas.svg")
    confidences, error = areas_figure.scores()
    assert (len(error), error.sum()) == (300, 60)
    assert list(confidences) == ["none", "good", "perfect"]
    for file in (tmp_path / "areas.svg", ROOT / "docs" / "images" / "areas.svg"):
        assert ET.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"
