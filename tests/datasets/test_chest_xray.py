from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest

from helpers.published_tables import EIGHT, FINDINGS, chexpert, labels, touch, write
from monai_sf.datasets import TableError, build_cases, describe_cases, split_cases


def build(root: Path, **rules):
    return build_cases("chest_xray", root, **rules)


def named(cases) -> dict[str, str]:
    return dict(zip(cases["case_id"], cases["label_name"], strict=True))


def mimic(root: Path, rows: list[tuple[str, str, str, str]], *, folder: str = "mimic_cxr") -> None:
    """Rows: subject, study, dicom, label cells; labels once a study."""
    studies = {(subject, study): cells for subject, study, _, cells in rows}
    text = f"subject_id,study_id,{FINDINGS}\n" + "".join(f"{s},{t},{c}\n" for (s, t), c in studies.items())
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "mimic-cxr-2.0.0-chexpert.csv.gz").write_bytes(gzip.compress(text.encode()))
    split = "dicom_id,study_id,subject_id,split\n" + "".join(f"{d},{t},{s},train\n" for s, t, d, _ in rows)
    (path / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(split.encode()))
    touch(path, [f"files/p{s[:2]}/p{s}/s{t}/{d}.jpg" for s, t, d, _ in rows])


def nih(root: Path, rows: list[tuple[str, str]], *, v2020: bool = True) -> Path:
    comma = "" if v2020 else ","
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
        f"OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]{comma}"
    )
    lines = [
        f"{name},{finding},0,{int(name[:8])},58,M,PA,2682,2749,0.143,0.143{comma}" for name, finding in rows
    ]
    touch(root / "nih14", [f"images_001/images/{name}" for name, _ in rows])
    return write(root, f"nih14/Data_Entry_2017{'_v2020' if v2020 else ''}.csv", header, *lines)


A, B, C, D = (f"patient0000{i}/study1/view1_frontal.jpg" for i in range(1, 5))
ID = "chexpert-train-patient0000{}-study1-view1_frontal"


def test_exactly_one_positive_of_the_eight(tmp_path: Path) -> None:
    chexpert(
        tmp_path,
        {
            A: labels(Edema=1),
            B: labels(Edema=1, Pneumonia=1),
            C: labels(Edema=0, Pneumonia=-1),
            D: labels(Pleural_Effusion=1, Edema=-1, Pneumonia=0),
        },
    )
    cases = build(tmp_path)
    assert named(cases) == {ID.format(1): "Edema", ID.format(4): "Pleural Effusion"}
    assert cases["label"].tolist() == [2, 7]
    assert cases["group"].tolist() == ["chexpert-patient00001", "chexpert-patient00004"]
    assert cases.attrs["reading"]["dropped"] == {
        "chexpert: none of the eight labels is positive": 1,
        "chexpert: several of the eight labels are positive": 1,
    }
    assert "left out: 1: chexpert: several" in describe_cases(cases)


def test_nothing_positive_does_not_become_no_finding(tmp_path: Path) -> None:
    chexpert(tmp_path, {A: labels(), B: labels(No_Finding=1), C: labels(Edema=0), D: labels(Edema=-1)})
    assert named(build(tmp_path)) == {ID.format(2): "No Finding"}


def test_uncertain_and_several(tmp_path: Path) -> None:
    chexpert(
        tmp_path,
        {
            A: labels(No_Finding=1, Pneumothorax=1, Pleural_Effusion=1),
            B: labels(Edema=1, Pneumonia=-1),
            C: labels(Pneumonia=1, Atelectasis=0),
        },
    )
    assert named(build(tmp_path, uncertain="drop")) == {ID.format(3): "Pneumonia"}
    assert named(build(tmp_path, several="first"))[ID.format(1)] == "Pneumothorax"


def test_views(tmp_path: Path) -> None:
    lateral = "patient00001/study1/view2_lateral.jpg"
    chexpert(tmp_path, {A: labels(Edema=1), lateral: labels(Edema=1)})
    assert build(tmp_path)["view"].tolist() == ["frontal", "lateral"]
    assert build(tmp_path, views="lateral")["view"].tolist() == ["lateral"]
    mimic(tmp_path, [("10000032", "50414267", "aa", labels(Edema=1))])
    assert build(tmp_path)["view"].tolist() == ["frontal", "lateral", "unknown"]
    with pytest.raises(ValueError, match=r"metadata\.csv\.gz, which is not below .*views=\"all\""):
        build(tmp_path, views="frontal")
    write(tmp_path, "x/mimic-cxr-2.0.0-metadata.csv", "dicom_id,ViewPosition", "aa,LL")
    assert build(tmp_path)["view"].tolist() == ["frontal", "lateral", "lateral"]
    assert len(build(tmp_path, views="frontal")) == 1


