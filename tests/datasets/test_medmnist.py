from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.case_tables import check_types
from monai_sf.bundle import prepare
from monai_sf.datasets import TableError, medmnist_cases, split_cases, write_medmnist_images

COUNTS = {"train": 12, "val": 4, "test": 6}


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return write(tmp_path / "small mnist.npz")


def write(path: Path, colour: bool = False, **changes: Any) -> Path:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in COUNTS.items():
        shape = (count, 8, 8, 3) if colour else (count, 8, 8)
        arrays[f"{split}_images"] = generator.integers(0, 256, shape).astype(np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize("colour", [False, True])
def test_cases_and_images(colour: bool, tmp_path: Path) -> None:
    npz, folder = write(tmp_path / "small mnist.npz", colour), tmp_path / "data"
    folder.mkdir()
    cases = medmnist_cases(npz, folder, classes=["normal", "pneumonia"])
    check_types(cases)
    assert cases["split"].value_counts().to_dict() == {"train": 12, "val": 4, "iid": 6}
    assert cases["label_name"].tolist() == ["normal", "pneumonia"] * 11
    assert cases["case_id"].is_unique
    assert cases["group"].is_unique
    assert cases.attrs["classes"] == ["normal", "pneumonia"]
    splits = split_cases(cases, "iid", 3)["split"]
    assert splits[12:].tolist() == cases["split"][12:].tolist()
    assert splits[:12].value_counts().to_dict() == {"train": 10, "calibration": 2}
    assert write_medmnist_images(npz, folder) == 22
    arrays = np.load(npz)
    expected = np.concatenate([arrays[f"{split}_images"] for split in COUNTS])
    for image, array in zip(cases["image"], expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / image)), array)


def test_images_are_written_once_and_an_interrupted_call_is_resumed(npz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_medmnist_images(npz, folder)
    files = sorted(path for path in folder.rglob("*.png"))
    content = {path: path.read_bytes() for path in files}
    before = {path: path.stat().st_mtime_ns for path in files}
    assert write_medmnist_images(npz, folder) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before
    files[3].unlink()
    files[5].write_bytes(content[files[5]][:-5])
    assert write_medmnist_images(npz, folder) == 2
    assert {path: path.read_bytes() for path in files} == content


def test_only_some_images_are_written(npz: Path, tmp_path: Path) -> None:
    names = medmnist_cases(npz, tmp_path)["image"].tolist()[1:9:3]
    assert write_medmnist_images(npz, tmp_path, only=names) == 3
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")} == set(names)


def test_an_image_in_two_splits_is_left_out_of_the_earlier_one(npz: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(npz))
    arrays["train_images"][3] = arrays["test_images"][2]
    arrays["train_images"][5] = arrays["val_images"][0]
    arrays["val_images"][1] = arrays["test_images"][2]
    arrays["train_images"][7] = arrays["train_images"][8]  # within a split it is none of a leak
    write(npz, **arrays)
    cases = medmnist_cases(npz, tmp_path)
    assert len(cases) == 19
    assert not {"train-000003", "train-000005", "val-000001"} & set(cases["case_id"])
    assert cases["label"].tolist() == [int(name[-1]) % 2 for name in cases["case_id"]]
    assert cases.attrs["reading"]["dropped"] == {"copy of an image in a later split": 3}
    write_medmnist_images(npz, tmp_path)
    prepare(cases, tmp_path, dataset="own", split_seed=0)


def test_files_of_others_are_left_alone(npz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "small_mnist").mkdir(parents=True)
    (folder / "small_mnist" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        write_medmnist_images(npz, folder)
    (folder / "small_mnist" / "notes.txt").unlink()
    write_medmnist_images(npz, folder)
    write(npz, train_labels=np.ones((12, 1), np.uint8))
    with pytest.raises(FileExistsError, match="holds the images of another file"):
        write_medmnist_images(npz, folder)
    with pytest.raises(FileNotFoundError):
        write_medmnist_images(npz, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="download it from medmnist.com"):
        medmnist_cases(tmp_path / "none.npz", folder)


def test_classes_without_names_are_called_by_number(npz: Path, tmp_path: Path) -> None:
    assert medmnist_cases(npz, tmp_path).attrs["classes"] == ["0", "1"]
    write(npz, train_labels=np.full((12, 1), 2))
    with pytest.raises(TableError, match="none of the classes"):
        medmnist_cases(npz, tmp_path, classes=["normal", "pneumonia"])
    with pytest.raises(ValueError, match="published dataset"):
        medmnist_cases(npz, tmp_path, dataset="chest_xray")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((12, 8, 8, 8), np.uint8)}, "must be 8-bit images"),
        ({"train_images": np.zeros((12, 8, 8), np.float32)}, "must be 8-bit images"),
        ({"train_images": np.zeros((11, 8, 8), np.uint8)}, "one for each of 12 labels"),
        ({"train_labels": np.zeros((12, 14), np.uint8)}, "must be one whole number per image"),
        ({"train_labels": np.zeros(12)}, "must be one whole number per image"),
        ({"train_labels": None}, "it needs train_images and train_labels, and has train_images"),
        ({"train_labels": np.array([{}] * 12, object)}, "is not a MedMNIST file"),
    ],
)
def test_files_that_are_none(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    npz, folder = write(tmp_path / "odd.npz", **changes), tmp_path / "data"
    folder.mkdir()

    def use() -> None:
        medmnist_cases(npz, folder)
        write_medmnist_images(npz, folder)

    with pytest.raises(TableError, match=message):
        use()
    assert list(folder.rglob("*.png")) == []


def test_a_damaged_file(npz: Path, tmp_path: Path) -> None:
    npz.write_bytes(npz.read_bytes()[:500])
    with pytest.raises(TableError, match="is not a (whole )?MedMNIST file"):
        medmnist_cases(npz, tmp_path)
