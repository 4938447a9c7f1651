"""Results survive a round trip, and never hold impossible values."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.toy_results import RUN, make_arrays, make_cases, make_results, one_set
from monai_sf.results import (
    Results,
    ResultsError,
    ResultsWriter,
    load_results,
)
from monai_sf.vocabulary.ids import is_absent


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
    ("names", "message"), [(["a"], "at least two classes"), (["a", "b", "a"], "differ.*'a'")]
)
def test_class_names_must_tell_classes_apart(names, message):
    with pytest.raises(ResultsError, match=message):
        Results({"class_names": names}, pd.DataFrame({"case_id": ["1"], "label": [0]}))


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


def test_save_leaves_nothing_when_it_fails(tmp_path, monkeypatch):
    results = make_results()
    broken = replace(results, run={**RUN, "x": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        broken.save(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []
