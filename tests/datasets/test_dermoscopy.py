from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helpers.published_tables import ham10000, isic_2020, touch, write
from monai_sf.datasets import (
    TableError,
    build_cases,
    dermoscopy,
    describe_cases,
    find_study,
    in_target,
    split_cases,
)

MSK = "Memorial Sloan Kettering Cancer Center"
BARCELONA = "Department of Dermatology, Hospital Clínic de Barcelona"


def build(root: Path, **options) -> pd.DataFrame:
    return build_cases("dermoscopy", root, **options)


def derm7pt(root: Path, rows: list[tuple[str, str]], *, folder: str = "derm7pt/release_v0") -> Path:
    lines = [f"{i},{diagnosis},3,x.jpg,{derm}" for i, (diagnosis, derm) in enumerate(rows, 1)]
    header = "case_num,diagnosis,seven_point_score,clinic,derm"
    return write(root, f"{folder}/meta/meta.csv", header, *lines)


def ph2(root: Path, rows: list[list[str | None]], *, header: str = "Image Name") -> Path:
    path = root / "ph2/PH2_dataset.xlsx"
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [header, "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma"]
    sheet = [[], ["PH2"], names, *rows]
    width = max(map(len, sheet))
    pd.DataFrame([[*row, *[None] * (width - len(row))] for row in sheet]).to_excel(
        path, index=False, header=False
    )
    touch(root / "ph2", [f"{row[0]}/{row[0]}_Dermoscopic_Image/{row[0]}.bmp" for row in rows])
    return path


def test_labels_of_ham10000(tmp_path: Path) -> None:
    names = ["mel", "bcc", "akiec", "nv", "bkl", "df", "vasc"]
    ham10000(tmp_path, [(f"HAM_{i // 2}", f"ISIC_{i}", dx) for i, dx in enumerate(names)])
    cases = build(tmp_path)
    assert dict(zip(cases["diagnosis"], cases["label"], strict=True)) == {
        **dict.fromkeys(["mel", "bcc", "akiec"], 1),
        **dict.fromkeys(["nv", "bkl", "df", "vasc"], 0),
    }
    assert cases["group"].tolist()[:3] == ["ham10000-HAM_0", "ham10000-HAM_0", "ham10000-HAM_1"]
    assert cases["image"].tolist()[0] == "ham10000/images/ISIC_0.jpg"


def test_isic_2020_centres_are_sources(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", BARCELONA)
    rows = [
        ("ISIC_1", "IP_1", MSK, "nevus", "benign"),
        ("ISIC_2", "IP_1", "MSKCC", "melanoma", "malignant"),
        ("ISIC_3", "IP_2", BARCELONA, "", "benign"),
        ("ISIC_4", "IP_3", decomposed, "Solar lentigo", "benign"),
        ("ISIC_5", "IP_4", "Sydney Melanoma Diagnosis Centre", "nevus", "benign"),
        ("ISIC_6", "IP_5", MSK, "nevus", "indeterminate"),
        ("ISIC_7", "IP_5", MSK, "nevus", ""),
    ]
    isic_2020(tmp_path, rows)
    cases = build(tmp_path)
    assert cases["source"].tolist() == ["MSKCC", "MSKCC", "Barcelona", "Barcelona", "isic_2020"]
    assert cases["label"].tolist() == [0, 1, 0, 0, 0]
    assert set(cases.attrs["reading"]["tables"]) == {"MSKCC", "Barcelona", "isic_2020"}
    assert cases["diagnosis"].tolist() == ["nevus", "melanoma", "unknown", "solar lentigo", "nevus"]
    assert cases["group"].tolist()[:3] == ["isic_2020-IP_1", "isic_2020-IP_1", "isic_2020-IP_2"]
    assert cases.attrs["reading"]["dropped"] == {"isic_2020: benign_malignant is empty or indeterminate": 2}


def test_table_written_by_windows(tmp_path: Path) -> None:
    path = isic_2020(tmp_path, [("ISIC_3", "IP_2", BARCELONA, "nevus", "benign")])
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode("cp1252"))
    assert build(tmp_path)["source"].tolist() == ["Barcelona"]


