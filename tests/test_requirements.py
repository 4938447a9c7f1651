"""What is imported is declared, and what CI tests with is what is declared, from the oldest on."""

import ast
import configparser
import functools
import json
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import monai_sf.transforms
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import monai_sf
from monai_sf.bundle.metadata import required_packages

ROOT = Path(__file__).parents[1]
SHIPPED = (Path(monai_sf.__file__).parent, Path(monai_sf.transforms.__file__).parent)

#: Declared, but imported by others only; setup.cfg says by whom.
FOR_OTHERS = {"jsonschema", "pylidc", "python-gdcm", "tensorboard"}


@functools.cache
def declared(part):
    """Name to requirement, of the package itself ("") or of one of its extras."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    options, extras = config["options"], config["options.extras_require"]
    lines = (extras[part] if part else options["install_requires"]).strip().splitlines()
    found = [Requirement(line) for line in lines if not line.lstrip().startswith("#")]
    return {canonicalize_name(r.name): r for r in found if r.name != "monai-sf"}


def pinned(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(str(r.specifier).startswith("==") for r in requirements)
    return {canonicalize_name(r.name): Version(str(r.specifier)[2:]) for r in requirements}


def imported(*folders):
    """Distributions that the files of some folders import from, wherever in them."""
    names = set()
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).partition(".")[0])
    own = {path.stem for name in ("tests", "docs") for path in (ROOT / name).rglob("*")} | {"monai_sf"}
    distributions = packages_distributions()
    return {
        canonicalize_name(distributions.get(name, [name])[0])
        for name in names - own - set(sys.stdlib_module_names)
    }


def test_what_the_package_imports_is_declared_and_nothing_else():
    needed = imported(*SHIPPED)
    optional = {name for extra in ("ray", "onnx", "dicom") for name in declared(extra)}
    assert {"pillow", "pytorch-ignite", "scikit-learn", "jinja2"} <= needed
    assert needed - optional == declared("").keys() - FOR_OTHERS


def test_what_the_tests_import_is_declared():
    allowed = {name for part in ("", "mlflow", "ray", "onnx", "dicom", "test") for name in declared(part)}
    assert imported(ROOT / "tests") <= allowed | {"packaging"}  # pytest's own


@pytest.mark.parametrize("part", ["", "mlflow", "ray", "onnx", "dicom", "test", "docs", "package", "lint"])
def test_the_pinned_versions_are_allowed(part):
    pins = pinned("constraints.txt")
    assert not [str(r) for name, r in declared(part).items() if pins[name] not in r.specifier]


@pytest.mark.parametrize("part", ["", "mlflow", "ray", "onnx", "dicom", "test"])
def test_the_oldest_versions_that_are_allowed_are_tested(part):
    pins = pinned("constraints-oldest.txt")
    bounds = {name: Version(next(iter(r.specifier)).version) for name, r in declared(part).items()}
    assert {name: pins[name] for name in bounds} == bounds


@pytest.mark.parametrize("bundle", sorted(path.name for path in (ROOT / "bundles").iterdir()))
def test_the_versions_in_metadata_are_the_pinned_ones_of_what_the_package_requires(bundle):
    metadata = json.loads((ROOT / "bundles" / bundle / "configs" / "metadata.json").read_text())
    named = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    own = {package: Version(metadata[key]) for package, key in named.items()}
    listed = {name: Version(text) for name, text in metadata["required_packages_version"].items()}
    assert listed.pop("monai-sf") == Version(version("monai-sf"))
    pins = pinned("constraints.txt")
    found = {canonicalize_name(name): number for name, number in {**own, **listed}.items()}
    assert found == {name: pins[name] for name in declared("")}
    assert not listed.keys() & named.keys()
    assert "optional_packages_version" not in metadata  # MONAI would take them for the required ones
    assert required_packages().keys() == metadata["required_packages_version"].keys()  # of a new bundle
