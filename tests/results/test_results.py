"""Results survive a round trip and a kill, and never hold impossible values."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monai_sf.files import sha256_of
from monai_sf.results import (
    FORMAT_VERSION,
    Results,
    ResultsError,
    ResultsWriter,
    TestSet,
    TestSetWriter,
    load_results,
)
from monai_sf.results.format import seal, slug
from monai_sf.vocabulary.ids import is_absent

RUN = {
    "dataset": "toy",
    "study": "iid",
    "method": "classifier",
    "seed": 0,
    "class_names": ["benign", "malignant"],
    "data_kind": "phantom",
}
IID = {"name": "iid", "kind": "iid", "corruption": None, "severity": 0}


def make_cases(n=6):
    return pd.DataFrame(
        {
            "case_id": [f"00{i}" if i else "NA" for i in range(n)],
            "label": np.arange(n) % 2,
            "label_name": ["benign" if i % 2 == 0 else "malignant" for i in range(n)],
            "group": [f"{i}" for i in range(n)],
            "source": "phantom",
            "rating": [0.5, np.nan, *range(n - 2)],
        }
    )


def make_arrays(rows, seed=0):
    rng = np.random.default_rng(seed)
    n = len(rows)
    return {
        "logits": rng.normal(size=(n, 2)).astype(np.float32),
        "features": rng.normal(size=(n, 5)).astype(np.float32),
        "mcd_entropy": rng.random(n),
        "images": rng.integers(0, 256, (n, 4, 4), np.uint8),
    }


def make_results():
    sets = {
        "iid": TestSet("iid", "iid", np.array([3, 0, 5]), make_arrays([3, 0, 5])),
        "corruption-noise-2": TestSet(
            "corruption-noise-2", "corruption", np.array([3, 0, 5]), make_arrays([3, 0, 5], 1), "noise", 2
        ),
    }
    return Results(RUN, make_cases(), sets)


def test_round_trip_keeps_everything(tmp_path):
    before = make_results()
    before.save(tmp_path / "r")
    after = load_results(tmp_path / "r")
    pd.testing.assert_frame_equal(after.cases, before.cases, check_dtype=False)
    assert list(after.cases["case_id"][:2]) == ["NA", "001"]  # text stays text
    assert list(after.test_sets) == ["iid", "corruption-noise-2"]
    for name, test_set in before.test_sets.items():
        loaded = after.test_sets[name]
        assert (loaded.kind, loaded.corruption, loaded.severity) == (
            test_set.kind,
            test_set.corruption,
            test_set.severity,
        )
        np.testing.assert_array_equal(loaded.rows, test_set.rows)
        assert set(loaded.arrays) == set(test_set.arrays)
        for key, array in test_set.arrays.items():
            np.testing.assert_array_equal(loaded.arrays[key], array)
            assert loaded.arrays[key].dtype == array.dtype
            assert isinstance(loaded.arrays[key], np.memmap)
    np.testing.assert_array_equal(after.labels_of("iid"), [1, 0, 1])
    assert list(after.cases_of("iid")["case_id"]) == ["003", "NA", "005"]
    assert after.run["counts"] == {"iid": 3, "corruption-noise-2": 3}


def test_no_pickles_in_the_folder(tmp_path):
    make_results().save(tmp_path / "r")
    for file in (tmp_path / "r").rglob("*.npy"):
        np.load(file, allow_pickle=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {**a, "../extra": a["logits"]}, r"an array must be one of .*, got '../extra'"),
        (lambda a: {**a, "rows": a["logits"]}, r"an array must be one of .*, got 'rows'"),
        (lambda a: {**a, "extra": a["logits"].astype(str)}, "extra has dtype <U"),
        (lambda a: {**a, "extra": a["logits"][:2]}, "extra has 2 entries, rows has 3"),
        (lambda a: {k: v for k, v in a.items() if k != "logits"}, "no logits"),
        (lambda a: {**a, "logits": a["logits"][:2]}, "logits has 2 entries, rows has 3"),
        (lambda a: {**a, "mcd_entropy": a["logits"]}, "mcd_entropy has shape"),
        (lambda a: {**a, "images": a["images"].astype(float)}, "images has shape .* float64"),
    ],
)
def test_test_set_refuses(change, message):
    rows = np.array([0, 1, 2])
    with pytest.raises(ResultsError, match=message):
        TestSet("iid", "iid", rows, change(make_arrays(rows)))


@pytest.mark.parametrize(
    ("names", "message"), [(["a"], "at least two classes"), (["a", "b", "a"], "differ.*'a'")]
)
def test_class_names_must_tell_classes_apart(names, message):
    with pytest.raises(ResultsError, match=message):
        Results({"class_names": names}, pd.DataFrame({"case_id": ["1"], "label": [0]}))


def test_kind_and_corruption_must_fit():
    with pytest.raises(ResultsError, match="kind must be one of"):
        TestSet("iid", "ood", np.array([0]), make_arrays([0]))
    for kind, corruption, severity in (
        ("corruption", None, 3),
        ("corruption", None, 0),
        ("corruption", "noise", 0),
        ("iid", "noise", 2),
    ):
        with pytest.raises(ResultsError, match="do not fit together"):
            TestSet("x", kind, np.array([0]), make_arrays([0]), corruption, severity)


def one_set(arrays, rows=(0, 1)):
    return {"iid": TestSet("iid", "iid", np.array(rows), arrays)}


def test_results_refuse_impossible_values():
    good = make_arrays([0, 1])
    bad_logits = good["logits"].copy()
    bad_logits[1, 0] = np.nan
    with pytest.raises(ResultsError, match="logits is NaN or infinite for 1 cases: 001"):
        Results(RUN, make_cases(), one_set({**good, "logits": bad_logits}))
    with pytest.raises(ResultsError, match=r"logits has 3 classes, the run has 2"):
        Results(RUN, make_cases(), one_set({**good, "logits": np.zeros((2, 3), np.float32)}))
    with pytest.raises(ResultsError, match=r"rows must be in 0..5, got 0..9"):
        Results(RUN, make_cases(), one_set(good, (0, 9)))
    with pytest.raises(ResultsError, match="1 cases occur twice"):
        Results(RUN, make_cases(), one_set(good, (1, 1)))
    with pytest.raises(ResultsError, match=r"label must be an integer in 0..1; 1 are not: 003"):
        Results(RUN, make_cases().replace({"label": {1: 1}}).assign(label=[0, 1, 0, 7, 0, 1]))
    with pytest.raises(ResultsError, match="1 case ids occur twice: 003"):
        Results(RUN, make_cases().assign(case_id=["a", "003", "b", "003", "c", "d"]))
    with pytest.raises(ResultsError, match="no column 'label'"):
        Results(RUN, make_cases().drop(columns="label"))


def test_a_latent_space_with_nan_is_still_a_result():
    arrays = make_arrays([0, 1])
    arrays["features"][0] = np.nan
    assert len(Results(RUN, make_cases(), one_set(arrays)).test_sets["iid"]) == 2


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


def test_save_replaces_results_and_nothing_else(tmp_path):
    run = tmp_path / "r"
    make_results().save(run)
    np.savez(run / "embedding-0123456789abcdef.npz", embedding=np.zeros(3))  # a report keeps it
    loaded = load_results(run)
    loaded.save(run)
    assert not list(run.glob("*.npz"))
    (run / "iid" / "my notes.txt").write_text("x")
    with pytest.raises(FileExistsError, match="other files .iid/my notes.txt"):
        loaded.save(run)
    assert (run / "iid" / "my notes.txt").is_file()
    load_results(run)
    (tmp_path / "begun").mkdir()
    ResultsWriter(tmp_path / "begun", make_cases()).open("iid", "iid", [0])
    with pytest.raises(FileExistsError, match="other files"):
        loaded.save(tmp_path / "begun")  # an evaluation that has not finished is work, too


NAMES = [
    "Site A / 2",
    "(A)",
    "#1",
    "..",
    ".",
    "run.json",
    "cases.csv",
    "CON",
    "con",
    "Site",
    "site",
    "x " * 200,
]
NAMES += ["a\nb", "\0", "Hospital Clínic", "診療所", "<b>", "C:\\x", "val", ".part-1", "-", "a-0123456789"]


def test_any_text_names_a_test_set(tmp_path):
    sets = {name: TestSet(name, "acquisition", np.array([0, 1]), make_arrays([0, 1])) for name in NAMES}
    folders = [slug(name) for name in NAMES]
    assert len(set(folders)) == len(NAMES)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", folder) and len(folder) < 90 for folder in folders)
    Results(RUN, make_cases(), sets).save(tmp_path / "r")
    assert sorted(load_results(tmp_path / "r").test_sets) == sorted(NAMES)
    assert {slug(name) for name in ("iid", "target", "corruption-gaussian_noise-3")} == {
        "iid",
        "target",
        "corruption-gaussian_noise-3",
    }
    for name in ("", " ", "\ud800", 3):
        with pytest.raises(ResultsError, match="name of a test set must be a text"):
            TestSet(name, "iid", np.array([0]), make_arrays([0]))


TEXT = st.text(max_size=20) | st.sampled_from(
    [
        "NA",
        "",
        "007",
        "1e5",
        "True",
        "\r",
        "\r\n",
        "a\rb",
        "\0",
        "\u2028",
        '"',
        " x ",
        "nan",
        "=1+1",
        "x" * 10**6,
    ]
)
VALUES = st.one_of(
    st.lists(TEXT, min_size=4, max_size=4),
    st.lists(TEXT | st.none(), min_size=4, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4),
    st.lists(st.floats(), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(TEXT | st.integers() | st.booleans() | st.none() | st.floats(), min_size=4, max_size=4),
    st.lists(st.lists(TEXT, max_size=3), min_size=4, max_size=4),
)


def same(one, other):
    if isinstance(one, list):
        return isinstance(other, list) and all(map(same, one, other)) and len(one) == len(other)
    if pd.isna(one):
        return bool(pd.isna(other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(TEXT.filter(lambda text: not is_absent(text)), min_size=4, max_size=4, unique=True),
    classes=st.lists(TEXT, min_size=2, max_size=2, unique=True),
    columns=st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
)
def test_whatever_is_accepted_comes_back_equal(tmp_path, ids, classes, columns):
    columns = {name: v for name, v in columns.items() if name not in ("case_id", "label", "label_name")}
    labels = np.array([0, 1, 1, 0])
    before = Results.from_arrays(
        np.eye(2)[labels] * 3, labels, case_ids=ids, class_names=classes, columns=columns
    )
    before.save(tmp_path / "r")
    after = load_results(tmp_path / "r")
    assert list(after.cases["case_id"]) == ids
    assert after.run["class_names"] == classes
    assert list(after.labels_of("iid")) == list(labels)
    assert list(after.cases.columns) == list(before.cases.columns)
    for name in before.cases:
        if before.cases[name].dtype.kind in "biuf":
            assert after.cases[name].dtype == before.cases[name].dtype
        for one, other in zip(before.cases[name].tolist(), after.cases[name].tolist(), strict=True):
            assert same(one, other), name
    ResultsWriter(tmp_path / "w", before.cases)
    ResultsWriter(tmp_path / "w", before.cases)  # the same cases are no other cases
    shutil.rmtree(tmp_path / "w")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"case_ids": ["a", "b\ud800"]}, "case_id.*not UTF-8.*ud800"),
        ({"columns": {"note": ["\udcff", ""]}}, "'note'.*not UTF-8.*udcff"),
        ({"class_names": ["a", "\ud800"]}, "class_names .*ud800.*not UTF-8"),
    ],
)
def test_halves_of_characters_are_refused(arguments, message):
    with pytest.raises(ResultsError, match=message):
        Results.from_arrays(np.eye(2) * 3, [0, 1], **arguments)


def test_what_cannot_be_stored_names_column_and_row(tmp_path):
    table = make_cases().assign(when=pd.Series([{1}, *[None] * 5], dtype=object))
    with pytest.raises(ResultsError, match="column 'when', row 0: a set cannot be stored"):
        Results(RUN, table).save(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_writer_goes_on_where_it_was(tmp_path):
    rows, arrays = np.array([4, 1, 2]), make_arrays([4, 1, 2])
    first = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows)
    first.write([1, 4], {k: v[[1, 0]] for k, v in arrays.items()})
    first.sync()
    second = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows)
    np.testing.assert_array_equal(second.done, [True, True, False])
    with pytest.raises(ResultsError, match=r"1 of 3 cases have no outputs: rows 2"):
        second.close()
    second.write([2], {k: v[2:] for k, v in arrays.items()})
    second.close()
    writer = ResultsWriter(tmp_path, make_cases())
    assert writer.open("iid", "iid", rows).done.all()
    writer.finish(RUN)
    loaded = load_results(tmp_path).test_sets["iid"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)


def test_outputs_not_yet_synced_are_not_done(tmp_path):
    writer = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 1])
    writer.write([0], {k: v[:1] for k, v in make_arrays([0, 1]).items()})
    assert not ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 1]).done.any()


def test_a_partial_of_other_cases_or_a_damaged_one_is_begun_anew(tmp_path):
    writer = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 1])
    writer.write([0, 1], make_arrays([0, 1]))
    writer.sync()
    assert not ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 2]).done.any()
    writer = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 2])
    writer.write([0, 2], make_arrays([0, 1]))
    writer.sync()
    (tmp_path / ".iid.partial" / "logits.npy").write_bytes(b"\x93NUMPY")
    assert not ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 2]).done.any()


def written(tmp_path, rows=(0, 1, 2, 3)):
    """A writer that has written and synced the first half."""
    rows, arrays = np.array(rows), make_arrays(rows)
    writer = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows)
    writer.write(rows[:2], {name: array[:2] for name, array in arrays.items()})
    writer.sync()
    return writer, rows, arrays


def complete(tmp_path, rows, arrays):
    run = ResultsWriter(tmp_path, make_cases())
    writer = run.open("iid", "iid", rows)
    left = np.flatnonzero(~writer.done)
    writer.write(rows[left], {name: array[left] for name, array in arrays.items()})
    writer.close()
    run.finish(RUN)
    for name, array in load_results(tmp_path).test_sets["iid"].arrays.items():
        np.testing.assert_array_equal(array, arrays[name])


LOSSES = {
    "removed": lambda file: file.unlink(),
    "empty": lambda file: os.truncate(file, 0),
    "short": lambda file: os.truncate(file, file.stat().st_size - 3),
    "long": lambda file: os.truncate(file, file.stat().st_size + 3),
    "another": lambda file: (file.unlink(), np.save(file, np.zeros(4, np.float32))),
}
PARTS = ["logits.npy", "images.npy", "rows.npy", "done.npy", "arrays.json"]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("how", LOSSES)
def test_what_a_kill_left_torn_is_begun_anew(tmp_path, how, name):
    writer, rows, arrays = written(tmp_path)
    LOSSES[how](writer.partial / name)
    assert not ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows).done.any()
    complete(tmp_path, rows, arrays)


def test_an_array_that_a_full_disk_left_empty_is_no_array(tmp_path):
    writer, rows, arrays = written(tmp_path)
    (writer.partial / "mcd_log_softmax.npy").touch()
    assert list(ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows).done) == [
        True,
        True,
        False,
        False,
    ]
    complete(tmp_path, rows, arrays)
    assert not (tmp_path / "iid" / "mcd_log_softmax.npy").exists()


@pytest.mark.parametrize("name", ["logits.npy", "images.npy", "done.npy"])
@pytest.mark.parametrize("how", LOSSES)
def test_a_file_that_is_lost_while_it_is_written_is_an_error_at_once(tmp_path, how, name):
    writer, rows, arrays = written(tmp_path)
    LOSSES[how](writer.partial / name)
    for act in (
        lambda: writer.write(rows[2:], {name: array[2:] for name, array in arrays.items()}),
        writer.sync,
        writer.close,
    ):
        with pytest.raises(ResultsError, match=rf"{name[:-4]} in .* were removed or changed"):
            act()
    complete(tmp_path, rows, arrays)


@pytest.mark.parametrize("how", LOSSES)
def test_a_complete_test_set_that_is_damaged_before_the_run_has_finished_is_evaluated_anew(tmp_path, how):
    run = ResultsWriter(tmp_path, make_cases())
    arrays = {name: make_arrays(range(4), seed) for seed, name in enumerate(("iid", "target"))}
    for name, kind in (("iid", "iid"), ("target", "acquisition")):
        writer = run.open(name, kind, range(4))
        writer.write(range(4), arrays[name])
        writer.close()
    LOSSES[how](tmp_path / "iid" / "features.npy")
    again = ResultsWriter(tmp_path, make_cases())
    assert not again.open("iid", "iid", range(4)).done.any()
    assert again.open("target", "acquisition", range(4)).done.all()
    with pytest.raises(ResultsError, match="test set iid is not complete"):
        again.finish(RUN)
    complete(tmp_path, np.arange(4), arrays["iid"])


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path):
    (tmp_path / "iid").mkdir()
    np.save(tmp_path / "iid" / "logits.npy", np.zeros(3))
    with pytest.raises(ResultsError, match="in the way of test set iid"):
        ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0])
    assert (tmp_path / "iid" / "logits.npy").is_file()


def test_a_complete_test_set_of_other_cases_or_another_kind_is_refused(tmp_path):
    _, rows, arrays = written(tmp_path)
    complete(tmp_path, rows, arrays)
    for kind, other in (("iid", [0, 1, 2, 4]), ("acquisition", rows), ("iid", rows[:2])):
        with pytest.raises(ResultsError, match="choose another folder"):
            ResultsWriter(tmp_path, make_cases()).open("iid", kind, other)


def test_every_call_gives_the_same_arrays(tmp_path):
    writer, rows, arrays = written(tmp_path)
    for change in ({"mcd_log_softmax": arrays["logits"]}, {"features": None}):
        values = {name: array[2:] for name, array in (arrays | change).items() if array is not None}
        with pytest.raises(ResultsError, match="got the arrays"):
            writer.write(rows[2:], values)
    assert sorted(path.name for path in writer.partial.glob("*_*.npy")) == ["mcd_entropy.npy"]


def test_writer_refuses(tmp_path):
    writer = ResultsWriter(tmp_path, make_cases())
    out = writer.open("iid", "iid", [0, 1])
    arrays = make_arrays([0])
    with pytest.raises(ResultsError, match="row 5 is not one of its cases"):
        out.write([5], arrays)
    with pytest.raises(ResultsError, match="got '../x'"):
        out.write([0], {"../x": arrays["logits"]})
    out.write([0], arrays)
    with pytest.raises(ResultsError, match=r"logits has shape \(1, 3\), expected \(1, 2\)"):
        out.write([1], {**arrays, "logits": np.zeros((1, 3), np.float32)})
    with pytest.raises(ResultsError, match="1 cases occur twice"):
        writer.open("target", "manifestation", [2, 2])
    with pytest.raises(ResultsError, match="results of other cases"):
        ResultsWriter(tmp_path, make_cases().assign(rating=1.0))


FULL_DISK = """
import resource, sys, numpy as np, pandas as pd
from monai_sf.results import ResultsWriter
cases = pd.DataFrame({"case_id": [str(i) for i in range(1000)], "label": 0})
writer = ResultsWriter(sys.argv[1], cases).open("iid", "iid", np.arange(1000))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    writer.write([0], {"logits": np.zeros((1, 1000), np.float32)})
except OSError as error:
    print("OSError", error.filename or error.strerror)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set by setrlimit")