def test_ground_truth_without_centres_makes_two_studies_unavailable(tmp_path: Path) -> None:
    header = (
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    )
    rows = [
        f"ISIC_{i},IP_{i // 2},male,45,torso,unknown,{'malignant' if i % 4 < 2 else 'benign'},0"
        for i in range(80)
    ]
    write(tmp_path, "a/ISIC_2020_Training_GroundTruth.csv", header, *rows)
    touch(tmp_path, [f"b/ISIC_{i}.jpg" for i in range(80)])
    cases = build(tmp_path)
    assert set(cases["source"]) == {"isic_2020"}
    reason = r"study 'mskcc' needs cases of the source MSKCC; .*no column attribution"
    with pytest.raises(ValueError, match=reason):
        split_cases(cases, "mskcc", 0)
    assert set(cases.attrs["unavailable"]) == {"mskcc", "barcelona", "keratosis"}
    assert len(split_cases(cases, "iid", 0)) == 80


def test_metadata_of_the_archive_since_2024(tmp_path: Path) -> None:
    header = "isic_id,attribution,diagnosis_1,diagnosis_2,diagnosis_3,lesion_id,patient_id"
    epidermal = "Benign epidermal proliferations"
    rows = [
        f"ISIC_1,{MSK},Benign,,,IL_1,IP_1",
        f"ISIC_2,{MSK},Benign,{epidermal},Lichen planus like keratosis,IL_2,IP_2",
        f'ISIC_3,{MSK},Malignant,Malignant melanocytic proliferations (Melanoma),"Melanoma, NOS",IL_3,IP_3',
        f"ISIC_4,{MSK},Indeterminate,Indeterminate epidermal proliferations,,IL_4,IP_4",
    ]
    path = write(tmp_path, "challenge-2020-training_metadata_2026-04-09.csv", header, *rows)
    touch(tmp_path, [f"ISIC-images/ISIC_{i}.jpg" for i in range(1, 5)])
    cases = build(tmp_path)
    assert cases["label"].tolist() == [0, 0, 1]
    assert cases["diagnosis"].tolist() == ["unknown", "lichen planus like keratosis", "melanoma, nos"]
    assert set(cases["source"]) == {"MSKCC"}
    assert in_target(find_study("keratosis"), cases).tolist() == [False, True, False]
    assert cases.attrs["reading"]["dropped"] == {"isic_2020: diagnosis_1 is empty or indeterminate": 1}
    assert "cases of one class only" in cases.attrs["unavailable"]["keratosis"]
    path.write_text(path.read_text().replace("planus like", "planus-like"))
    with pytest.raises(TableError, match=r"unknown diagnosis_3 \(rows\): lichen planus-like keratosis \(1\)"):
        build(tmp_path)


def test_listed_duplicates_are_one_group(tmp_path: Path) -> None:
    isic_2020(tmp_path, [(f"ISIC_{i}", f"IP_{i}", MSK, "nevus", "benign") for i in range(5)])
    write(
        tmp_path,
        "isic_2020/ISIC_2020_Training_Duplicates.csv",
        "image_name_1,image_name_2",
        *("ISIC_0,ISIC_3", "ISIC_3,isic_4", "ISIC_1,ISIC_77"),
    )
    cases = build(tmp_path)
    group = cases["group"].tolist()
    assert group[0] == group[3] == group[4]
    assert len(set(group)) == 3
    assert "2 pairs of isic_2020/ISIC_2020_Training_Duplicates.csv" in describe_cases(cases)


