from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.published_tables import ham10000, touch, write
from monai_sf.datasets import build_cases, same_names
from monai_sf.datasets.same_names import AmbiguousImagesError, choose_files


def fill(root: Path, files: dict[str, bytes]) -> list[str]:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return list(files)


@pytest.mark.parametrize(
    ("published", "folder", "files", "chosen"),
    [
        ("images/i.png", "", ["images/i.png", "masks/i.png", "m/i.png"], "images/i.png"),
        (
            "nih/images/i.png",
            "nih",
            ["nih/images_1/images/i.png", "nih/masks/i.png"],
            "nih/images_1/images/i.png",
        ),
        ("full/i.jpg", "full", ["full/x/i.jpg", "i.jpg"], "full/x/i.jpg"),  # HAM10000 beside ISIC 2020
        ("full/i.jpg", "full", ["full/x/i.jpg", "full/x/i.png"], "full/x/i.jpg"),
        ("a/images/i.png", "a", ["a/images/i.png", "b/images/i.png"], "a/images/i.png"),
        ("b/Images/i.png", "b", ["a/IMAGES/i.png", "b/IMAGES/i.png"], "b/IMAGES/i.png"),
    ],
)
def test_told_apart_by_what_is_published(
    tmp_path: Path, published: str, folder: str, files: list[str], chosen: str
) -> None:
    fill(tmp_path, {name: name.encode() for name in files})
    for order in (files, files[::-1]):
        files, notes = choose_files(tmp_path, {published: order}, folder)
        assert files == {published: chosen}
        assert f"first: {chosen}, not " in notes[0]


@pytest.mark.parametrize(
    ("published", "folder", "files"),
    [
        ("i.png", "", ["a/i.png", "masks/i.png"]),
        ("images/i.png", "", ["images/i.jpg", "masks/i.png"]),  # folder and ending contradict each other
        ("a/images/i.png", "a", ["a/masks/i.png", "b/images/i.png"]),  # nearness and folder do
        ("nih/images/i.png", "nih", ["nih/1/images/i.png", "nih/small/images/i.png"]),
    ],
)
def test_what_cannot_be_told_is_refused_unless_the_content_is_the_same(
    tmp_path: Path, published: str, folder: str, files: list[str]
) -> None:
    for contents in ((b"abc", b"abcd"), (b"abc", b"abd")):
        fill(tmp_path, dict(zip(files, contents, strict=True)))
        with pytest.raises(
            AmbiguousImagesError, match="(?s)1 images .*1 like .* and .*Move the wrong"
        ) as caught:
            choose_files(tmp_path, {published: files}, folder)
        assert {*caught.value.images[0]} == {*files}
        assert all(name in str(caught.value) for name in files)
    fill(tmp_path, dict.fromkeys(files, b"abc"))
    chosen, notes = choose_files(tmp_path, {published: files}, folder)
    assert chosen[published] in files
    assert "with the same content (first: " in notes[0]


def test_one_other_among_many_copies_is_found(tmp_path: Path) -> None:
    names = [f"{i:03d}.png" for i in range(60)]
    fill(tmp_path, {f"{folder}/{name}": name.encode() for folder in "ab" for name in names})
    candidates = {name: (f"a/{name}", f"b/{name}") for name in names}
    assert "60 images" in choose_files(tmp_path, candidates, "")[1][0]
    (tmp_path / "b/037.png").write_bytes(b"x37.png")
    with pytest.raises(AmbiguousImagesError, match=r"1 like a/037\.png and b/037\.png"):
        choose_files(tmp_path, candidates, "")


def test_of_very_much_a_share_is_compared_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_names, "_MOST_COMPARED", 100)
    names = [f"{i:03d}.png" for i in range(40)]
    fill(tmp_path, {f"{folder}/{name}": b"ten bytes." for folder in "ab" for name in names})
    candidates = {name: (f"a/{name}", f"b/{name}") for name in names}
    note = choose_files(tmp_path, candidates, "")[1][0]
    assert "(by size; by full content for 5)" in note
    fill(tmp_path, {f"b/{name}": b"10 bytes.." for name in names})
    with pytest.raises(AmbiguousImagesError, match="5 images"):
        choose_files(tmp_path, candidates, "")
    (tmp_path / "b/001.png").write_bytes(b"another size")
    with pytest.raises(AmbiguousImagesError, match="6 images"):
        choose_files(tmp_path, candidates, "")


def test_links_to_one_file_are_one_file(tmp_path: Path) -> None:
    fill(tmp_path, {"a/i.png": b"abc"})
    (tmp_path / "b").mkdir()
    os.link(tmp_path / "a/i.png", tmp_path / "b/i.png")
    assert choose_files(tmp_path, {"i.png": ("a/i.png", "b/i.png")}, "")[0] == {"i.png": "a/i.png"}


def test_masks_are_not_taken_for_images(tmp_path: Path) -> None:
    names = [f"{i:08d}_000.png" for i in range(4)]
    rows = [f"{name},{('Edema', 'Effusion')[i % 2]},0,{i}" for i, name in enumerate(names)]
    write(tmp_path, "Data_Entry_2017_v2020.csv", "Image Index,Finding Labels,Follow-up #,Patient ID", *rows)
    for folder, value in (("images", 90), ("masks", 255)):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.fromarray(np.full((8, 8), value, np.uint8)).save(tmp_path / folder / name)
    cases = build_cases("chest_xray", tmp_path)
    assert cases["image"].tolist() == [f"images/{name}" for name in names]
    (tmp_path / "images").rename(tmp_path / "pictures")
    with pytest.raises(
        AmbiguousImagesError, match=r"4 like masks/00000000_000\.png and pictures/0"
    ) as caught:
        build_cases("chest_xray", tmp_path, missing="drop")
    assert len(caught.value.images) == 4


def test_images_of_another_table_with_the_same_ids(tmp_path: Path) -> None:
    ham10000(tmp_path, [("L1", "ISIC_1", "nv"), ("L2", "ISIC_2", "mel")])
    touch(tmp_path, ["resized/ISIC_1.jpg", "ISIC_2.jpg"])
    for name in ("resized/ISIC_1.jpg", "ISIC_2.jpg"):
        (tmp_path / name).write_bytes(b"another")
    cases = build_cases("dermoscopy", tmp_path)
    assert cases["image"].tolist() == ["ham10000/images/ISIC_1.jpg", "ham10000/images/ISIC_2.jpg"]
