from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from helpers.case_tables import check_types
from monai_sf.datasets import build_cases
from monai_sf.datasets import lung_nodule_ct as lung
from monai_sf.datasets.lidc_database import RATINGS


@pytest.fixture
def built(nodules: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pd.DataFrame:
    monkeypatch.setattr(lung, "nodule_index", lambda: nodules)
    return build_cases("lung_nodule_ct", tmp_path, rendered=True)


def test_five_cases_a_nodule(built: pd.DataFrame, nodules: pd.DataFrame) -> None:
    assert len(built) == 5 * len(nodules) == 13255
    offsets = built.groupby(["scan_id", "nodule"])["slice_offset"].agg(list)
    assert all(one == [-2, -1, 0, 1, 2] for one in offsets)


def test_ids_are_unique_and_safe_as_file_names(built: pd.DataFrame) -> None:
    assert built["case_id"].is_unique
    assert built["image"].is_unique
    assert built["case_id"].map(lambda name: bool(re.fullmatch(r"[\w+-]+", name))).all()
    first = built.iloc[0]
    assert first["case_id"] == "LIDC-IDRI-0078_scan1_nodule0_slice-2"
    assert first["image"] == "rendered/LIDC-IDRI-0078/LIDC-IDRI-0078_scan1_nodule0_slice-2.npy"
    assert built["case_id"].iloc[2] == "LIDC-IDRI-0078_scan1_nodule0_slice+0"


def test_label_is_mean_malignancy_above_2(built: pd.DataFrame) -> None:
    assert (built["label"] == (built["malignancy"] > 2)).all()
    assert built.loc[built["malignancy"] == 2, "label"].eq(0).all()
    assert built.loc[built["malignancy"] == 2.25, "label"].eq(1).all()
    assert set(zip(built["label"], built["label_name"], strict=True)) == {(0, "benign"), (1, "malignant")}
    assert built.drop_duplicates(["scan_id", "nodule"])["label"].value_counts().to_dict() == {1: 1867, 0: 784}


def test_group_is_the_patient_and_the_source_is_plainly_rendered(
    built: pd.DataFrame, nodules: pd.DataFrame
) -> None:
    assert built["group"].tolist() == nodules["patient_id"].repeat(5).tolist()
    assert set(built["source"]) == {"rendered"}
    assert built.attrs == {"dataset": "lung_nodule_ct"}


def test_columns(built: pd.DataFrame, nodules: pd.DataFrame) -> None:
    columns = [
        "case_id",
        "image",
        "label",
        "label_name",
        "group",
        "source",
        "scan_id",
        "nodule",
        "slice_index",
    ]
    assert built.columns.tolist()[:9] == columns
    check_types(built)
    assert {*RATINGS, "n_readers", "annotation_ids", "z", "slice_offset"} <= set(built.columns)
    assert not built.isna().any().any()
    nodule = nodules.iloc[3]
    mine = built.iloc[15:20]
    assert mine["z"].tolist() == list(nodule["slice_zs"])
    assert mine["slice_index"].tolist() == list(nodule["slice_indices"])
    assert mine["texture"].tolist() == [nodule["texture"]] * 5


def test_the_index_is_not_changed(nodules: pd.DataFrame) -> None:
    before = nodules.copy(deep=True)
    cases = lung.cases_of_nodules(nodules)
    cases["texture"] = -1.0
    pd.testing.assert_frame_equal(nodules, before)


def test_nothing_is_written(built: pd.DataFrame, tmp_path: Path) -> None:
    assert len(built)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", ["lung_nodule_ct", "dermoscopy", "chest_xray", "fc_microscopy"])
@pytest.mark.parametrize("rules", [{}, {"rendered": True}])
def test_a_folder_that_is_misspelt_is_not_made(tmp_path: Path, dataset: str, rules: dict[str, bool]) -> None:
    if rules and dataset != "lung_nodule_ct":
        return
    with pytest.raises(FileNotFoundError, match=r"dataset_dir .*/dta is not there: give the folder"):
        build_cases(dataset, tmp_path / "dta", **rules)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        build_cases(dataset, tmp_path / "file", **rules)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown dataset 'lung'; known: lung_nodule_ct"):
        build_cases("lung", tmp_path)
    with pytest.raises(ValueError, match="missing must be one of raise, drop, keep, got 'skip'"):
        build_cases("lung_nodule_ct", tmp_path, missing="skip")
