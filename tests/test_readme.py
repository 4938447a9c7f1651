"""The README's commands are those that CI runs, its links lead somewhere."""

import os
import re
from pathlib import Path

import pytest

from helpers.fences import is_written
from monai_sf.scores import CSFS, GROUPS, group_of, in_groups

ROOT = Path(__file__).parent.parent
pages = [
    *ROOT.glob("*.md"),
    *(page for page in ROOT.glob("docs/**/*.md") if not is_written(page)),
    *ROOT.glob("bundles/*/docs/*.md"),
]


def test_the_readme_is_short_and_begins_with_the_picture():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    heading, sentence, picture = text.split("\n\n")[:3]
    assert heading == "# monai_sf"
    assert sentence.count(". ") == 0
    assert picture.startswith("![")


def test_ci_runs_the_test_command_of_the_readme():
    commands = re.findall(r"```bash\n(.*?)\n```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    tests = [command for command in commands if "pytest" in command]
    assert len(tests) == 1
    assert tests[0] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_demo_command_names_a_config_that_exists():
    found = re.findall(r"--config_file (\S+)", (ROOT / "README.md").read_text())
    written = [name for name in found if name.startswith("my_study/configs/")]  # by the command before it
    assert len(found) > len(written) == 1
    assert all((ROOT / name).is_file() for name in found if name not in written)
    templates = ROOT / "monai_sf" / "bundle" / "templates"
    assert all((templates / Path(name).name).is_file() for name in written)


@pytest.mark.parametrize("page", pages, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    files = {t: Path(os.path.normpath(page.parent / t)) for t in targets if "://" not in t}
    assert [t for t, file in files.items() if not file.exists() and not is_written(file)] == []


def test_the_methods_page_has_every_score_in_the_order_of_the_rows():
    text = (ROOT / "docs/reference/scores.md").read_text(encoding="utf-8")
    table = text.split("## Confidence scores")[1].split("\n\n| score |")[1].split("\n\n")[0]
    rows = [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()[2:]]
    expected, last = [], ""
    for name in in_groups(CSFS):
        if (heading := GROUPS[group_of(name)]) != last:
            expected.append(f"**{heading}**")
        expected.append(name)
        last = heading
    assert rows == expected