def test_the_table_with_centres_is_preferred(tmp_path: Path) -> None:
    isic_2020(tmp_path, [("ISIC_1", "IP_1", MSK, "nevus", "benign")])
    header = "image_name,patient_id,sex,diagnosis,benign_malignant,target"
    write(tmp_path, "isic_2020/ISIC_2020_Training_GroundTruth.csv", header, "ISIC_1,IP_1,male,nevus,benign,0")
    assert build(tmp_path)["source"].tolist() == ["MSKCC"]


def test_an_image_of_both_archives_is_one_case_and_joins_the_groups(tmp_path: Path) -> None:
    ham10000(tmp_path, [("L1", "ISIC_1", "nv"), ("L1", "ISIC_2", "nv"), ("L2", "ISIC_3", "mel")])
    isic_2020(
        tmp_path,
        [
            ("ISIC_2", "IP_1", MSK, "nevus", "malignant"),
            ("ISIC_3", "IP_2", MSK, "melanoma", "malignant"),
            ("ISIC_8", "IP_1", MSK, "nevus", "benign"),
        ],
    )
    cases = build(tmp_path)
    group = dict(zip(cases["case_id"], cases["group"], strict=True))
    assert len(group) == 4
    assert group["ham10000-ISIC_1"] == group["ham10000-ISIC_2"] == group["isic_2020-ISIC_8"]
    assert group["ham10000-ISIC_3"] not in (group["ham10000-ISIC_1"], "ham10000-L2")
    reading = cases.attrs["reading"]
    assert reading["dropped"] == {"isic_2020: the image is also in ham10000": 2}
    assert any(
        "1 images are in ham10000 and isic_2020 with different labels" in note for note in reading["notes"]
    )


def test_one_file_under_two_names_is_one_group_and_a_placeholder_is_not(tmp_path: Path) -> None:
    ham10000(tmp_path, [(f"L{i}", f"ISIC_{i}", ("nv", "mel")[i % 2]) for i in range(4)])
    isic_2020(tmp_path, [(f"ISIC_{i}", f"IP_{i}", MSK, "nevus", "benign") for i in range(10, 30)])
    images = tmp_path / "ham10000/images"
    for i in range(4):
        (images / f"ISIC_{i}.jpg").write_bytes(b"same size, other content" + bytes([i]))
    (tmp_path / "isic_2020/train/ISIC_10.jpg").write_bytes((images / "ISIC_1.jpg").read_bytes())
    for i in range(20, 30):
        (tmp_path / f"isic_2020/train/ISIC_{i}.jpg").write_bytes(b"no image available")
    cases = build(tmp_path)
    group = cases.set_index("case_id")["group"]
    assert group["ham10000-ISIC_1"] == group["isic_2020-ISIC_10"]
    assert group.nunique() == len(cases) - 1
    notes = cases.attrs["reading"]["notes"]
    assert "2 images are 1 files under several names; the groups of each were merged" in notes
    assert any(note.startswith("10 images have the content of more than 7 others") for note in notes)


def test_derm7pt_cases_with_one_image_are_one_group(tmp_path: Path) -> None:
    derm7pt(tmp_path, [("melanoma", "Nel/a.jpg"), ("clark nevus", "nel/b.jpg"), ("melanoma", "NEL/A.JPG")])
    cases = build(tmp_path, missing="keep")
    first, second, third = cases["group"]
    assert first == third != second
    assert any("2 cases of " in note for note in cases.attrs["reading"]["notes"])


