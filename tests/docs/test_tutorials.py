"""The tutorials are notebooks without outputs, as the site's build executes them, and each is listed."""

import json
import re
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
EMPTY = {
    "markdown": {"metadata": {}},
    "code": {"metadata": {}, "outputs": [], "execution_count": None},
}


def faults(notebook):
    """Yield what a notebook has that is not ours: of the format 4.5 a part is used, which is all in here."""
    cells = notebook.get("cells", [])
    if notebook != {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}:
        yield "format or metadata of the notebook"
    for at, cell in enumerate(cells):
        content = {key: value for key, value in cell.items() if key not in ("cell_type", "id", "source")}
        if content != EMPTY.get(cell.get("cell_type")):
            yield f"cell {at} has outputs, an execution count or metadata, or lacks their keys"
        lines = cell.get("source")
        if not isinstance(lines, list) or not "".join(lines).strip():
            yield f"cell {at} has no list of lines"
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell.get("id", "")):
            yield f"cell {at} has no id"
    if len({cell.get("id") for cell in cells}) != len(cells):
        yield "two cells have the same id"
    if (
        not cells
        or cells[0]["cell_type"] != "markdown"
        or not re.match("# [^#]", "".join(cells[0]["source"]))
    ):
        yield "the first cell is no title"


def test_there_are_tutorials_and_all_are_listed():
    index = (TUTORIALS / "index.md").read_text(encoding="utf-8")
    listed = re.search(r"```\{toctree\}\n(?::.*\n)*\n((?:.+\n)+)```", index)[1].split()
    assert sorted(listed) == [path.stem for path in NOTEBOOKS]
    assert all(f"({name}.ipynb): " in index for name in listed)  # with a sentence each


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_is_committed_without_outputs(path):
    assert list(faults(json.loads(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("cells", 1, "outputs"), [{"output_type": "stream", "name": "stdout", "text": "1"}], "outputs"),
        (("cells", 1, "execution_count"), 3, "execution count"),
        (("cells", 1, "metadata"), {"collapsed": True}, "metadata"),
        (("cells", 1, "cell_type"), "raw", "metadata"),
        (("cells", 1, "id"), "cell-01", "same id"),
        (("cells", 1, "id"), "", "no id"),
        (("cells", 1, "source"), [], "lines"),
        (("cells", 0, "source"), ["no title"], "title"),
        (("metadata", "language_info"), {"name": "python", "version": "3.11.2"}, "metadata of the notebook"),
        (("nbformat_minor",), 4, "format"),
    ],
)
def test_what_jupyter_adds_is_found(place, value, said):
    code = {"cell_type": "code", "id": "cell-02", "source": ["1"], **EMPTY["code"]}
    title = {"cell_type": "markdown", "id": "cell-01", "metadata": {}, "source": ["# Title"]}
    notebook = {"cells": [title, code], "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    notebook = json.loads(json.dumps(notebook))
    assert list(faults(notebook)) == []
    *before, last = place
    inner = notebook
    for key in before:
        inner = inner[key]
    inner[last] = value
    assert said in " ".join(faults(notebook))
