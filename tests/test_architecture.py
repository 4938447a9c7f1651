"""The one-way road of docs/concepts/architecture.md: what each package of the library may import."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import monai_sf.transforms
import pytest

import monai_sf
from helpers.forks import as_new, forked
from monai_sf.scores import CSFS, METHODS

PACKAGE = Path(monai_sf.__file__).parent

#: Package or single module to the others that it may import, all of which stand before it.
ROAD = {
    "files": "",
    "vocabulary": "",
    "transforms": "",
    "datasets": "files vocabulary",
    "results": "files vocabulary",
    "scores": "vocabulary",
    "metrics": "scores vocabulary",
    "networks": "files vocabulary",
    "losses": "networks",
    "inferers": "networks scores",
    "data": "files networks transforms vocabulary",
    "handlers": "networks results",
    "engines": "data datasets files handlers inferers networks results scores transforms vocabulary",
    "tables": "files metrics results scores vocabulary",
    "report": "files metrics results scores tables vocabulary",
    "bundle": "data datasets engines files networks results scores tables vocabulary",
    "prediction": "bundle data datasets files handlers inferers networks results scores tables vocabulary",
    "benchmark": "bundle data datasets engines files networks report results scores tables vocabulary",
}

_LIGHT = {"files", "vocabulary", "datasets", "results"}

#: Third-party package to the parts that must not import it.
NOT_HERE = {
    "torch": _LIGHT,
    "monai": _LIGHT | {"scores", "metrics", "tables", "report"},
    "ignite": _LIGHT | {"scores", "tables", "report", "transforms"},
    "pandas": {"files", "vocabulary", "transforms", "scores", "networks", "inferers", "losses"},
    "bokeh": ROAD.keys() - {"report"},
    "sklearn": ROAD.keys() - {"report"},
    "matplotlib": ROAD.keys() - {"tables"},
    "ray": ROAD.keys() - {"benchmark"},
}


def files_of(part: str) -> list[Path]:
    if part == "transforms":  # setup.cfg maps the folder into the package
        return sorted(Path(monai_sf.transforms.__file__).parent.rglob("*.py"))
    module = PACKAGE / f"{part}.py"
    return [module] if module.is_file() else sorted((PACKAGE / part).rglob("*.py"))


def imports_of(file: Path) -> set[str]:
    """Absolute names of what a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{file} imports from above its own folder"
            if node.level == 0:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_part_has_its_place_on_the_road():
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert (parts | {"transforms"}) - {"__init__"} == ROAD.keys()
    assert len(parts - {"__init__", "transforms"}) <= 17


def test_the_road_leads_one_way():
    passed = set()
    for part, before in ROAD.items():
        assert set(before.split()) <= passed, f"{part} may import what comes after it"
        passed.add(part)


@pytest.mark.parametrize("part", ROAD)
def test_a_part_imports_only_what_stands_before_it(part):
    files = files_of(part)
    assert files
    allowed = {part, *ROAD[part].split()}
    offences = []
    for file in files:
        for name in imports_of(file):
            top, *rest = name.split(".")
            wrong = part in NOT_HERE.get(top, ())
            if top == "monai_sf":
                wrong = rest[0] in ROAD and rest[0] not in allowed
            if wrong:
                offences.append(f"{file.name} imports {name}")
    assert offences == []


def module_name(part: str, file: Path) -> str:
    parts = (
        [part] if file.parent == PACKAGE else [part, *file.relative_to(_folder(part)).with_suffix("").parts]
    )
    return ".".join(["monai_sf", *parts]).removesuffix(".__init__")


def _folder(part: str) -> Path:
    return Path(monai_sf.transforms.__file__).parent if part == "transforms" else PACKAGE / part


def test_no_module_imports_itself_by_way_of_others():
    modules = {module_name(part, file): file for part in ROAD for file in files_of(part)}

    def imported(name: str) -> set[str]:
        there = imports_of(modules[name])
        return {m for m in ({n, n.rpartition(".")[0]} for n in there) for m in m if m in modules} - {name}

    graph = {
        # a package's face hands on what its modules hold, and they do not ask it for anything
        name: {m for m in imported(name) if not name.startswith(f"{m}.")}
        for name in modules
    }
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                walk(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())


def test_tests_share_helpers_and_import_no_other_test():
    folder = Path(__file__).parent
    own = {path.name.removesuffix(".py") for path in folder.iterdir()} - {"helpers"}
    offences = []
    for file in folder.rglob("*.py"):
        offences += [
            f"{file.relative_to(folder)} imports {name}"
            for name in imports_of(file)
            if name.split(".")[0] in own or re.search(r"(^|\.)(tests|conftest|test_\w+)$", name)
        ]
    assert offences == []