def test_derm7pt_does_not_trust_letter_case(tmp_path: Path) -> None:
    rows = [
        ("melanoma (less than 0.76 mm)", "NEL/NEL001.JPG"),
        ("basal cell carcinoma", "Fgl/Fgl002.jpg"),
        ("seborrheic keratosis", "aal/AAL3.jpg"),
        ("melanosis", "aal/aal4.jpg"),
    ]
    derm7pt(tmp_path, rows)
    touch(
        tmp_path,
        [f"derm7pt/release_v0/images/{p}" for p in ("Nel/Nel001.jpg", "FGL/fgl002.JPG", "AAL/aal3.jpg")],
    )
    with pytest.raises(
        FileNotFoundError, match=r"images of 1 of 4 cases .*\n  derm7pt/release_v0/images/aal/aal4"
    ):
        build(tmp_path)
    cases = build(tmp_path, missing="drop")
    assert cases["label"].tolist() == [1, 1, 0]
    assert cases["image"].tolist()[0] == "derm7pt/release_v0/images/Nel/Nel001.jpg"
    assert cases.attrs["reading"]["dropped"] == {"image not on disk": 1}


def test_ph2_header_is_the_row_with_image_name(tmp_path: Path) -> None:
    ph2(tmp_path, [["IMD001", None, "X", None, None], ["IMD002", None, None, None, "X"], [None] * 5])
    cases = build(tmp_path)
    assert cases["label"].tolist() == [0, 1]
    assert cases["diagnosis"].tolist() == ["common nevus", "melanoma"]
    assert cases["image"].tolist()[1] == "ph2/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp"


def test_two_tables_of_ph2_must_hold_the_same(tmp_path: Path) -> None:
    row = [["IMD001", None, "X", None, None]]
    ph2(tmp_path / "a", row)
    ph2(tmp_path / "b", row)
    assert len(build(tmp_path)) == 1
    ph2(tmp_path / "b", [["IMD001", None, None, None, "X"]])
    with pytest.raises(TableError, match="their rows differ: a/ph2/PH2_dataset.xlsx, b/ph2/PH2_dataset.xlsx"):
        build(tmp_path)


def test_ph2_rows_that_are_shifted(tmp_path: Path) -> None:
    ph2(tmp_path, [["IMD001", None, "X", None, None, "X"], ["IMD002", None, "x", None, None]])
    with pytest.raises(TableError, match="rows have cells beyond the last column"):
        build_cases("dermoscopy", tmp_path)
    ph2(tmp_path, [["IMD001", None, None, "X", "0"], ["IMD002", None, "x", None, None]])
    with pytest.raises(TableError, match="must be X or empty, and are not for IMD001"):
        build_cases("dermoscopy", tmp_path)


def test_a_small_excel_file_that_unpacks_to_a_huge_one(tmp_path: Path, monkeypatch) -> None:
    ph2(tmp_path, [["IMD001", None, "X", None, None]])
    monkeypatch.setattr(dermoscopy, "LARGEST_TABLE", 1000)
    with pytest.raises(TableError, match=r"PH2_dataset\.xlsx unpacks to [\d,]+ bytes"):
        build_cases("dermoscopy", tmp_path)


def test_derm7pt_numbers_that_came_as_floats(tmp_path: Path) -> None:
    rows = ["case_num,diagnosis,derm", "1.0,clark nevus,NEL/a.jpg", "2.0,melanoma,NEL/b.jpg"]
    touch(tmp_path, ["d/images/NEL/a.jpg", "d/images/NEL/b.jpg"])
    write(tmp_path, "d/meta/meta.csv", *rows)
    expected = ["derm7pt-1", "derm7pt-2"]
    assert build_cases("dermoscopy", tmp_path)["case_id"].tolist() == expected


def test_ph2_faults(tmp_path: Path) -> None:
    ph2(tmp_path, [["IMD001", None, "X", "X", None]])
    with pytest.raises(TableError, match="not exactly one of Common Nevus, .* is marked for IMD001"):
        build(tmp_path)
    ph2(tmp_path, [["IMD001", None, "X", None, None]], header="Image")
    with pytest.raises(TableError, match='no row holds "Image Name"'):
        build(tmp_path)
    (tmp_path / "ph2/PH2_dataset.xlsx").write_bytes(b"not a zip file")
    with pytest.raises(TableError, match="is not an Excel table"):
        build(tmp_path)


