"""Writing goes on after a kill, takes over what other processes wrote, and loses nothing silently."""

import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.toy_results import IID, RUN, make_arrays, make_cases
from monai_sf.results import (
    ResultsError,
    ResultsWriter,
    TestSetWriter,
    load_results,
)


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
    with pytest.raises(ResultsError, match=r"logits has shape \(1, 3\) and dtype float32, expected \(1, 2\)"):
        out.write([1], {**arrays, "logits": np.zeros((1, 3), np.float32)})
    with pytest.raises(ResultsError, match=r"and dtype float16, expected \(1, 2\) and float32"):
        out.write([1], {**arrays, "logits": np.zeros((1, 2), np.float16)})
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


def test_parts_are_copied_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("monai_sf.results.writer._CHUNK", 4)
    rows, arrays = np.arange(6), make_arrays(range(6))
    main = ResultsWriter(tmp_path, make_cases()).open("iid", "iid", rows)
    part = TestSetWriter(tmp_path / ".part-1", rows, IID)
    part.write(rows, arrays)
    part.sync()
    main.absorb(tmp_path / ".part-1")
    np.testing.assert_array_equal(main.arrays["logits"], arrays["logits"])
    assert main.done.all()
