"""Files appear whole or not at all."""

import errno
import json

import pytest

from monai_sf.files import atomic_folder, atomic_path, sha256_of, write_json, write_text


def test_write_makes_folders_and_replaces(tmp_path):
    target = tmp_path / "a" / "b" / "x.txt"
    write_text(target, "old")
    write_text(target, "new\n")
    assert target.read_bytes() == b"new\n"
    assert [p.name for p in target.parent.iterdir()] == ["x.txt"]


def _fail_half_way(path):
    path.write_text("half")
    raise RuntimeError("broken")


def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "x.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="broken"), atomic_path(target) as partial:
        _fail_half_way(partial)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_nothing_at_the_final_name_while_writing(tmp_path):
    target = tmp_path / "x.txt"
    with atomic_path(target) as partial:
        partial.write_text("half")
        assert not target.exists()
    assert target.exists()


def test_full_disk_names_the_file_and_says_what_to_do(tmp_path):
    with (
        pytest.raises(OSError, match=r"cannot write .*x\.txt.*Free space") as caught,
        atomic_path(tmp_path / "x.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC


def test_output_below_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        write_text(tmp_path / "file" / "x.txt", "text")


def test_folder_appears_whole_and_replaces(tmp_path):
    for content in ("one", "two"):
        with atomic_folder(tmp_path / "f") as partial:
            (partial / content).write_text(content)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["two"]
    with pytest.raises(ValueError, match="no"), atomic_folder(tmp_path / "f") as partial:
        raise ValueError("no")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "y.json", float("nan"))
    assert not (tmp_path / "y.json").exists()


def test_sha256_of_a_known_text(tmp_path):
    write_text(tmp_path / "x", "abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