def test_views_in_letters_of_any_case(tmp_path: Path) -> None:
    path = chexpert(tmp_path, {A: labels(Edema=1), B: labels(Edema=1)})
    path.write_text(path.read_text().replace(",Frontal,", ",FRONTAL,", 1))
    assert build(tmp_path, views="frontal")["view"].tolist() == ["frontal", "frontal"]


def test_rules_that_leave_no_case_are_named(tmp_path: Path) -> None:
    chexpert(tmp_path, {A: labels(Edema=1), B: labels(Edema=0)})
    with pytest.raises(ValueError, match=r"is left\. Left out were 2: chexpert: view is not lateral"):
        build(tmp_path, views="lateral")


def test_valid_joins_train_and_keeps_its_patients(tmp_path: Path) -> None:
    chexpert(tmp_path, {A: labels(Edema=1)})
    chexpert(tmp_path, {B: labels(Edema=1)}, part="valid")
    cases = build(tmp_path)
    assert cases["image"].tolist() == [f"chexpert/train/{A}", f"chexpert/valid/{B}"]
    assert cases["case_id"].is_unique


def test_full_size_download_in_four_parts(tmp_path: Path) -> None:
    """Its patients of train lie in no folder of that name."""
    parts = [f"CheXpert-v1.0 batch {part}" for part in ("1 (validate & csv)", "2 (train 1)", "4 (train 3)")]
    chexpert(tmp_path, {A: labels(Edema=1), B: labels(Edema=1)}, folder=parts[0])
    chexpert(tmp_path, {C: labels(Edema=1)}, folder=parts[0], part="valid")
    for name, part in ((A, parts[1]), (B, parts[2])):
        (tmp_path / parts[0] / "train" / name).unlink()
        touch(tmp_path / part, [name])
    cases = build(tmp_path)
    assert cases["image"].tolist() == [f"{parts[1]}/{A}", f"{parts[2]}/{B}", f"{parts[0]}/valid/{C}"]


