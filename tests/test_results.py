"""Results survive a round trip and a kill, and never hold impossible values."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from monai_sf.results import (
    FORMAT_VERSION,
    Results,
    ResultsError,
    ResultsWriter,
    TestSet,
    TestSetWriter,
    load_results,
)

RUN = {
    "dataset": "toy",
    "study": "iid",
    "method": "classifier",
    "seed": 0,
    "class_names": ["benign", "malignant"],
    "data_kind": "phantom",
}


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
        (lambda a: {**a, "extra": a["logits"]}, "unknown array 'extra'"),
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


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".hidden", "a ", "a.", "C:x", "a\n", "<b>"])
def test_name_must_be_one_of_a_folder(name):
    with pytest.raises(ResultsError, match="test sets cannot be called"):
        TestSet(name, "iid", np.array([0]), make_arrays([0]))


@pytest.mark.parametrize(
    ("names", "message"), [(["a"], "at least two classes"), (["a", "b", "a"], "differ.*'a'")]
)
def test_class_names_must_tell_classes_apart(names, message):
    with pytest.raises(ResultsError, match=message):
        Results({"class_names": names}, pd.DataFrame({"case_id": ["1"], "label": [0]}))


@pytest.mark.parametrize("name", ["run.json", "cases.csv"])
def test_name_must_not_be_that_of_a_file_beside_it(name):
    with pytest.raises(ResultsError, match="as a file beside its folder"):
        TestSet(name, "iid", np.array([0]), make_arrays([0]))


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


def damage(run, tmp_path, **changes):
    content = json.loads(run.read_text())
    content.update(changes)
    run.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "format version 2, this monai_sf reads version 1"),
        ({"format": "other"}, "not a results file"),
        ({"class_names": None, "seed": None}, r"lacks the keys \['seed', 'class_names'\]"),
        ({"test_sets": ["../other"]}, "no folder beside it"),
        ({"test_sets": ["absent"]}, "no folder beside it"),
    ],
)
def test_load_refuses_run_json(tmp_path, changes, message):
    make_results().save(tmp_path / "r")
    damage(tmp_path / "r" / "run.json", tmp_path, **changes)
    with pytest.raises(ResultsError, match=message):
        load_results(tmp_path / "r")


def test_load_refuses_damaged_files(tmp_path):
    make_results().save(tmp_path / "r")
    logits = tmp_path / "r" / "iid" / "logits.npy"
    logits.write_bytes(logits.read_bytes()[:-4])
    with pytest.raises(ResultsError, match="iid is damaged"):
        load_results(tmp_path / "r")
    make_results().save(tmp_path / "r")
    table = tmp_path / "r" / "cases.csv"
    table.write_text(table.read_text().replace("malignant", "benign"))
    with pytest.raises(ResultsError, match="was changed after the evaluation"):
        load_results(tmp_path / "r")
    (tmp_path / "r" / "run.json").write_text("{")
    with pytest.raises(ResultsError, match="not JSON"):
        load_results(tmp_path / "r")


def test_pickled_array_is_refused(tmp_path):
    make_results().save(tmp_path / "r")
    np.save(tmp_path / "r" / "iid" / "features.npy", np.array([{}, {}, {}]), allow_pickle=True)
    with pytest.raises(ResultsError, match="iid is damaged"):
        load_results(tmp_path / "r")


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


def test_writer_refuses(tmp_path):
    writer = ResultsWriter(tmp_path, make_cases())
    out = writer.open("iid", "iid", [0, 1])
    arrays = make_arrays([0])
    with pytest.raises(ResultsError, match="row 5 is not one of its cases"):
        out.write([5], arrays)
    with pytest.raises(ResultsError, match="unknown array 'x'"):
        out.write([0], {"x": arrays["logits"]})
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
        part = TestSetWriter(ResultsWriter.part_of(tmp_path, number) / "iid", np.array(mine), {})
        part.write(mine[:1], cut(mine[:1]))
        part.sync()
        part.write(mine[1:], cut(mine[1:]))  # not synced: a power cut may have lost it
    begun = ResultsWriter.part_of(tmp_path, 3) / ".iid.partial"
    begun.mkdir(parents=True)
    np.save(begun / "rows.npy", rows[:1])
    writer = ResultsWriter(tmp_path, make_cases())
    writer.absorb_parts({"iid": main})
    assert list(main.done) == [True, True, False, True, False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".iid.partial", "cases.csv"]
    main.write([2, 4], cut([2, 4]))
    main.close()
    writer.finish(RUN)
    for name, array in load_results(tmp_path).test_sets["iid"].arrays.items():
        np.testing.assert_array_equal(array, arrays[name])


def test_a_part_is_removed_only_after_it_was_taken_over(tmp_path, monkeypatch):
    main = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", [0, 1])
    part = TestSetWriter(ResultsWriter.part_of(tmp_path, 1) / "iid", np.array([1]), {})
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
    part = TestSetWriter(tmp_path / ".part-1" / "iid", rows, {})
    part.write(rows, arrays)
    part.sync()
    main.absorb(tmp_path / ".part-1" / "iid", chunk=4)
    np.testing.assert_array_equal(main.arrays["logits"], arrays["logits"])
    assert main.done.all()