def test_unknown_diagnoses_are_named(tmp_path: Path) -> None:
    ham10000(tmp_path, [("L1", "ISIC_1", "nv"), ("L2", "ISIC_2", "scc"), ("L3", "ISIC_3", "scc")])
    with pytest.raises(TableError, match=r"unknown dx \(rows\): scc \(2\)\. Known: mel, bcc, akiec, nv"):
        build(tmp_path)
    derm7pt(tmp_path / "other", [("melanoma of the mind", "a/b.jpg")])
    with pytest.raises(TableError, match=r"unknown diagnosis \(rows\): melanoma of the mind"):
        build(tmp_path / "other")
    isic_2020(tmp_path / "third", [("ISIC_1", "IP_1", MSK, "nevus", "maybe")])
    with pytest.raises(TableError, match=r"unknown benign_malignant \(rows\): maybe \(1\)"):
        build(tmp_path / "third")
    isic_2020(tmp_path / "fourth", [("ISIC_1", "IP_1", MSK, "Seborrhoeic keratosis", "benign")])
    with pytest.raises(TableError, match=r"unknown diagnosis \(rows\): seborrhoeic keratosis \(1\)"):
        build(tmp_path / "fourth")


def test_duplicate_ids_are_named(tmp_path: Path) -> None:
    ham10000(tmp_path, [("L1", "ISIC_1", "nv"), ("L2", "ISIC_1", "mel")])
    with pytest.raises(TableError, match=r"1 image_id occur in more than one row \(first: ISIC_1\)"):
        build(tmp_path)


def test_ids_that_differ_in_letter_case_only_are_one_image(tmp_path: Path) -> None:
    path = ham10000(tmp_path, [("L1", "ISIC_1", "nv"), ("L2", "isic_1", "mel")])
    with pytest.raises(TableError, match=r"1 image_id occur in more than one row \(first: isic_1\)"):
        build(tmp_path)
    path.unlink()
    ham10000(tmp_path, [("L1", "ISIC_1", "nv")])
    isic_2020(tmp_path, [("isic_1", "IP_1", MSK, "nevus", "benign"), ("ISIC_8", "IP_1", MSK, "", "benign")])
    cases = build(tmp_path)
    assert cases["case_id"].tolist() == ["ham10000-ISIC_1", "isic_2020-ISIC_8"]
    assert len(set(cases["group"])) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_spreadsheets_save_is_read(tmp_path: Path, mark: str, encoding: str) -> None:
    path = ham10000(
        tmp_path, [("L1", "ISIC_1", "nv"), ("L\N{LATIN SMALL LETTER E WITH ACUTE}", "ISIC_2", "mel")]
    )
    path.write_bytes(path.read_text().replace(",", mark).encode(encoding))
    cases = build(tmp_path)
    assert cases["label_name"].tolist() == ["benign", "malignant"]
    assert cases["group"].tolist() == ["ham10000-L1", "ham10000-L\N{LATIN SMALL LETTER E WITH ACUTE}"]


@pytest.mark.parametrize("change", [str.upper, lambda line: line.replace("image_id", "a").replace("dx", "b")])
def test_a_table_of_a_telling_name_is_never_passed_over(tmp_path: Path, change: Callable[[str], str]) -> None:
    header, *rows = ham10000(tmp_path, [("L1", "ISIC_1", "nv")]).read_text().splitlines(keepends=True)
    isic_2020(tmp_path, [("ISIC_8", "IP_1", MSK, "nevus", "benign")])
    path = next(tmp_path.rglob("HAM10000_metadata*"))
    path.write_text("".join([change(header), *rows]))
    with pytest.raises(TableError, match="lacks the columns .*image_id.*; it has "):
        build(tmp_path)