def test_no_space_is_an_error_and_not_a_crash(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "OSError" in done.stdout


def test_save_leaves_nothing_when_it_fails(tmp_path, monkeypatch):
    results = make_results()
    broken = replace(results, run={**RUN, "x": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        broken.save(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_what_other_processes_have_written_is_taken_over(tmp_path):
    rows, arrays = np.arange(6), make_arrays(range(6))
    cut = lambda where: {name: array[where] for name, array in arrays.items()}  # noqa: E731
    main = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows)
    main.write([0, 1], cut([0, 1]))
    for number, mine in ((1, [3, 2]), (2, [5, 4])):
        part = TestSetWriter(ResultsWriter.part_of(tmp_path, number), np.array(mine), IID)
        part.write(mine[:1], cut(mine[:1]))
        part.sync()
        part.write(mine[1:], cut(mine[1:]))  # not synced: a power cut may have lost it
    begun = ResultsWriter.part_of(tmp_path, 3) / ".iid.partial"
    begun.mkdir(parents=True)
    np.save(begun / "rows.npy", rows[:1])
    writer = ResultsWriter(tmp_path, make_cases())
    writer.absorb_parts({"iid": main})
    assert list(main.done) == [True, True, False, True, False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".iid.partial", "cases.csv", "columns.json"]
    main.write([2, 4], cut([2, 4]))
    main.close()
    writer.open("iid", "iid", rows)
    writer.finish(RUN)
    for name, array in load_results(tmp_path).test_sets["iid"].arrays.items():
        np.testing.assert_array_equal(array, arrays[name])


def test_a_part_is_removed_only_after_it_was_taken_over(tmp_path, monkeypatch):
    main = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 1])
    part = TestSetWriter(ResultsWriter.part_of(tmp_path, 1), np.array([1]), IID)
    part.write([1], make_arrays([1]))
    part.sync()
    monkeypatch.setattr(TestSetWriter, "write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        ResultsWriter(tmp_path, make_cases()).absorb_parts({"iid": main})
    monkeypatch.undo()
    ResultsWriter(tmp_path, make_cases()).absorb_parts({"iid": main})
    assert list(main.done) == [False, True]
    part.release()
    part.sync()  # its files are gone, which nobody must notice


def test_parts_are_copied_in_chunks(tmp_path):
    rows, arrays = np.arange(6), make_arrays(range(6))
    main = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows)
    part = TestSetWriter(tmp_path / ".part-1", rows, IID)
    part.write(rows, arrays)
    part.sync()
    main.absorb(tmp_path / ".part-1", chunk=4)
    np.testing.assert_array_equal(main.arrays["logits"], arrays["logits"])
    assert main.done.all()
