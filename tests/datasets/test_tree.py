from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import pytest

from helpers.published_tables import ham10000, touch, write
from monai_sf.datasets import MissingImagesError, TableError, build_cases
from monai_sf.datasets.tables import find_table, read_columns
from monai_sf.datasets.texts import arrow_texts
from monai_sf.datasets.tree import read_tree


def test_names_are_found_in_any_letter_case_and_kind(tmp_path: Path) -> None:
    touch(tmp_path, ["a/B/Img1.JPG", "a/b/img2.png", "a/img1_mask.png", "img3.txt", ".hidden/img3.png"])
    tree = read_tree(tmp_path)
    found = tree.find_images(arrow_texts(["IMG1.jpg", "img2.jpg", "img3.jpg"]), 1)
    assert (found.paths.to_pylist(), found.several) == (["a/B/Img1.JPG", "a/b/img2.png", None], {})
    found = tree.find_images(arrow_texts(["b/IMG1.jpg", "c/img2.jpg"]), 2)
    assert (found.paths.to_pylist(), found.several) == (["a/B/Img1.JPG", None], {})
    touch(tmp_path, ["b/img1.png"])
    found = read_tree(tmp_path).find_images(arrow_texts(["img2.jpg", "img1.jpg"]), 1)
    assert found.paths.to_pylist() == ["a/b/img2.png", None]
    assert found.several == {1: ("a/B/Img1.JPG", "b/img1.png")}


@pytest.mark.parametrize("folder", [".", "made/up", "made/up/ham10000"])
def test_made_up_images_are_called_so_from_any_folder(tmp_path: Path, folder: str) -> None:
    ham10000(tmp_path / "made/up", [("L1", "ISIC_1", "nv"), ("L2", "ISIC_2", "mel")])
    assert set(build_cases("dermoscopy", tmp_path / folder)["data_kind"]) == {"real"}
    touch(tmp_path / "made/up", ["PHANTOM"])
    assert set(build_cases("dermoscopy", tmp_path / folder)["data_kind"]) == {"phantom"}


def test_links_out_of_the_folder_are_followed_and_said(tmp_path: Path) -> None:
    touch(tmp_path, ["outside/ISIC_1.jpg", "outside/more/ISIC_2.jpg"])
    root = tmp_path / "inside"
    ham10000(root, [("L1", "ISIC_1", "nv"), ("L2", "ISIC_2", "mel"), ("L3", "ISIC_3", "mel")])
    for name in ("ISIC_1", "ISIC_2"):
        (root / f"ham10000/images/{name}.jpg").unlink()
    (root / "ISIC_1.jpg").symlink_to(tmp_path / "outside/ISIC_1.jpg")
    (root / "more").symlink_to(tmp_path / "outside/more")
    cases = build_cases("dermoscopy", root)
    images = ["ISIC_1.jpg", "more/ISIC_2.jpg", "ham10000/images/ISIC_3.jpg"]
    assert cases["image"].tolist() == images
    first = f"ISIC_1.jpg to {tmp_path}/outside/ISIC_1.jpg; more to {tmp_path}/outside/more"
    note = f"2 links lead out of the folder and are followed (first: {first})"
    assert note in cases.attrs["reading"]["notes"]


def test_links_give_no_file_twice_and_no_loop(tmp_path: Path) -> None:
    touch(tmp_path, ["x/y/a.jpg", "x/b.jpg", "root/in/c.jpg"])
    root = tmp_path / "root"
    (root / "1").symlink_to(tmp_path / "x/y")  # part of the next
    (root / "2").symlink_to(tmp_path / "x")
    (root / "3").symlink_to(tmp_path / "x")
    (root / "4").symlink_to(root / "in")
    (root / "in/loop").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (root / "nowhere").symlink_to(tmp_path / "not there")
    (root / "itself").symlink_to(root / "itself")
    (tmp_path / "x/y/back").symlink_to(tmp_path / "x")  # a loop outside
    (tmp_path / "x/home").symlink_to(root)
    (root / "alias.jpg").symlink_to(root / "in/c.jpg")
    tree = read_tree(root)
    assert tree.files == ("1/a.jpg", "2/b.jpg", "alias.jpg", "in/c.jpg")
    assert tree.links == {"1": str(tmp_path / "x/y"), "2": str(tmp_path / "x")}
    above, nowhere = "links lead to a folder above them", "links lead nowhere"
    assert tree.left_out == {
        **dict.fromkeys(("1/back", "2/home", "in/loop", "up"), above),
        **dict.fromkeys(("itself", "nowhere"), nowhere),
    }
    assert "2 links lead nowhere and are left out (first: itself, nowhere)" in tree.remarks()


def test_made_up_images_that_are_linked_are_called_so(tmp_path: Path) -> None:
    ham10000(tmp_path / "made/up", [("L1", "ISIC_1", "nv"), ("L2", "ISIC_2", "mel")])
    touch(tmp_path / "made", ["PHANTOM"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path / "made/up/ham10000")
    assert set(build_cases("dermoscopy", tmp_path / "data")["data_kind"]) == {"phantom"}


@pytest.mark.parametrize("name", ["ISIC_2.jpg", "HAM10000_metadata.csv", "x.zip", "1-001.dcm", "IM0001"])
def test_pipes_and_sockets_are_not_opened(tmp_path: Path, name: str) -> None:
    """Opening one waits for a writer, for ever."""
    ham10000(tmp_path, [("L1", "ISIC_1", "nv")])
    os.mkfifo(tmp_path / name)
    (tmp_path / "linked.csv").symlink_to(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "s.png"))  # a path of its own may be too long
    tree = read_tree(tmp_path)
    assert len(tree.left_out) == 3
    assert list(tree.dicom_files()) == []
    cases = build_cases("dermoscopy", tmp_path)
    assert cases["case_id"].tolist() == ["ham10000-ISIC_1"]
    assert any("3 entries are pipes, sockets or devices" in n for n in cases.attrs["reading"]["notes"])


