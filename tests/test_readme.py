"""The README's commands are those that CI runs, its links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bundles/*/docs/*.md")]


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
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


def test_the_api_page_says_what_the_docstrings_say():
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs/api.py")
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    assert api.reference() == (ROOT / "docs/api.md").read_text(), "run: python docs/api.py"