def test_a_header_in_other_letters_is_named(tmp_path: Path) -> None:
    ham10000(tmp_path, [("L1", "ISIC_1", "nv")])
    isic_2020(tmp_path, [("ISIC_8", "IP_1", MSK, "nevus", "benign")])
    path = next(path for path in tmp_path.rglob("*metadata*.csv") if "HAM" not in path.name)
    header, *rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header.upper(), *rows]))
    with pytest.raises(TableError, match="lacks the columns isic_id.image_name, .*; it has ISIC_ID"):
        build(tmp_path)


def test_a_renamed_column_is_named(tmp_path: Path) -> None:
    path = ham10000(tmp_path, [("L1", "ISIC_1", "nv")])
    path.write_text(path.read_text().replace("dx,", "diagnosis,", 1))
    with pytest.raises(TableError, match="lacks the columns dx; it has lesion_id, image_id, diagnosis"):
        build(tmp_path)


def test_keratosis_sub_types_are_in_the_target_and_nowhere_else(tmp_path: Path) -> None:
    kinds = ["nv", "mel", "bkl", "akiec", "df", "bcc"]
    ham10000(tmp_path, [(f"L{i // 2}", f"ISIC_{i}", kinds[i // 2 % 6]) for i in range(240)])
    isic_2020(
        tmp_path,
        [
            ("ISIC_900", "IP_1", MSK, "lichenoid keratosis", "benign"),
            ("ISIC_901", "IP_1", MSK, "nevus", "benign"),
            ("ISIC_902", "IP_2", MSK, "solar lentigo", "benign"),
            ("ISIC_903", "IP_3", MSK, "seborrheic keratosis", "benign"),
        ],
    )
    cases = build(tmp_path)
    splits = split_cases(cases, "keratosis", 0)
    target = splits["split"] == "target"
    assert set(splits["diagnosis"][target]) == {
        *("bkl", "akiec", "lichenoid keratosis", "solar lentigo", "seborrheic keratosis")
    }
    assert not in_target(find_study("keratosis"), splits[~target]).any()
    assert "isic_2020-ISIC_901" not in set(splits["case_id"])
    assert splits["label"][target].nunique() == 2


def test_row_order_does_not_matter(tmp_path: Path) -> None:
    rows = [(f"L{i // 2}", f"ISIC_{i}", "nv" if i // 2 % 2 else "mel") for i in range(60)]
    ham10000(tmp_path / "one", rows)
    ham10000(tmp_path / "two", rows[::-1])
    one, two = (
        split_cases(build(tmp_path / name), "iid", 1).set_index("case_id")["split"] for name in ("one", "two")
    )
    assert one.sort_index().equals(two.sort_index())


def test_lesions_and_patients_of_two_spellings_are_one_and_without_an_id_each_its_own(tmp_path: Path) -> None:
    lesions = ["HAM_1", "ham_1 ", "HAM_2", "unknown", ""]
    ham10000(tmp_path, [(lesion, f"ISIC_{i}", "nv") for i, lesion in enumerate(lesions)])
    patients = ["IP_1", "ip_1", "7", "007", "7.0", "NA", ""]
    isic_2020(tmp_path, [(f"ISIC_9{i}", p, MSK, "nevus", "benign") for i, p in enumerate(patients)])
    cases = build(tmp_path)
    assert cases["group"].tolist() == [
        *(f"ham10000-{name}" for name in ("HAM_1", "HAM_1", "HAM_2", "image ISIC_3", "image ISIC_4")),
        *(f"isic_2020-{name}" for name in ("IP_1", "IP_1", "7", "7", "7", "image ISIC_95", "image ISIC_96")),
    ]
    notes = "\n".join(cases.attrs["reading"]["notes"])
    assert "lesion_id: 1 group is spelled in more than one way and counts as one ('HAM_1' = 'ham_1')" in notes
    assert "lesion_id: 2 of 5 cases have no group id" in notes
    assert "patient_id: 2 groups are spelled" in notes
    assert "patient_id: 2 of 7 cases have no group id" in notes
