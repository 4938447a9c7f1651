from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monai_sf.datasets import rendered_files, write_rendered_slices
from monai_sf.datasets.lidc_database import Tables
from monai_sf.datasets.rendering import render_slice


@pytest.fixture
def few(cases: pd.DataFrame) -> pd.DataFrame:
    return cases.iloc[:12]


@pytest.fixture(autouse=True)
def _read_database_once(tables: Tables, nodules: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered_files, "read_tables", lambda: tables)
    monkeypatch.setattr(rendered_files, "index_nodules", lambda tables: nodules)


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != "about.json")


def test_writes_every_image_of_the_table(
    few: pd.DataFrame, nodules: pd.DataFrame, tables: Tables, tmp_path: Path
) -> None:
    root = tmp_path
    assert write_rendered_slices(few, root) == 12
    assert files(root) == sorted(few["image"])
    for _, case in few.iterrows():
        image = np.load(root / case["image"])
        assert image.dtype == np.int16
        nodule = nodules[
            (nodules["scan_id"] == case["scan_id"]) & (nodules["nodule"] == case["nodule"])
        ].iloc[0]
        np.testing.assert_array_equal(image, render_slice(nodule, case["slice_index"], tables.contours))
    about = json.loads((root / "rendered" / "about.json").read_text())
    assert "not CT" in about["about"]


def test_processes_write_the_same_files(few: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert write_rendered_slices(few, tmp_path / "one", workers=1) == 12
    assert write_rendered_slices(few, tmp_path / "two", workers=2) == 12
    for image in few["image"]:
        assert (tmp_path / "one" / image).read_bytes() == (tmp_path / "two" / image).read_bytes()


def test_goes_on_where_it_was_interrupted(few: pd.DataFrame, tmp_path: Path) -> None:
    write_rendered_slices(few.iloc[:5], tmp_path)
    kept = {image: (tmp_path / image).stat().st_mtime_ns for image in few["image"][:5]}
    assert write_rendered_slices(few, tmp_path) == 7
    assert write_rendered_slices(few, tmp_path) == 0
    assert {image: (tmp_path / image).stat().st_mtime_ns for image in kept} == kept


def test_case_table_from_csv_gives_the_same_files(few: pd.DataFrame, tmp_path: Path) -> None:
    few.to_csv(tmp_path / "cases.csv", index=False)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    write_rendered_slices(few, tmp_path / "a")
    assert write_rendered_slices(pd.read_csv(tmp_path / "cases.csv"), tmp_path / "b") == 12
    for image in few["image"]:
        assert (tmp_path / "a" / image).read_bytes() == (tmp_path / "b" / image).read_bytes()


def test_damaged_files_are_made_again(few: pd.DataFrame, tmp_path: Path) -> None:
    write_rendered_slices(few, tmp_path)
    whole = [(tmp_path / image).read_bytes() for image in few["image"]]
    damage = [b"", whole[1][:-1], whole[2][:50], b"x" * len(whole[3]), whole[4] + b"x"]
    for image, content in zip(few["image"], damage, strict=False):
        (tmp_path / image).write_bytes(content)
    assert write_rendered_slices(few, tmp_path) == len(damage)
    assert [(tmp_path / image).read_bytes() for image in few["image"]] == whole


def test_files_of_another_renderer_are_made_again(
    few: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rendered_slices(few, tmp_path)
    monkeypatch.setattr(rendered_files, "RENDERER_VERSION", 99)
    assert write_rendered_slices(few, tmp_path) == 12
    assert write_rendered_slices(few, tmp_path) == 0


def test_interruption_leaves_no_partial_file(
    few: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def stop(*args: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return render_slice(*args)

    monkeypatch.setattr(rendered_files, "render_slice", stop)
    with pytest.raises(KeyboardInterrupt):
        write_rendered_slices(few, tmp_path)
    assert files(tmp_path) == sorted(few["image"][:3])


def test_full_disk_names_the_folder_and_leaves_nothing_half(
    few: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    write_rendered_slices(few.iloc[:2], tmp_path)
    monkeypatch.setattr(rendered_files.os, "replace", full)
    with pytest.raises(OSError, match=f"below dataset_dir {tmp_path}: No space left.*free space") as caught:
        write_rendered_slices(few, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert files(tmp_path) == sorted(few["image"][:2])


def test_no_permission_names_the_folder(
    few: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(
        PermissionError, match=f"below dataset_dir {tmp_path}: Permission denied.*permissions"
    ):
        write_rendered_slices(few, tmp_path)


def test_file_where_the_folder_should_be(few: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(NotADirectoryError, match="dataset_dir .*data is not a folder"):
        write_rendered_slices(few, tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="dataset_dir .*dta is not there"):
        write_rendered_slices(few, tmp_path / "dta")
    assert not (tmp_path / "dta").exists()


def test_files_that_were_not_rendered_are_left_as_they_are(few: pd.DataFrame, tmp_path: Path) -> None:
    own = tmp_path / few["image"].iloc[3]
    own.parent.mkdir(parents=True)
    own.write_bytes(b"somebody's")
    with pytest.raises(FileExistsError, match=r"1 images are below .* without the rendered/about\.json"):
        write_rendered_slices(few, tmp_path)
    assert own.read_bytes() == b"somebody's"
    assert files(tmp_path) == [few["image"].iloc[3]]


def test_files_elsewhere_are_not_removed_for_another_renderer(
    few: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rendered_slices(few, tmp_path)
    monkeypatch.setattr(rendered_files, "RENDERER_VERSION", 99)
    (tmp_path / "photo.npy").write_text("mine")
    with pytest.raises(FileExistsError, match=r"photo\.npy"):
        write_rendered_slices(few.assign(image=["photo.npy", *few["image"][1:]]), tmp_path)
    assert (tmp_path / "photo.npy").read_text() == "mine"


def test_other_sources_are_left_alone(few: pd.DataFrame, tmp_path: Path) -> None:
    mixed = few.assign(source=["ct"] * 10 + ["rendered"] * 2)
    assert write_rendered_slices(mixed, tmp_path) == 2
    assert files(tmp_path) == sorted(few["image"][10:])


@pytest.mark.parametrize("image", ["/etc/slice.npy", "../slice.npy", "rendered/../../slice.npy"])
def test_images_stay_below_the_folder(few: pd.DataFrame, tmp_path: Path, image: str) -> None:
    with pytest.raises(ValueError, match="image must be a path below dataset_dir"):
        write_rendered_slices(few.assign(image=image), tmp_path)


def test_bad_arguments(few: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks the columns image, nodule"):
        write_rendered_slices(few.drop(columns=["image", "nodule"]), tmp_path)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        write_rendered_slices(few, tmp_path, workers=0)
    with pytest.raises(ValueError, match=r"name nodules that the database lacks.*scan 9999 nodule 0"):
        write_rendered_slices(few.iloc[:1].assign(scan_id=9999), tmp_path)
