"""What is published: one version, distributions that hold what they should, links that lead somewhere."""

import configparser
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

import monai_sf

ROOT = Path(__file__).parents[1]
SITE, REPOSITORY = "https://site.test", "https://code.test/owner/name"
BUILD = "import sys; from setuptools import build_meta; build_meta.{}(sys.argv[1])"


def config():
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def urls():
    return dict(line.split(" = ") for line in config()["metadata"]["project_urls"].strip().splitlines())


def tracked():
    """Files of the repository, or of the source distribution that this is."""
    if (ROOT / ".git").exists():
        command = ["git", "-c", "core.quotePath=off", "-C", str(ROOT), "ls-files"]
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    else:
        names = (ROOT / "monai_sf.egg-info" / "SOURCES.txt").read_text(encoding="utf-8")
    return {
        name for name in names.splitlines() if (ROOT / name).is_file() and not name.startswith("monai_sf.egg")
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Names of files in the source distribution, and in the wheel that is built from it; its metadata."""
    folder = tmp_path_factory.mktemp("built")
    source, dist = folder / "source", folder / "dist"
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    # as runs, the site and Python leave behind
    for ignored in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines():
        if ignored.startswith(("bundles/", "docs/")):
            left = source / ignored.replace("*", "dermoscopy")
            left = left / "left.md" if ignored.endswith("/") else left
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_text("left")
    (source / "monai_sf" / "__pycache__").mkdir()
    (source / "monai_sf" / "__pycache__" / "handlers.cpython-311.pyc").write_bytes(b"")
    _run("build_sdist", dist, cwd=source)
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    (unpacked,) = folder.glob("monai_sf-*")
    inside = {str(file.relative_to(unpacked)) for file in unpacked.rglob("*") if file.is_file()}
    _run("build_wheel", dist, cwd=unpacked)
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        (metadata,) = (files.read(name) for name in names if name.endswith("/METADATA"))
    return inside, names, message_from_bytes(metadata)


def _run(what, dist, *, cwd):
    command = [sys.executable, "-c", BUILD.format(what), str(dist)]
    dist.mkdir(exist_ok=True)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_source_distribution_is_the_repository(built):
    inside = {name for name in built[0] if not name.startswith("monai_sf.egg-info/") and name != "PKG-INFO"}
    assert inside == tracked()


def test_the_wheel_is_the_package_with_transforms_and_bundles(built):
    places = {
        "monai_sf/": "monai_sf/",
        "transforms/": "monai_sf/transforms/",
        "bundles/": "monai_sf/bundle/published/",
    }
    expected = {
        place + name.removeprefix(folder)
        for folder, place in places.items()
        for name in tracked()
        if name.startswith(folder)
    }
    assert {"monai_sf/transforms/py.typed", "monai_sf/bundle/templates/audit/README.md"} <= expected
    about = f"monai_sf-{monai_sf.__version__}.dist-info"
    names = {name for name in built[1] if not name.startswith(about)}
    assert names == expected
    assert f"{about}/licenses/LICENSE" in built[1]


def test_the_description_has_no_relative_link(built):
    text = built[2].get_payload(decode=True).decode("utf-8")
    assert text.startswith("# monai_sf")
    outside_code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    links = re.findall(r"""(?:\]\(|(?:src|srcset|href)=["'])([^)\s"']+)""", outside_code)
    own = {link for link in links if link.startswith((urls()["Documentation"], urls()["Source"]))}
    assert own
    assert all(re.match("https?://|#", link) for link in links)
    assert [link for link in own if not _source_of(link).exists()] == []


def _source_of(link):
    """The file that an address of ours shows."""
    address = link.partition("#")[0]
    page = address.removeprefix(urls()["Documentation"])
    if page == address:
        return ROOT / re.sub("/(blob|raw)/main/", "", address.removeprefix(urls()["Source"]))
    stem = ROOT / "docs" / page.removeprefix("/en/latest/")
    return next((f for f in (stem.with_suffix(s) for s in (".md", ".ipynb")) if f.exists()), stem)


def test_links_are_made_absolute():
    spec = importlib.util.spec_from_file_location("setup_py", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    page, raw, blob = f"{SITE}/en/latest", f"{REPOSITORY}/raw/main", f"{REPOSITORY}/blob/main"
    for given, expected in {
        "[a](docs/guides/x.md)": f"[a]({page}/guides/x.html)",
        "[a](docs/x.md#part-2)": f"[a]({page}/x.html#part-2)",
        "[a](docs/tutorials/x.ipynb)": f"[a]({page}/tutorials/x.html)",
        "[a `b`](bundles/x/docs/README.md)": f"[a `b`]({blob}/bundles/x/docs/README.md)",
        "[a](LICENSE)": f"[a]({blob}/LICENSE)",
        "![a](docs/images/x.png)": f"![a]({raw}/docs/images/x.png)",
        "[![a](docs/x.png)](docs/x.md)": f"[![a]({raw}/docs/x.png)]({page}/x.html)",
        '<img src="docs/x.svg" width="9">': f'<img src="{raw}/docs/x.svg" width="9">',
    }.items():
        assert setup.absolute_links(given, SITE, REPOSITORY) == expected
    for same in (
        "[a](https://a.test/docs/x.md) [b](#part) [c](mailto:a@b.test)",
        'text\n```python\nCSFS["MSR"](logits)\n```\nand `f[0](x)`',
    ):
        assert setup.absolute_links(same, SITE, REPOSITORY) == same


def test_the_version_is_written_once(built):
    version = monai_sf.__version__
    assert built[2]["Version"] == version
    assert config()["metadata"]["version"] == "attr: monai_sf.__version__"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == version
    changes = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[:2] == ["Unreleased", version]


def test_addresses_are_the_same_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["repository-code"] == urls()["Source"]
    assert cited["url"] == urls()["Documentation"]


def test_the_build_needs_what_the_tests_build_with():
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert all(one in config()["options.extras_require"]["test"].splitlines() for one in needed)


def test_workflows_test_every_python_that_is_declared():
    declared = re.findall(r"Python :: (3\.\d+)", config()["metadata"]["classifiers"])
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == declared
    assert config()["options"]["python_requires"] == f">={declared[0]}"
