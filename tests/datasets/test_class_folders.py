"""Case tables from one folder per class."""

from pathlib import Path

import pytest

from helpers.case_tables import check_types
from monai_sf.datasets import TableError, describe_cases, folder_cases


def folders(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_one_folder_per_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["10/a.png", "9/b.dcm", "9/more/c.nii.gz", "10/notes.txt", "10/e.JPG", "f.png"]
    cases = folder_cases(folders(tmp_path, names))
    assert cases["image"].tolist() == ["10/a.png", "10/e.JPG", "9/b.dcm", "9/more/c.nii.gz"]
    assert cases["label_name"].tolist() == ["10", "10", "9", "9"]
    assert cases.attrs["classes"] == ["9", "10"]
    assert cases["group"].nunique() == 4
    assert "these land in training and test alike" in caplog.text
    assert "left out: 1: image that is in no folder of a class" in describe_cases(cases)
    assert folder_cases(tmp_path, classes=["10", "9"])["label"].tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="label is none of the classes '10', '8', 2 rows"):
        folder_cases(tmp_path, classes=["10", "8"])


def test_folders_of_splits_above_those_of_classes(tmp_path: Path) -> None:
    names = [
        f"{s}/{c}/{k}.png" for s in ("Train", "val", "Calibration", "test") for c in "ab" for k in range(2)
    ]
    cases = folder_cases(folders(tmp_path, names))
    check_types(cases)
    assert cases.groupby("split").size().to_dict() == {"train": 4, "val": 4, "calibration": 4, "iid": 4}
    assert cases.attrs["classes"] == ["a", "b"]
    folders(tmp_path, ["other/a/1.png"])
    with pytest.raises(
        TableError, match=r"folders of splits \(Calibration, Train, test, val\) and others \(other\)"
    ):
        folder_cases(tmp_path)


def test_folders_without_classes(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has no images in folders of classes"):
        folder_cases(folders(tmp_path, ["a.png", "a/readme.md"]))
    with pytest.raises(TableError, match="one class only, 'a'"):
        folder_cases(folders(tmp_path, ["a/1.png", "a/2.png"]))
    with pytest.raises(FileNotFoundError):
        folder_cases(tmp_path / "none")