def test_a_patient_of_both_tables_keeps_the_images_apart(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        chexpert(tmp_path, {A: labels(Edema=1)}, part=part)
    (tmp_path / "chexpert/train" / A).unlink()
    cases = build(tmp_path, missing="drop")
    assert cases["image"].tolist() == [f"chexpert/valid/{A}"]


def test_one_table_of_two_is_noted(tmp_path: Path) -> None:
    chexpert(tmp_path, {A: labels(Edema=1)}, part="valid")
    write(tmp_path, "chexpert/train.csv", "<!DOCTYPE html>", "<html>Sign in</html>")
    assert "chexpert: no table train.csv with the columns Path" in describe_cases(build(tmp_path))


@pytest.mark.parametrize("v2020", [True, False])
def test_nih_whatever_its_header(tmp_path: Path, v2020: bool) -> None:
    rows = [
        ("00000001_000.png", "Effusion"),
        ("00000001_001.png", "Cardiomegaly|Emphysema"),
        ("00000002_000.png", "Edema|Effusion"),
        ("00000003_000.png", "Mass|Nodule"),
        ("00000004_000.png", "No Finding"),
    ]
    nih(tmp_path, rows, v2020=v2020)
    cases = build(tmp_path)
    assert cases["label_name"].tolist() == ["Pleural Effusion", "Cardiomegaly", "No Finding"]
    assert cases["group"].tolist() == ["nih14-1", "nih14-1", "nih14-4"]
    assert cases["image"].tolist()[0] == "nih14/images_001/images/00000001_000.png"


def test_nih_unknown_finding_is_named(tmp_path: Path) -> None:
    nih(tmp_path, [("00000001_000.png", "Effusion"), ("00000002_000.png", "Covid|Effusion")])
    with pytest.raises(TableError, match=r"unknown Finding Labels \(rows\): Covid \(1\)\. Known: No Finding"):
        build(tmp_path)


def test_mimic_two_positives_and_an_uncertain_do_not_slip_through(tmp_path: Path) -> None:
    mimic(
        tmp_path,
        [
            ("10000032", "50414267", "a1", labels(Edema=1, Pneumonia=1, Atelectasis=-1)),
            ("10000033", "50414268", "a2", labels(Edema=1, Pneumonia=-1)),
            ("10000033", "50414269", "a3", labels(Edema=1)),
            ("10000033", "50414269", "a4", labels(Edema=1)),
        ],
    )
    cases = build(tmp_path)
    assert cases["case_id"].tolist() == ["mimic_cxr-a2", "mimic_cxr-a3", "mimic_cxr-a4"]
    assert cases["image"].tolist()[0] == "mimic_cxr/files/p10/p10000033/s50414268/a2.jpg"
    assert set(cases["group"]) == {"mimic_cxr-p10000033"}
    strict = build(tmp_path, uncertain="drop")
    assert strict["case_id"].tolist() == ["mimic_cxr-a3", "mimic_cxr-a4"]


def test_mimic_studies_without_labels_are_counted(tmp_path: Path) -> None:
    mimic(tmp_path, [("10000032", "50414267", "a1", labels(Edema=1))])
    split = "dicom_id,study_id,subject_id,split\na1,50414267,10000032,train\nb,99,10000032,train\n"
    (tmp_path / "mimic_cxr/mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(split.encode()))
    cases = build(tmp_path)
    assert len(cases) == 1
    assert cases.attrs["reading"]["dropped"] == {
        "mimic_cxr: the study has no row in mimic-cxr-2.0.0-chexpert.csv": 1
    }
    split = split.replace("a1,50414267,10000032", "a1,50414267,10000099")
    (tmp_path / "mimic_cxr/mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(split.encode()))
    with pytest.raises(TableError, match="name different subjects for 1 images"):
        build(tmp_path)


def test_mimic_ids_that_came_as_floats(tmp_path: Path) -> None:
    """As pandas writes a column of whole numbers after a join that left some empty."""
    mimic(tmp_path, [("10000032", "50414267", "a1", labels(Edema=1))])
    expected = build(tmp_path)
    folder = tmp_path / "mimic_cxr"
    split = "dicom_id,study_id,subject_id,split\na1,50414267.0,10000032.0,train\n"
    (folder / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(split.encode()))
    assert build(tmp_path).equals(expected)
    for cell, message in (("1e7", "subject_id must be whole numbers, 1 are not"), ("", "whole numbers")):
        split = f"dicom_id,study_id,subject_id,split\na1,50414267,{cell},train\n"
        (folder / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(split.encode()))
        with pytest.raises(TableError, match=message):
            build(tmp_path)
    split = "dicom_id,study_id,subject_id,split\na1,9,10000032,train\n"
    (folder / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(split.encode()))
    with pytest.raises(TableError, match=r"have no study in common \(first study_id: 9 and 50414267\)"):
        build(tmp_path)


def test_mimic_views_of_other_images(tmp_path: Path) -> None:
    mimic(tmp_path, [("10000032", "50414267", "aa", labels(Edema=1))])
    write(tmp_path, "x/mimic-cxr-2.0.0-metadata.csv", "dicom_id,ViewPosition", "bb,LL")
    assert any("1 images of mimic_cxr have no row in" in n for n in build(tmp_path).attrs["reading"]["notes"])
    with pytest.raises(TableError, match="has no row of any of MIMIC-CXR's images"):
        build(tmp_path, views="lateral")


def test_a_source_without_any_image_is_absent(tmp_path: Path) -> None:
    chexpert(tmp_path, {A: labels(Edema=1)})
    nih(tmp_path, [("00000001_000.png", "Effusion")])
    (tmp_path / "nih14/images_001/images/00000001_000.png").unlink()
    cases = build(tmp_path, missing="drop")
    assert set(cases["source"]) == {"chexpert"}
    assert "none of the images that nih14/Data_Entry" in cases.attrs["unavailable"]["nih14"]


def test_absent_sources_are_reported_and_their_studies_raise(tmp_path: Path, caplog) -> None:
    chexpert(tmp_path, {f"patient{i:05d}/study1/view1_frontal.jpg": labels(Edema=1) for i in range(3)})
    with caplog.at_level(logging.INFO, logger="monai_sf"):
        cases = build(tmp_path)
    assert "no cases of nih14: no table Data_Entry_2017" in caplog.text
    assert set(cases.attrs["unavailable"]) == {"nih14", "chexpert"}
    with pytest.raises(
        ValueError, match=r"study 'nih14' needs cases of the source nih14; .* those of chexpert"
    ):
        split_cases(cases, "nih14", 0)
    assert "study nih14 cannot be run: no case of nih14 (no table Data" in describe_cases(cases)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.replace("Pneumonia", "pneumonia "),
            r"train\.csv lacks the columns Pneumonia; it has Path",
        ),
        (lambda t: "", r"train\.csv is empty"),
        (lambda t: t.splitlines()[0] + "\n", r"train\.csv holds no row"),
        (lambda t: t[:-5], r"train\.csv ends in the middle of a row"),
        (lambda t: t + t.splitlines()[1] + "\n", r"1 Path occur in more than one row"),
        (
            lambda t: t.replace("1.0,", "x,"),
            r"must be numbers: .* has 1 other values \(first: 'x'\)",
        ),
        (
            lambda t: t.replace(",Frontal,", ",Oblique,"),
            r"unknown Frontal/Lateral \(rows\): oblique \(2\)",
        ),
        (lambda t: t.replace("1.0,", "2.0,"), r"must be 1, 0, -1 or empty; 1 are not \(first: \[2\.0\]\)"),
        (lambda t: t.replace("/study1/", "/"), r"Path must end as train/patient00001"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, change, message: str) -> None:
    path = chexpert(tmp_path, {A: labels(Edema=1), B: labels(Pleural_Effusion=1)})
    path.write_text(change(path.read_text()))
    with pytest.raises(TableError, match=message):
        build(tmp_path)


def test_bad_rules(tmp_path: Path) -> None:
    for rule, known in {
        "uncertain": "negative, drop",
        "views": "all, frontal",
        "several": "drop, first",
    }.items():
        with pytest.raises(ValueError, match=f"{rule} must be one of {known}.*got 'x'"):
            build(tmp_path, **{rule: "x"})
    with pytest.raises(
        ValueError, match="unknown rules of chest_xray: view; known: uncertain, views, several"
    ):
        build(tmp_path, view="all")


def test_eight_labels() -> None:
    from monai_sf.datasets.chest_xray import LABEL_NAMES

    assert list(LABEL_NAMES) == EIGHT


def nih_table(root: Path, rows: list[tuple[str, str]]) -> None:
    """Rows: image, patient."""
    touch(root / "nih14", [f"images/{name}" for name, _ in rows])
    lines = [f"{name},Edema,0,{patient}" for name, patient in rows]
    write(root, "nih14/Data_Entry_2017.csv", "Image Index,Finding Labels,Follow-up #,Patient ID", *lines)


def test_the_name_of_nihs_files_tells_the_patient(tmp_path: Path) -> None:
    rows = [
        ("00000013_005.png", "13"),
        ("00000013_006.png", "7"),
        ("00000014_000.png", ""),
        ("a.png", " 013"),
    ]
    nih_table(tmp_path, [*rows, ("b.png", "unknown"), ("c.png", "")])
    cases = build(tmp_path)
    assert cases["group"].tolist() == [
        *("nih14-13", "nih14-13", "nih14-14", "nih14-13", "nih14-image b.png", "nih14-image c.png"),
    ]
    notes = "\n".join(cases.attrs["reading"]["notes"])
    assert (
        "1 images have another patient in their name than in Patient ID (first: 00000013_006.png, 7)" in notes
    )
    assert "1 group is spelled in more than one way and counts as one ('013' = '13')" in notes
    assert "2 of 6 cases have no group id" in notes


def test_chexperts_patient_of_two_spellings_is_one(tmp_path: Path) -> None:
    rows = ["patient00007/study1/view1_frontal.jpg", "Patient7/study2/view1_frontal.jpg"]
    chexpert(tmp_path, {row: labels(Edema=1) for row in rows})
    assert set(build(tmp_path)["group"]) == {"chexpert-patient00007"}


def test_a_placeholder_of_mimic_is_refused(tmp_path: Path) -> None:
    rows = [("0", f"5000{i:04d}", f"d{i}", labels(Edema=1)) for i in range(12)]
    mimic(tmp_path, rows)
    with pytest.raises(TableError, match=r"split\.csv\.gz, subject_id: 12 of 12 cases have the group '0'"):
        build(tmp_path)
