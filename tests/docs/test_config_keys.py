"""The reference of config keys: every key is described, by the comment beside it, and used by something."""

import re

import pytest
import yaml
from config_keys import TECHNICAL, keys_of, used_by, write_config_keys

from monai_sf.bundle.bases import SHARED
from monai_sf.bundle.composing import _TEMPLATES
from monai_sf.bundle.published import published_bundles

FILES = sorted(SHARED.glob("*.yaml"))


def described():
    return {key.name for file in FILES for key in keys_of(file) if key.description}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shared_key_has_a_comment(file):
    assert [key.name for key in keys_of(file) if key.name not in TECHNICAL and not key.description] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_default_is_what_the_file_says(file):
    loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    keys = {key.name: yaml.safe_load(key.value) for key in keys_of(file) if key.value is not None}
    assert keys == loaded


@pytest.mark.parametrize("bundle", sorted(published_bundles()))
def test_every_key_of_a_bundle_has_a_comment_there_or_in_a_shared_config(bundle):
    files = sorted(published_bundles()[bundle].glob("configs/*.yaml"))
    keys = [key for file in files for key in keys_of(file)]
    known = described() | TECHNICAL | {key.name for key in keys if key.description}
    assert {key.name for key in keys} - known == set()


def test_every_key_that_new_writes_has_a_comment_there_or_in_a_shared_config(tmp_path):
    known = described() | TECHNICAL
    for template in _TEMPLATES.rglob("*.yaml"):
        plain = tmp_path / template.name
        text = template.read_text(encoding="utf-8")
        plain.write_text(re.sub(r"^\s*{%.*%}\n", "", text, flags=re.MULTILINE), encoding="utf-8")
        keys = keys_of(plain)
        assert keys, template
        assert [key.name for key in keys if key.name not in known and not key.description] == []


@pytest.fixture(scope="module")
def users():
    return used_by()


def test_every_shared_key_is_used_by_some_command(users):
    names = [(file.stem, key.name) for file in FILES for key in keys_of(file) if key.name not in TECHNICAL]
    assert [name for name in names if not users.get(name)] == []


def test_which_commands_use_a_key(users):
    assert users["train", "learning_rate"] == ["train"]
    assert users["evaluate", "mc_samples"] == ["evaluate", "inference", "audit"]
    assert users["inference", "csf"] == ["inference"]
    assert users["audit", "model"] == ["audit"]
    assert users["benchmark", "seeds"] == ["benchmark", "demo"]
    assert users["multi_gpu", "join"] == ["train"]


def test_comments_above_and_beside_a_key_describe_it(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "# What the file is.\n#\n# Set by each bundle:\n#   rate: of learning: high\n"
        "# ---- a heading ----\none: 1  # the first\n\n# two lines\n# above\ntwo: '#x'  # and beside\n"
        "three: {a: 1}\n# of another paragraph\n\nfour:  # a block\n- a\n- b: 1  # inner\nfive#six: 5\n"
    )
    assert [(key.name, key.value, key.description) for key in keys_of(file)] == [
        ("rate", None, "of learning: high"),
        ("one", "1", "the first"),
        ("two", "'#x'", "two lines above and beside"),
        ("three", "{a: 1}", ""),
        ("four", "- a\n- b: 1  # inner", "a block"),
        ("five", "5", ""),
    ]


def test_the_page_has_every_key(tmp_path):
    write_config_keys(tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    for file in FILES:
        section = text.partition(f"\n## {file.name}\n")[2].partition("\n## ")[0]
        for key in keys_of(file):
            assert (f"| `{key.name}` |" in section) != (key.name in TECHNICAL), (file, key)
    row = "| `near_duplicates` | also print pairs on both sides of a split"
    assert re.search(rf"^{re.escape(row)}.* \| `null` \| prepare \|$", text, re.MULTILINE)
    assert "| key | what it is | default | used by |" in text
    assert "| `learning_rate` | `0.0005` | `0.00003` | `0.00015` | `0.00015` | `0.003` |" in text