def test_folders_that_may_not_be_read_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ham10000(tmp_path, [("L1", "ISIC_1", "nv"), ("L2", "ISIC_2", "mel")])
    touch(tmp_path, ["lost+found/a"])
    scandir = os.scandir

    def guarded(folder: str):
        if "lost+found" in str(folder):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    cases = build_cases("dermoscopy", tmp_path)
    assert "1 folders or zip files cannot be opened: lost+found/" in cases.attrs["reading"]["notes"]
    with pytest.raises(PermissionError):
        build_cases("dermoscopy", tmp_path / "lost+found")


def test_all_missing_images_are_in_a_file(tmp_path: Path) -> None:
    rows = [(f"L{i}", f"ISIC_{i:02d}", "nv") for i in range(15)]
    ham10000(tmp_path, rows)
    for i in range(1, 15):
        (tmp_path / f"ham10000/images/ISIC_{i:02d}.jpg").unlink()
    with pytest.raises(MissingImagesError, match=r"images of 14 of 15 cases") as caught:
        build_cases("dermoscopy", tmp_path)
    text = str(caught.value)
    assert text.count("ham10000/ISIC_") == 10
    listed = Path(text.split("All are listed in ")[1].split(". Complete")[0])
    assert listed.read_text().split() == caught.value.images
    assert len(caught.value.images) == 14
    listed.unlink()
    assert len(build_cases("dermoscopy", tmp_path, missing="drop")) == 1
    kept = build_cases("dermoscopy", tmp_path, missing="keep")
    assert len(kept) == 15
    assert kept["image"].tolist()[:2] == ["ham10000/images/ISIC_00.jpg", "ham10000/ISIC_01.jpg"]
    (tmp_path / "ham10000/images/ISIC_00.jpg").unlink()
    with pytest.raises(MissingImagesError, match="none of the 15 cases has its image below") as none:
        build_cases("dermoscopy", tmp_path, missing="drop")
    assert len(none.value.images) == 15


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no case of dermoscopy below .*: ham10000: no table HAM10000"
    ):
        build_cases("dermoscopy", tmp_path)
    with pytest.raises(FileNotFoundError, match="dataset_dir .* is not there"):
        build_cases("chest_xray", tmp_path / "nowhere")
    touch(tmp_path, ["file"])
    with pytest.raises(NotADirectoryError, match="is not a folder: unpack it"):
        build_cases("fc_microscopy", tmp_path / "file")


def test_tables_with_the_same_rows_are_one_and_others_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/meta.csv", "x,y", "1,2", "3,")
    write(tmp_path, "b/META.CSV", "y;other;x", ";5;3", "2;6; 1")  # in another order and form
    notes: list[str] = []
    table = find_table(read_tree(tmp_path), r"meta\.csv", ["x", "y"], note=notes.append)
    assert str(table) == "a/meta.csv"
    assert notes == ["a/meta.csv, b/META.CSV hold the same rows; the first is read"]
    write(tmp_path, "c/meta.csv", "x,y", "1,2", "3,0")
    with pytest.raises(TableError, match="their rows differ: a/meta.csv, b/META.CSV, c/meta.csv. Keep one"):
        find_table(read_tree(tmp_path), r"meta\.csv", ["x", "y"])
    write(tmp_path, "c/meta.csv", "x,y,z", "1,3,4")
    assert str(find_table(read_tree(tmp_path), r"meta\.csv", ["x", "y"], ["z"])) == "c/meta.csv"
    assert find_table(read_tree(tmp_path), r"meta\.csv", ["p", "q", "x"]) is None


def test_tables_of_any_kind(tmp_path: Path) -> None:
    write(tmp_path, "tabs.tab", "x\ty", "01\t2")
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbfx,y\r\n 01 ,2\r\n")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("deep/zipped.csv", "x,y\n01,2\n")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    tree = read_tree(tmp_path)
    assert tree.unreadable == ("broken.zip",)
    for name in ("tabs.tab", "bom.csv", "zipped.csv"):
        table = find_table(tree, name, ["x"])
        assert table is not None
        frame = read_columns(tree, table, ["x"], numbers=["y"])
        assert frame.to_dict("list") == {"x": ["01"], "y": [2.0]}


def test_damaged_gzip(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(b"\x1f\x8b\x08nothing")
    with pytest.raises(TableError, match=r"t\.csv\.gz is damaged"):
        find_table(read_tree(tmp_path), r"t\.csv", ["x"])


def test_images_whose_path_is_not_utf8_are_left_out_and_said(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"na\xefve")
    folder.mkdir()
    for name in ("a.png", "1.dcm"):
        (folder / name).write_bytes(b"")
    tree = read_tree(tmp_path)
    assert tree.find_images(arrow_texts(["a.png"]), 1).paths.to_pylist() == [None]
    assert list(tree.dicom_files()) == [os.fsdecode(b"na\xefve/1.dcm")]  # its path goes into no table
    (remark,) = tree.remarks()
    assert remark.startswith("1 images have bytes in their paths that are not UTF-8")
    assert r"(first: na\xefve/a.png)" in remark