ELSEWHERE = """
import importlib, pkgutil, sys
import monai_sf, monai_sf.transforms
found = [module.name for module in pkgutil.walk_packages(monai_sf.__path__, "monai_sf.")]
assert len(found) == len(set(found)) < 400, len(found)
for name in ("tests", "bundles", "monai_sf", "docs"):
    try:
        importlib.import_module(f"monai_sf.{name}")
    except ModuleNotFoundError:
        continue
    sys.exit(f"monai_sf.{name} can be imported")
"""


@pytest.mark.parametrize("place", ["a checkout", "elsewhere"])
def test_nothing_of_a_checkout_but_the_package_can_be_imported_with_it(place, tmp_path):
    folder = Path(__file__).parents[1] if place == "a checkout" else tmp_path

    def elsewhere():
        as_new(folder)
        exec(ELSEWHERE, {})

    ended = forked(elsewhere, tmp_path)
    assert ended.returncode == 0, ended.stderr


#: Third-party packages that take a tenth of a second to import, or seconds.
SLOW = {"torch", "monai", "ignite", "pandas", "scipy", "sklearn", "matplotlib", "tensorboard", "bokeh", "ray"}
#: Module with a command to its sub-commands.
COMMANDS = {
    "benchmark": ["run", "status"],
    "bundle": ["export", "inference", "new", "show"],
    "report": [],
    "tables": [],
}
HELP = """
import contextlib, io, runpy, sys
for command in {commands}:
    module, *arguments = command.split()
    sys.argv = [module, *arguments, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said:
        runpy.run_module("monai_sf." + module, run_name="__main__")
    assert "usage: python -m monai_sf." + command in said.getvalue(), said.getvalue()
"""


def loaded_by(code: str) -> set[str]:
    """Return the modules that a new process has after it has run some code."""
    code += "\nimport sys; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


def test_help_of_every_command_waits_for_nothing_that_is_slow_to_import():
    assert {file.parent.name for file in PACKAGE.rglob("__main__.py")} == COMMANDS.keys()
    spelt = [f"{name} {command}".strip() for name in COMMANDS for command in ["", *COMMANDS[name]]]
    loaded = loaded_by(HELP.format(commands=spelt))
    assert "monai_sf.bundle.new_command" in loaded
    assert sorted(name for name in loaded if name in SLOW) == []


def test_metrics_import_nothing_slow_besides_torch():
    loaded = loaded_by("import monai_sf.metrics")
    assert sorted(name for name in loaded if name in {*SLOW, "scipy.stats"}) == ["scipy", "torch"]


@pytest.mark.parametrize("package", ["benchmark", "bundle", "metrics", "report", "tables"])
def test_names_that_are_imported_late_are_those_of_the_package(package):
    """A module of the same name would hide one, once it is imported."""
    module = importlib.import_module(f"monai_sf.{package}")
    assert "monai_sf.vocabulary.late.late" in imports_of(PACKAGE / package / "__init__.py")
    modules = {found.name for found in pkgutil.iter_modules(module.__path__)}
    assert not modules & set(module.__all__)
    for name in module.__all__:
        assert not isinstance(getattr(module, name), ModuleType)
    with pytest.raises(AttributeError, match=f"module 'monai_sf.{package}' has no attribute 'aucr'"):
        module.aucr  # noqa: B018


def test_every_module_can_be_imported():
    for module in pkgutil.walk_packages(monai_sf.__path__, "monai_sf."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def test_names_that_configs_and_docs_spell_exist():
    """A config's names are looked up only when it is run, and that of several GPUs is run seldom."""
    root = Path(__file__).parents[1]
    files = [
        *(PACKAGE / "bundle" / "configs").iterdir(),
        *root.glob("bundles/*/configs/*"),
        *root.glob("bundles/*/docs/*.md"),
        *root.glob("docs/**/*.md"),
        *root.glob("*.md"),
    ]
    spelt = {
        (file.name, name)
        for file in files
        if file.is_file()
        for name in re.findall(r"monai_sf(?:\.[A-Za-z_]\w*)+", file.read_text(encoding="utf-8"))
    }
    assert len(spelt) > 50
    groups = {METHODS.group, CSFS.group}  # of entry points
    assert sorted(pair for pair in spelt if pair[1] not in groups and not exists(pair[1])) == []


def test_options_with_several_values_may_be_given_more_than_once():
    kept_last = []
    for file in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(call, ast.Call) or getattr(call.func, "attr", "") != "add_argument":
                continue
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            name = ast.unparse(call.args[0]).lstrip("f'\"")
            if name.startswith("-") and given.get("nargs") == "'+'" and given.get("action") != "'extend'":
                kept_last.append(f"{file.name}: {name}")
    assert kept_last == []
