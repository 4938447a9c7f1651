"""Whatever was damaged, swapped or changed on the disk is noticed on loading."""

import json
import shutil
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.toy_results import RUN, make_cases, make_results
from monai_sf.files import sha256_of
from monai_sf.results import (
    FORMAT_VERSION,
    ResultsError,
    ResultsWriter,
    load_results,
)
from monai_sf.results.format import seal


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no results"):
        load_results(tmp_path)
    ResultsWriter(tmp_path / "r", make_cases())
    with pytest.raises(FileNotFoundError, match="has not finished"):
        load_results(tmp_path / "r")


def damage(run, **changes):
    """Change run.json, with a digest that fits: nothing but the values can be noticed."""
    content = json.loads(run.read_text()) | changes
    run.write_text(json.dumps(seal({k: v for k, v in content.items() if v is not None})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "format version 3, this monai_sf reads version 2"),
        ({"format": "other"}, "not a results file"),
        ({"class_names": None, "seed": None}, r"lacks the keys \['seed', 'class_names'\]"),
        ({"test_sets": ["../other"]}, "FileNotFoundError"),
        ({"test_sets": ["absent"]}, "FileNotFoundError"),
        ({"test_sets": 3}, "TypeError"),
        ({"files": {}}, r"no hash of \['test_set.json', 'rows.npy', 'features.npy'"),
        ({"files": []}, "no hash of"),
        ({"files": ["cases.csv"]}, "TypeError"),
        ({"class_names": "ab"}, "class_names 'ab' .expected a list of texts"),
        ({"class_names": [0, 1]}, "class_names .0, 1. .expected a list of texts"),
        ({"seed": "0", "dataset": {}}, "dataset {} .expected a text.; seed '0' .expected an integer"),
    ],
)
def test_load_refuses_run_json(tmp_path, changes, message):
    make_results().save(tmp_path / "r")
    damage(tmp_path / "r" / "run.json", **changes)
    with pytest.raises(ResultsError, match=message):
        load_results(tmp_path / "r")


def flip(file, rng):
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(bytes(content))


DAMAGES = {
    "a flipped bit": flip,
    "truncated": lambda file, rng: file.write_bytes(file.read_bytes()[: -1 - rng.integers(8)]),
    "empty": lambda file, rng: file.write_bytes(b""),
    "longer": lambda file, rng: file.write_bytes(file.read_bytes() + b"\0"),
    "removed": lambda file, rng: file.unlink(),
    "other text": lambda file, rng: file.write_text("[" * 100_000),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_every_damage_of_every_file_is_noticed(tmp_path, how):
    make_results().save(tmp_path / "good")
    rng = np.random.default_rng(0)
    files = [f.relative_to(tmp_path / "good") for f in (tmp_path / "good").rglob("*") if f.is_file()]
    assert len(files) == 3 + 2 * 6
    for i, file in enumerate(sorted(files)):
        shutil.copytree(tmp_path / "good", tmp_path / str(i))
        DAMAGES[how](tmp_path / str(i) / file, rng)
        expected = FileNotFoundError if how == "removed" and file.name == "run.json" else ResultsError
        with pytest.raises(expected, match=str(tmp_path / str(i))):
            load_results(tmp_path / str(i))


def test_swapped_arrays_are_noticed(tmp_path):
    make_results().save(tmp_path / "r")
    one, other = (tmp_path / "r" / name / "logits.npy" for name in ("iid", "corruption-noise-2"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(ResultsError, match=r"iid/logits.npy was changed, corruption-noise-2/logits.npy was"):
        load_results(tmp_path / "r")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = (*RUN, "test_sets", "files", "counts")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(["run.json", "columns.json", "iid/test_set.json"]), data=st.data())
def test_no_content_of_a_json_file_ends_in_another_error(tmp_path, file, data):
    folder, good = tmp_path / "r", tmp_path / "good"
    shutil.rmtree(folder, ignore_errors=True)
    if not good.exists():
        make_results().save(good)
    shutil.copytree(good, folder)
    content = json.loads((folder / file).read_text())
    keys = KEYS if file == "run.json" else tuple(content)
    content[data.draw(st.sampled_from(keys))] = data.draw(JSON)
    (folder / file).write_text(json.dumps(content))
    files = json.loads((folder / "run.json").read_text())["files"]
    damage(
        folder / "run.json",
        **({} if file == "run.json" else {"files": files | {file: sha256_of(folder / file)}}),
    )
    with suppress(ResultsError):
        load_results(folder)


def test_pickled_array_is_refused(tmp_path):
    make_results().save(tmp_path / "r")
    features = tmp_path / "r" / "iid" / "features.npy"
    np.save(features, np.array([{}, {}, {}]), allow_pickle=True)
    files = json.loads((tmp_path / "r" / "run.json").read_text())["files"]
    damage(tmp_path / "r" / "run.json", files=files | {"iid/features.npy": sha256_of(features)})
    with pytest.raises(ResultsError, match="Python objects in dtype"):
        load_results(tmp_path / "r")
