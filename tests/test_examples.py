"""The examples in docstrings: every public name has one, and each runs as a reader would type it."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import monai_sf.transforms
import pytest
from public_names import MODULES, public_names

import monai_sf
from monai_sf.scores import CSFS, METHODS

FINDER = doctest.DocTestFinder(exclude_empty=True)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: As a reader sees them: Python shows no deprecations of what libraries call, such as SimpleITK's import.
NO_WARNINGS = pytest.mark.filterwarnings(
    "error", "ignore::DeprecationWarning", "error::DeprecationWarning:__main__"
)


def examples_of(thing, name):
    """Return the doctests in the docstrings of a thing and of its own methods."""
    return [found for found in FINDER.find(thing, name, globs={"__name__": "__main__"}) if found.examples]


def is_documented(thing):
    """Return whether a thing has a docstring of its own, as plain data has not."""
    return inspect.isclass(thing) or inspect.isroutine(thing)


PUBLIC = {
    f"{module.__name__}.{name}": module
    for module in (importlib.import_module(f"monai_sf.{place}") for place in MODULES)
    for name in public_names(module)
}


def examples_for(path):
    """Return the doctests that show a public name; for plain data, those of its module that use it."""
    module, name = PUBLIC[path], path.rpartition(".")[2]
    thing = getattr(module, name)
    if is_documented(thing):
        return examples_of(thing, path)
    own = examples_of(module, module.__name__)[:1] if ">>>" in (module.__doc__ or "") else []
    used = any(re.search(rf"\b{name}\b", example.source) for found in own for example in found.examples)
    return own if used else []


def modules_with_examples():
    """Return the modules of the package whose files hold examples, of public and other things."""
    names = []
    for package in (monai_sf, monai_sf.transforms):
        folder = Path(package.__file__).parent
        for file in sorted(folder.rglob("*.py")):
            if ">>>" in file.read_text(encoding="utf-8"):
                parts = file.relative_to(folder).with_suffix("").parts
                names.append(".".join((package.__name__, *parts)).removesuffix(".__init__"))
    return sorted(set(names))


def other_examples():
    """Return the doctests of the package that show no public name, by name."""
    shown = {(found.filename, found.lineno) for path in PUBLIC for found in examples_for(path)}
    every = (
        found
        for name in modules_with_examples()
        for found in examples_of(importlib.import_module(name), name)
    )
    return {found.name: found for found in every if (found.filename, found.lineno) not in shown}


OTHERS = other_examples()


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for registry in (CSFS, METHODS):  # for examples that register something
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def run(found):
    skipped = [example.source for example in found.examples if example.options.get(doctest.SKIP)]
    assert not skipped, "an example that is not run may be wrong"
    report = []
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(found, out=report.append)
    assert not failed, "".join(report)


@NO_WARNINGS
@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_name_has_examples_that_run(path):
    found = examples_for(path)
    assert found, "it has no example"
    for one in found:
        run(one)


@NO_WARNINGS
@pytest.mark.parametrize("name", OTHERS)
def test_the_examples_of_other_names_run(name):
    run(OTHERS[name])
