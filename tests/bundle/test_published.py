"""The published bundles, written out from a checkout and from an installation alone."""

import configparser
import re
import sys
from pathlib import Path

import pytest

from helpers.forks import as_new, forked
from helpers.own_images import CONFIGS
from monai_sf.bundle.__main__ import main
from monai_sf.bundle.published import published_bundles

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dataset", sorted(path.name for path in (ROOT / "bundles").iterdir()))
def test_a_published_bundle_is_written_out_as_it_is(dataset, tmp_path, capsys):
    assert main(["new", str(tmp_path / "mine"), "--dataset", dataset]) == 0
    source, copy = ROOT / "bundles" / dataset, tmp_path / "mine"
    for file in (source / "configs").iterdir():
        assert (copy / "configs" / file.name).read_bytes() == file.read_bytes()
    readme = (copy / "docs" / "README.md").read_text()
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", readme)
    assert [t for t in targets if "://" not in t and not (copy / "docs" / t).exists()] == []
    assert main(["new", str(copy), "--dataset", dataset]) == 1
    assert "holds other files" in capsys.readouterr().err


def test_an_unknown_published_bundle_names_those_there_are(tmp_path, capsys):
    assert main(["new", str(tmp_path / "mine"), "--dataset", "brain"]) == 1
    assert "no published bundle 'brain'; there are chest_xray, dermoscopy" in capsys.readouterr().err


def install(site):
    """Lay out the package as setup.cfg tells setuptools to, without the checkout."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    places = dict(line.split(" = ") for line in lines_of(config["options"]["package_dir"]))
    data = config["options.package_data"]
    for package in lines_of(config["options"]["packages"]):
        source = ROOT / places.get(package, package.replace(".", "/"))
        patterns = ["*.py", *data.get(package, "").replace(",", " ").split()]
        for file in (file for pattern in patterns for file in source.glob(pattern) if file.is_file()):
            copy = site.joinpath(*package.split("."), file.relative_to(source))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())


def lines_of(text):
    return [line for line in text.strip().splitlines() if not line.startswith("#")]


def test_an_installation_without_the_checkout_has_all_bundles_and_templates(study, tmp_path):
    site = study / "site"
    install(site)
    assert not (site / "bundles").exists()
    arguments = ["--table", "cases.csv", "--dataset_dir", "images", "--image", "path", "--label", "finding"]

    def installed():
        as_new(study)
        sys.meta_path[:] = [one for one in sys.meta_path if "monai_sf" not in getattr(one, "__module__", "")]
        sys.path.insert(0, str(site))
        import monai_sf.transforms

        from monai_sf.bundle.__main__ import main

        for module in (monai_sf, monai_sf.transforms, sys.modules[main.__module__]):
            assert module.__file__.startswith(str(site)), module
        assert main(["new", "chest", "--dataset", "chest_xray"]) == 0
        assert main(["new", "mine", *arguments]) == 0

    done = forked(installed, tmp_path)
    assert done.returncode == 0, done.stderr
    for name, folder in published_bundles().items():
        for place in ("configs", "docs"):
            installed = site / "monai_sf" / "bundle" / "published" / name / place
            assert {path.name for path in installed.iterdir()} == {
                path.name for path in (folder / place).iterdir()
            }
    assert {path.name for path in (study / "mine" / "configs").iterdir()} == CONFIGS
