"""The one-way road of docs/architecture.md: what each part of the library may import."""

import ast
from pathlib import Path

import monai_sf.transforms
import pytest

import monai_sf

PACKAGE = Path(monai_sf.__file__).parent

#: Part to the other parts of the library that it may import.
OWN = {
    "errors": "",
    "locks": "",
    "files": "",
    "ids": "",
    "methods": "",
    "image_files": "",
    "redaction": "",
    "transforms": "",
    "datasets": "files ids image_files",
    "case_table": "",
    "results_format": "case_table",
    "results_writer": "case_table files results_format",
    "results": "case_table files ids results_format results_writer bring_your_own fd_shifts",
    "bring_your_own": "ids image_files methods outputs results results_format",
    "fd_shifts_config": "results_format",
    "fd_shifts": "bring_your_own fd_shifts_config results results_format",
    "outputs": "",
    "score_functions": "outputs",
    "scores": "methods score_functions",
    "metrics": "ids outputs scores",
    "evaluation": "methods metrics results scores",
    "heads": "",
    "networks": "heads",
    "checkpoints": "files",
    "backbones": "checkpoints networks",
    "inferers": "networks",
    "distributed": "locks",
    "losses": "distributed networks",
    "pictures": "image_files",
    "tracking": "files",
    "wiring": "",
    "overrides": "wiring",
    "sessions": "",
    "batches": "distributed",
    "data": "transforms",
    "open_sets": "data distributed files results transforms",
    "stages": "checkpoints distributed networks",
    "handlers": "batches checkpoints distributed networks results stages",
    "engines": "batches checkpoints data distributed evaluation files handlers inferers networks open_sets "
    "results stages tracking transforms",
    "prediction": "case_table checkpoints datasets errors image_files files inferers locks networks scores",
    "bundle": "checkpoints datasets distributed errors files overrides sessions wiring",
    "report": "evaluation files ids metrics redaction results scores",
    "benchmark": "case_table checkpoints datasets errors evaluation files ids locks methods metrics "
    "redaction report results scores wiring",
}

_FILES = ("errors", "files", "ids", "image_files", "locks", "methods", "outputs", "redaction")
_LIGHT = (*_FILES, "datasets", "case_table", "results_format", "results_writer", "results", "bring_your_own")
_NO_TABLES = ("transforms", "score_functions", "scores", "metrics", "heads", "networks", "inferers", "losses")

#: Package to the parts that must not import it.
NOT_HERE = {
    "torch": {*_LIGHT, "fd_shifts_config", "fd_shifts", "wiring"},
    "monai": {
        *_LIGHT,
        "fd_shifts_config",
        "fd_shifts",
        "score_functions",
        "scores",
        "metrics",
        "evaluation",
        "report",
    },
    "ignite": {
        *_LIGHT,
        "fd_shifts_config",
        "fd_shifts",
        "score_functions",
        "scores",
        "evaluation",
        "report",
        "transforms",
    },
    "pandas": {*_NO_TABLES, *_FILES, "checkpoints"},
    "bokeh": OWN.keys() - {"report"},
    "ray": OWN.keys() - {"benchmark"},
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
    assert (parts | {"transforms"}) - {"__init__"} == OWN.keys()


@pytest.mark.parametrize("part", OWN)
def test_a_part_imports_only_what_stands_before_it(part):
    files = files_of(part)
    assert files
    allowed = {part, *OWN[part].split()}
    offences = []
    for file in files:
        for name in imports_of(file):
            top, *rest = name.split(".")
            wrong = part in NOT_HERE.get(top, ())
            if top == "monai_sf":
                wrong = rest[0] in OWN and rest[0] not in allowed
            if wrong:
                offences.append(f"{file.name} imports {name}")
    assert offences == []
