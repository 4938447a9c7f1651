from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.case_tables import check_types
from monai_sf.datasets import STUDIES, build_cases, in_target, phantom, split_cases, write_nodule_slices
from monai_sf.datasets.lidc_database import read_tables
from monai_sf.datasets.phantom import ensure_phantom, write_phantom
from monai_sf.datasets.rendering import render_slice

DATASETS = ("dermoscopy", "chest_xray", "fc_microscopy")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write_phantom(name, tmp_path_factory.mktemp(name), size=32) for name in DATASETS}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_source_is_read_and_every_study_can_be_run(phantoms: dict[str, Path], dataset: str) -> None:
    cases = build_cases(dataset, phantoms[dataset])
    assert cases.attrs["reading"]["absent"] == {}
    assert cases.attrs["unavailable"] == {}
    assert set(cases["data_kind"]) == {"phantom"}
    check_types(cases)
    for study in STUDIES[dataset]:
        for seed in (0, 1):
            splits = split_cases(cases, study, seed)
            check_types(splits)
            assert splits.groupby("group")["split"].nunique().max() == 1
            assert set(in_target(study, splits[splits["split"] != "target"])) == {False}


def test_views_can_be_chosen(phantoms: dict[str, Path]) -> None:
    views = build_cases("chest_xray", phantoms["chest_xray"]).groupby("source")["view"].unique()
    assert {source: set(own) for source, own in views.items()} == {
        "chexpert": {"frontal", "lateral"},
        "nih14": {"frontal"},
        "mimic_cxr": {"frontal", "lateral"},
    }


def look(root: Path, image: str | list[str]) -> np.ndarray:
    """A coarse view of a grey image; of colours and channels the contrast: their level is the domain's."""
    names = image if isinstance(image, list) else [image]
    small = [np.asarray(Image.open(root / one).resize((16, 16)), float) / 255 for one in names]
    if len(small) == 1 and small[0].ndim == 2:
        return small[0].ravel()
    return np.array([one.std(axis=(0, 1)).mean() for one in small])


@pytest.mark.parametrize(("dataset", "classes"), [("dermoscopy", 2), ("chest_xray", 8), ("fc_microscopy", 4)])
def test_the_class_can_be_seen(phantoms: dict[str, Path], dataset: str, classes: int) -> None:
    """Nearest class mean, of a coarse look: far above chance, as a network will be."""
    root = phantoms[dataset]
    splits = split_cases(build_cases(dataset, root), "iid", 0)
    views = np.stack([look(root, image) for image in splits["image"]])
    label, split = splits["label"].to_numpy(), splits["split"].to_numpy()
    means = np.stack([views[(split == "train") & (label == k)].mean(0) for k in range(classes)])
    test = split != "train"
    guess = ((views[test][:, None] - means) ** 2).sum(-1).argmin(1)
    assert (guess == label[test]).mean() > 0.4 + 0.6 / classes


def test_the_domain_can_be_seen(phantoms: dict[str, Path]) -> None:
    root = phantoms["dermoscopy"]
    cases = build_cases("dermoscopy", root)
    corner = {
        source: np.mean(
            [np.asarray(Image.open(root / image))[:3, :3] for image in own["image"]], axis=(0, 1, 2)
        )
        for source, own in cases.groupby("source")
    }
    assert np.abs(corner["MSKCC"] - corner["Barcelona"]).max() > 5


def test_same_files_again(phantoms: dict[str, Path], tmp_path: Path) -> None:
    root = phantoms["chest_xray"]
    write_phantom("chest_xray", tmp_path / "again", size=32)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_real_files_are_not_marked(tmp_path: Path) -> None:
    (tmp_path / "ISIC_1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="holds other files, which would be taken for phantoms"):
        write_phantom("dermoscopy", tmp_path)
    assert not (tmp_path / "PHANTOM").exists()


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no phantom of 'xray'; there are dermoscopy"):
        write_phantom("xray", tmp_path)
    with pytest.raises(ValueError, match="cases must be at least 128 and size at least 32, got 12 and 64"):
        write_phantom("dermoscopy", tmp_path, cases=12)


def test_ct_phantom_gives_the_rendered_pixels(tmp_path: Path) -> None:
    root = write_phantom("lung_nodule_ct", tmp_path / "ct", cases=130)
    cases = build_cases("lung_nodule_ct", root, missing="drop")
    assert len(cases) >= 130
    assert set(cases["source"]) == {"ct"}
    assert set(cases["data_kind"]) == {"phantom"}
    own = cases.drop_duplicates("group").head(3)
    own = cases[cases["group"].isin(own["group"]) & (cases["nodule"] == own["nodule"].iloc[0])].head(5)
    assert write_nodule_slices(own, root) == 5
    contours = read_tables().contours
    for row in own.to_dict("records"):
        nodule = {**row, "slice_index": row["slice_index"] - row["slice_offset"]}
        expected = render_slice(nodule, row["slice_index"], contours)
        np.testing.assert_array_equal(np.load(root / row["image"]), expected)


def test_a_phantom_is_written_once_and_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(dataset: str, folder: Path, **options: object) -> None:
        (folder / "half").write_text("")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(phantom, "write_phantom", full)
        with pytest.raises(OSError, match="No space left"):
            ensure_phantom("fc_microscopy", tmp_path / "p")
    assert list(tmp_path.iterdir()) == []
    root = ensure_phantom("fc_microscopy", tmp_path / "p")
    assert len(build_cases("fc_microscopy", root)) == 128
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    ensure_phantom("fc_microscopy", root)
    assert times == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_phantom_is_not_written_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="would be taken for phantoms"):
        ensure_phantom("dermoscopy", tmp_path)
    assert (tmp_path / "real.jpg").exists()
