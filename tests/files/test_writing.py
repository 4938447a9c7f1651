"""Files appear whole or not at all."""

import errno
import json
import os

import pytest

from monai_sf.files import (
    atomic_folder,
    atomic_path,
    refuse_unwritable,
    remove_own,
    sha256_of,
    write_json,
    write_text,
)


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


def named(*names):
    """All of an existing folder is ours that has one of these names."""
    return lambda folder: names


def test_folder_appears_whole_and_replaces_what_is_ours(tmp_path):
    for content in ("one", "two/deep"):
        with atomic_folder(tmp_path / "f", named("one")) as partial:
            (partial / content).parent.mkdir(exist_ok=True)
            (partial / content).write_text(content)
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == [
        "f",
        "f/two",
        "f/two/deep",
    ]
    with pytest.raises(ValueError, match="no"), atomic_folder(tmp_path / "f", named("two/deep")) as partial:
        raise ValueError("no")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f" / "two" / "deep").is_file()


def _tree(folder):
    return {p.relative_to(folder).as_posix(): p.is_file() and p.read_text() for p in folder.rglob("*")}


def _home(folder):
    (folder / "thesis.tex").write_text("years")
    return folder, "thesis.tex"


def _file(folder):
    (folder / "x").write_text("mine")
    return folder / "x", "a file of this name"


def _nested(folder):
    (folder / "f" / "plots" / "old").mkdir(parents=True)
    (folder / "f" / "ours").write_text("")
    (folder / "f" / "plots" / "old" / "a.png").write_text("")
    return folder / "f", "plots/old/a.png"


def _empty_below(folder):
    (folder / "f" / "to be filled").mkdir(parents=True)
    return folder / "f", "to be filled"


def _link_of_our_name(folder):
    (folder / "elsewhere").write_text("data")
    (folder / "f").mkdir()
    (folder / "f" / "ours").symlink_to(folder / "elsewhere")
    return folder / "f", "ours"


def _link_to_a_full_folder(folder):
    (folder / "data").mkdir()
    (folder / "data" / "scan").write_text("")
    (folder / "f").symlink_to(folder / "data")
    return folder / "f", "scan"


PLACES = [_home, _file, _nested, _empty_below, _link_of_our_name, _link_to_a_full_folder]


@pytest.mark.parametrize("make", PLACES)
def test_what_is_not_ours_is_refused_before_anything_is_touched(tmp_path, make):
    path, named_in_error = make(tmp_path)
    before = _tree(tmp_path)
    with pytest.raises(FileExistsError, match=named_in_error), atomic_folder(path, named("ours")):
        raise AssertionError("the block must not begin")
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("name", [".", "..", ""])
def test_the_working_folder_and_those_that_hold_it_are_refused(tmp_path, monkeypatch, name):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(FileExistsError, match="working folder"), atomic_folder(name):
        raise AssertionError("the block must not begin")


def test_files_that_come_while_the_folder_is_written_are_kept(tmp_path):
    def late(partial):
        (partial / "ours").write_text("")
        (tmp_path / "f").mkdir()
        (tmp_path / "f" / "come later").write_text("")

    with pytest.raises(FileExistsError, match="come later"), atomic_folder(tmp_path / "f") as partial:
        late(partial)
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["come later"]
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_links_are_followed_and_stay(tmp_path):
    for name in ("disk", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "f").symlink_to(tmp_path / "empty")
    with atomic_folder(tmp_path / "f") as partial:
        (partial / "x").write_text("")
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "out")
    write_text(tmp_path / "out", "text")
    assert (tmp_path / "f").is_symlink()
    assert (tmp_path / "empty" / "x").is_file()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "out").read_text() == "text"


def test_only_our_files_are_removed(tmp_path):
    folder = tmp_path / "f"
    (folder / "a").mkdir(parents=True)
    for name in ("ours", "a/ours", "a/theirs"):
        (folder / name).write_text("")
    (tmp_path / "link").symlink_to(folder)
    remove_own(tmp_path / "link", lambda name: True)
    remove_own(tmp_path / "missing", lambda name: True)
    remove_own(folder, lambda name: name.endswith("ours"))
    assert sorted(_tree(tmp_path)) == ["f", "f/a", "f/a/theirs", "link"]


def test_an_output_is_refused_before_the_work(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    (tmp_path / "old.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, start, reason in (
        ("thesis.tex", "a,b\n", "not written by this command"),
        ("thesis.tex/x", "", "cannot write"),
        (".", "", "it is a folder"),
        ("pipe", "", "not a regular file"),
    ):
        with pytest.raises(OSError, match=reason):
            refuse_unwritable(tmp_path / name, start)
    for name in ("old.csv", "empty", "new/x.csv"):
        refuse_unwritable(tmp_path / name, "a,b\n")
    assert (tmp_path / "thesis.tex").read_text() == "years"


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "y.json", float("nan"))
    assert not (tmp_path / "y.json").exists()


def test_sha256_of_a_known_text(tmp_path):
    write_text(tmp_path / "x", "abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
