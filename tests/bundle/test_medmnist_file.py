"""A bundle of a MedMNIST file, and where the file comes from."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.own_images import parsed
from monai_sf.bundle import medmnist_file
from monai_sf.bundle.__main__ import main


def test_a_medmnist_file_brings_its_images_into_the_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 20), ("val", 10), ("test", 10)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28, 3), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez("somemnist.npz", **arrays)
    assert main(["new", "study", "--medmnist", "somemnist.npz"]) == 0
    cases, dataset_dir, written = parsed(tmp_path / "study", "cases", "dataset_dir", "make_images")
    assert (len(cases), written) == (40, 40)
    assert Path(dataset_dir) == tmp_path / "study" / "data"
    assert parsed(tmp_path / "study", "picture_mode") == ["RGB"]


def test_a_medmnist_file_that_is_not_there_tells_where_it_is_published(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pneumoniamnist\.npz .*doi\.org/10\.5281/zenodo"):
        medmnist_file(tmp_path / "pneumoniamnist.npz", tmp_path / "images")
    assert list(tmp_path.iterdir()) == []


def test_a_medmnist_file_is_fetched_where_its_package_can(tmp_path, monkeypatch):
    class PneumoniaMNIST:
        def __init__(self, split, *, download, root, size):
            assert (split, download, size) == ("train", True, 64)
            Path(root, "pneumoniamnist_64.npz").touch()

    package = SimpleNamespace(
        INFO={"pneumoniamnist": {"python_class": "PneumoniaMNIST"}}, PneumoniaMNIST=PneumoniaMNIST
    )
    monkeypatch.setitem(sys.modules, "medmnist", package)
    archive = tmp_path / "new" / "pneumoniamnist_64.npz"
    assert medmnist_file(archive, tmp_path / "images") == archive
    assert (tmp_path / "images").is_dir()
    with pytest.raises(FileNotFoundError, match=r"mine\.npz is the name of no MedMNIST file"):
        medmnist_file(tmp_path / "mine.npz", tmp_path / "images")

    def offline(*arguments, **options):
        raise RuntimeError("no network")

    package.PneumoniaMNIST = offline
    with pytest.raises(
        FileNotFoundError, match=r"cannot be fetched \(no network\): download pneumoniamnist\.npz"
    ):
        medmnist_file(tmp_path / "pneumoniamnist.npz", tmp_path / "images")
