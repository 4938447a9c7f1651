"""Case tables from tables and folders that no one here wrote."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.case_tables import check_types
from helpers.own_tables import COLUMNS, HEADER, Table, build, rows, said
from monai_sf.datasets import (
    MissingImagesError,
    TableError,
    describe_cases,
    table_cases,
)
from monai_sf.datasets.any_table import as_texts
from monai_sf.datasets.faults import Faults
from monai_sf.datasets.own_labels import read_classes
from monai_sf.datasets.same_names import AmbiguousImagesError
from monai_sf.datasets.table_rows import iterate_rows


def test_a_table_becomes_a_case_table(write: Table, tmp_path: Path) -> None:
    cases = build(write(rows()), tmp_path)
    assert list(cases) == [
        "case_id",
        "image",
        "label",
        "label_name",
        "group",
        "source",
        "hospital",
        "data_kind",
    ]
    assert cases["case_id"].tolist() == [f"{k}.png" for k in range(8)] == cases["image"].tolist()
    assert cases["label"].tolist() == [1, 0] * 4
    check_types(cases)
    assert cases["label_name"].tolist() == ["well", "sick"] * 4
    assert cases["group"].tolist() == [f"p{k // 2}" for k in range(8)]
    assert set(cases["source"]) == {"own"}
    assert set(cases["data_kind"]) == {"real"}
    assert cases.attrs["classes"] == ["sick", "well"]
    assert cases.attrs["dataset"] == "own"
    assert cases.attrs["unavailable"] == {}
    assert "classes, in this order: 0 'sick' (4 cases), 1 'well' (4 cases)" in describe_cases(cases)
    assert (tmp_path / "images" / "PHANTOM").write_text("") == 0
    assert set(build(tmp_path / "t.csv", tmp_path)["data_kind"]) == {"phantom"}


def test_text_stays_text_and_only_empty_cells_are_missing(write: Table, tmp_path: Path) -> None:
    header = [*HEADER, "code", "age", "dose", "version", "empty", "exponent"]
    more = [
        ["007", "40", "1.50", "1.1", "", "1e5"],
        ["nan", "41", "2.25", "1.10", "", "2e5"],
        ["", "", "2.00", "1.2", "", ""],
    ]
    lines = [
        [f"{k}.png", ("nan", "NA")[k % 2], "", ("NULL", "None", "")[k % 3], *more[k % 3]] for k in range(9)
    ]
    cases = build(write(lines, header), tmp_path)
    assert cases.attrs["classes"] == ["NA", "nan"]
    assert cases["hospital"].tolist()[:2] == ["NULL", "None"]
    assert cases["hospital"].isna().tolist() == [False, False, True] * 3
    assert cases["code"].tolist()[:2] == ["007", "nan"]
    assert cases["exponent"].tolist()[:2] == ["1e5", "2e5"]
    assert cases["version"].tolist()[:2] == ["1.1", "1.10"]  # two texts of one number
    assert cases["age"].tolist()[:2] == [40.0, 41.0]
    assert cases["dose"].tolist()[:3] == [1.5, 2.25, 2.0]
    assert cases["empty"].isna().all()
    # a patient without an id is one of his own
    assert cases["group"].nunique() == 9


@given(texts=st.lists(st.text(min_size=1, max_size=4), min_size=4, max_size=12, unique=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_text_is_kept_as_it_is(texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir(exist_ok=True)
    for k in range(len(texts)):
        (tmp_path / "images" / f"{k}.png").touch()
    frame = pd.DataFrame(
        {
            "path": [f"{k}.png" for k in range(len(texts))],
            "finding": ["a", "b"] * (len(texts) // 2) + ["a"] * (len(texts) % 2),
            "id": texts,
        }
    )
    names = {"image": "path", "label": "finding"}
    kept = build(frame, tmp_path, columns=names)["id"]
    for text, cell in zip(texts, kept, strict=True):
        if isinstance(cell, str):
            assert cell == text.strip()
        elif pd.isna(cell):
            assert not text.strip()
        else:
            assert float(text) == cell  # numbers only where all are
    plain = {text.strip() for text in texts}
    if "" in plain or len(plain) < len(texts):
        return
    ids = build(frame, tmp_path, columns={**names, "case_id": "id"})["case_id"]
    assert ids.tolist() == [text.strip() for text in texts]


def test_the_kind_of_file_makes_no_difference(write: Table, tmp_path: Path) -> None:
    lines = [[*line, f"0{k}", f"{k}.5"] for k, line in enumerate(rows())]
    header = [*HEADER, "code", "age"]
    expected = build(write(lines, header), tmp_path)
    frame = pd.DataFrame(lines, columns=header)
    frame.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    frame.to_csv(tmp_path / "semicolons.csv", sep=";", index=False, encoding="utf-16")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    typed = frame.assign(age=frame["age"].astype(float))
    typed.to_excel(tmp_path / "t.xlsx", index=False)
    typed.to_parquet(tmp_path / "t.parquet")
    typed.set_index("path").to_parquet(tmp_path / "indexed.parquet")
    names = ("t.tsv", "semicolons.csv", "t.csv.gz", "t.xlsx", "t.parquet", "indexed.parquet")
    for table in (*(tmp_path / name for name in names), frame, typed.astype({"finding": "category"})):
        cases = build(table, tmp_path)
        assert cases["source"].tolist() == expected["source"].tolist()
        pd.testing.assert_frame_equal(cases, expected, check_column_type=False)


def test_whole_numbers_of_excel_and_pandas_have_no_decimal_point(write: Table, tmp_path: Path) -> None:
    write(rows())
    frame = pd.DataFrame(rows(), columns=HEADER).assign(
        finding=[0.0, 1.0] * 4, patient=[1, 1, 2, 2, 3, 3, np.nan, 4], when=pd.Timestamp("2020-02-01")
    )
    cases = build(frame, tmp_path)
    assert cases.attrs["classes"] == ["0", "1"]
    assert cases["group"].tolist() == ["1", "1", "2", "2", "3", "3", "image 6.png", "4"]
    assert set(cases["when"]) == {"2020-02-01"}
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    pd.testing.assert_frame_equal(build(tmp_path / "t.xlsx", tmp_path), cases)


@pytest.mark.parametrize(
    ("labels", "classes", "names", "expected"),
    [
        (["b", "a", "B2", "b"], None, ["B2", "a", "b"], [2, 1, 0, 2]),
        (["10", "9", "9", "2"], None, ["2", "9", "10"], [2, 1, 1, 0]),
        (["-1", "1", "1", "1"], None, ["-1", "1"], [0, 1, 1, 1]),
        (["sick", "well", "well", "sick"], ["well", "sick"], ["well", "sick"], [1, 0, 0, 1]),
        (["1", "0", "0", "1"], ["well", "sick"], ["well", "sick"], [1, 0, 0, 1]),
        (["1", "0", "0", "1"], ["1", "0"], ["1", "0"], [0, 1, 1, 0]),
        (["1", "2", "2", "1"], [2, 1], ["2", "1"], [1, 0, 0, 1]),
        (["a", "b", "b", "a"], ["a", "b", "c"], ["a", "b", "c"], [0, 1, 1, 0]),
        (
            ["<img src=x onerror=...>", "iid", "nan", "nan"],
            None,
            ["<img src=x onerror=...>", "iid", "nan"],
            [0, 1, 2, 2],
        ),
    ],
)
def test_classes_and_their_order(
    labels: list[str],
    classes: list[str] | None,
    names: list[str],
    expected: list[int],
    write: Table,
    tmp_path: Path,
) -> None:
    lines = [[f"{k}.png", label, f"p{k}", "A"] for k, label in enumerate(labels)]
    cases = build(write(lines), tmp_path, classes=classes)
    assert cases.attrs["classes"] == names
    assert cases["label"].tolist() == expected
    assert cases["label_name"].tolist() == [names[k] for k in expected]
    if len(names) > len(set(expected)):
        assert "1 classes have no case: 'c'" in describe_cases(cases)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (["well", "sikc", "", "x"], ["well", "sick"], "row 3 ('sikc' (do you mean 'sick'?)), row 5 ('x')"),
        (["well", "sick", "", ""], None, "column 'finding': no label, 2 rows: row 4, row 5"),
        (["0", "1", "2", "1"], ["well", "sick"], "label is none of the classes 'well', 'sick', 4 rows"),
        (["well", "Well", "sick", "sick "], None, "'Well' (1 rows) and 'well' (1 rows)"),
        (["1", "01", "2", "2"], None, "'01' (1 rows) and '1' (1 rows)"),
        (["a", "a", "a", "a"], None, "has one class only, 'a'"),
        (["a", "b", "a", "b"], ["a"], "classes must name at least two classes"),
        (["a", "b", "a", "b"], ["a", "b", "a"], "classes must differ, got several times 'a'"),
        (["yes", "no", "no", "no"], [True, False], "classes must be texts, got True; put it in quotes"),
        (
            [f"x{k}" for k in range(30)],
            None,
            "has 30 different labels in 30 rows: is it the column of labels?",
        ),
    ],
)
def test_labels_that_are_refused(
    labels: list[str], classes: Any, message: str, write: Table, tmp_path: Path
) -> None:
    lines = [[f"{k}.png", label, f"p{k}", "A"] for k, label in enumerate(labels)]
    assert message in said(write(lines), tmp_path, classes=classes)


def test_all_faults_at_once_with_rows_and_columns(write: Table, tmp_path: Path) -> None:
    lines = rows()
    lines[1][1] = ""  # row 3
    lines[2][0] = "../secret.png"  # row 4
    lines[3][0] = "/etc/passwd"  # row 5
    lines[4] = lines[5]  # rows 6 and 7
    lines[6][0] = ""  # row 8
    message = said(write(lines, images=False), tmp_path)
    assert message.startswith("t.csv has 5 faults:\n")
    assert "column 'finding': no label, 1 rows: row 3" in message
    assert "column 'path': the path leads out of dataset_dir, 1 rows: row 4 ('../secret.png')" in message
    assert "column 'path': the path is an absolute path outside of dataset_dir, 1 rows: row 5" in message
    assert "rows are the same in all columns, 1 rows: row 7 (as row 6)" in message
    assert "column 'path': the path is empty, 1 rows: row 8" in message


def test_rows_have_the_numbers_that_a_spreadsheet_shows(write: Table, tmp_path: Path) -> None:
    table = write(rows())
    text = table.read_text().replace("3.png,sick", '\n"3.png",')  # an empty line before it
    table.write_text(text)
    assert "no label, 1 rows: row 6" in said(table, tmp_path)
    frame = pd.DataFrame([["Our study", *[None] * 3], HEADER, *rows()])
    frame.iloc[4, 1] = None
    frame.to_excel(tmp_path / "t.xlsx", index=False, header=False)
    assert "there is no column 'path', 'finding', 'patient'; there are 'Our study'" in said(
        tmp_path / "t.xlsx", tmp_path
    )
    frame.iloc[1:].to_excel(tmp_path / "t.xlsx", index=False, header=False, startrow=2)
    assert "no label, 1 rows: row 6" in said(tmp_path / "t.xlsx", tmp_path)


def test_unknown_columns_and_roles(write: Table, tmp_path: Path) -> None:
    table = write(rows())
    message = said(table, tmp_path, columns={"image": "Path", "label": "finding", "group": "id"})
    assert message == (
        "t.csv: there is no column 'Path' (do you mean 'path'?), 'id'; there are 'path', 'finding', "
        "'patient', 'hospital'"
    )
    message = said(table, tmp_path, columns={"image": "path", "grup": "patient"})
    assert "unknown role 'grup' (do you mean 'group'?); no column for label" in message
    assert "columns must map roles" in said(table, tmp_path, columns=["path"])
    assert "label must be the name of a column, got 3" in said(
        table, tmp_path, columns={**COLUMNS, "label": 3}
    )
    assert "published dataset, 'dermoscopy'" in said(table, tmp_path, dataset="dermoscopy")
    assert "missing must be one of raise, drop, keep" in said(table, tmp_path, missing="ignore")


def test_tables_that_cannot_be_read(write: Table, tmp_path: Path) -> None:
    table = write(rows())
    with pytest.raises(FileNotFoundError, match="there is no table .*none.csv"):
        build(tmp_path / "none.csv", tmp_path)
    table.write_text("")
    assert said(table, tmp_path) == "t.csv is empty"
    table.write_text(",".join(HEADER))
    assert "holds no row" in said(table, tmp_path)
    table.write_text("path,finding,finding,patient\na,b,c,d\n")
    assert "names columns more than once: finding (columns 2, 3)" in said(table, tmp_path)
    table.write_text("path,finding,patient\na.png,b\n")
    assert "1 rows do not fit it" in said(table, tmp_path)
    table.write_bytes(b"\x89PNG\0\1")
    assert "is not" in said(table, tmp_path)
    (tmp_path / "t.doc").write_text("")
    assert "is of no known kind: save it as one of .csv, .tsv" in said(tmp_path / "t.doc", tmp_path)
    (tmp_path / "t.xlsx").write_text("no zip")
    assert "is not an Excel table" in said(tmp_path / "t.xlsx", tmp_path)
    (tmp_path / "t.parquet").write_text("no parquet")
    assert "is not a Parquet table" in said(tmp_path / "t.parquet", tmp_path)
    assert "the table holds no row" in said(pd.DataFrame(columns=HEADER), tmp_path)


def test_sheets_and_formulas_of_excel(write: Table, tmp_path: Path) -> None:
    write(rows())
    table, path = pd.DataFrame(rows(), columns=HEADER), tmp_path / "t.xlsx"
    with pd.ExcelWriter(path) as book:
        table.to_excel(book, sheet_name="cases", index=False)
        table.head(3).to_excel(book, sheet_name="legend", index=False)
        pd.DataFrame().to_excel(book, sheet_name="empty")
    assert "has several sheets: name one with sheet=..., of cases, legend" in said(path, tmp_path)
    assert len(build(path, tmp_path, sheet="cases")) == 8
    assert "has no sheet 'case'; it has cases, legend, empty" in said(path, tmp_path, sheet="case")
    table.loc[2, "hospital"] = "#REF!"
    table.to_excel(path, index=False)
    assert "has formulas that failed: row 4, column 'hospital' (#REF!)" in said(path, tmp_path)
    assert "sheet is for Excel files" in said(tmp_path / "t.csv", tmp_path, sheet="cases")


def test_text_that_is_not_utf8_is_no_guess(write: Table, tmp_path: Path) -> None:
    lines = rows()
    lines[2][3] = lines[5][3] = "Clínic"
    table = write(lines)
    table.write_bytes(table.read_text(encoding="utf-8").encode("cp1252"))
    message = said(table, tmp_path)
    assert "row 4, column 'hospital' (Cl\\xednic); row 7, column 'hospital'" in message
    assert "encoding='cp1252'" in message
    assert build(table, tmp_path, encoding="cp1252")["hospital"][2] == "Clínic"
    assert "unknown encoding 'klingon'" in said(table, tmp_path, encoding="klingon")
    assert "is not ascii text" in said(table, tmp_path, encoding="ascii")
    frame = pd.DataFrame(rows(), columns=HEADER)
    frame["hospital"] = pd.Series(["A", "\udce9", *"BCDEFG"], dtype=object)
    assert "column 'hospital': text that is not UTF-8, 1 rows: row 2 ('\\udce9')" in said(frame, tmp_path)


def test_files_in_another_case_folder_or_without_ending_are_found(write: Table, tmp_path: Path) -> None:
    names = ["a/1.png", "a/2.png", "a/3.png", "a/4.nii.gz", "a/Clínic.png", "a/v1.2.png"]
    write([[name] for name in names])
    wanted = ["A/1.PNG", "2.png", "3", "a\\4", "a/Cli\u0301nic.png", "v1.2"]
    lines = [[name, "ab"[k % 2], f"p{k}", "A"] for k, name in enumerate(wanted)]
    cases = build(write(lines, images=False), tmp_path)
    assert cases["image"].tolist() == names
    assert cases["case_id"].tolist() == ["A/1.PNG", "2.png", "3", "a/4", "a/Cli\u0301nic.png", "v1.2"]
    assert "6 images were found by name" in describe_cases(cases)
    (tmp_path / "images" / "b").mkdir()
    (tmp_path / "images" / "b" / "2.png").write_text("another image")
    with pytest.raises(AmbiguousImagesError, match="2.png"):
        build(tmp_path / "t.csv", tmp_path)


def test_absolute_paths_below_the_folder(write: Table, tmp_path: Path) -> None:
    write(rows())
    lines = [[str(tmp_path / "images" / line[0]), *line[1:]] for line in rows()]
    assert build(write(lines, images=False), tmp_path)["image"].tolist() == [f"{k}.png" for k in range(8)]
    lines[0][0] = "C:\\images\\0.png"
    assert "absolute path outside of dataset_dir" in said(write(lines, images=False), tmp_path)


def test_missing_images(write: Table, tmp_path: Path) -> None:
    table = write(rows())
    for k in (2, 5):
        (tmp_path / "images" / f"{k}.png").unlink()
    with pytest.raises(MissingImagesError, match="t.csv, images of 2 of 8 rows are not below") as caught:
        build(table, tmp_path)
    assert caught.value.images == ["2.png", "5.png"]
    assert "row 4: 2.png\n  row 7: 5.png" in str(caught.value)
    assert build(table, tmp_path, missing="drop")["case_id"].tolist() == [
        f"{k}.png" for k in (0, 1, 3, 4, 6, 7)
    ]
    assert len(build(table, tmp_path, missing="keep")) == 8
    table = write([[f"scans/{line[0]}", *line[1:]] for line in rows()[1:]], images=False)
    with pytest.raises(MissingImagesError, match="name is at images/1.png: is dataset_dir the right folder"):
        table_cases(table, tmp_path, columns=COLUMNS)


def test_the_same_image_twice(write: Table, tmp_path: Path) -> None:
    lines = rows()
    lines[3][0] = "0.PNG"
    lines[5][0] = "./1.png"
    write(rows())
    message = said(write(lines, images=False), tmp_path)
    assert "the image of another row, 2 rows: row 5 (as row 2), row 7 (as row 3)" in message


def test_ids_of_cases(write: Table, tmp_path: Path) -> None:
    ids = ["<b>1</b>", "007", "7", "nan", "x", "y", "z", "w"]
    lines = [[*line, own] for line, own in zip(rows(), ids, strict=True)]
    columns = {**COLUMNS, "case_id": "id"}
    assert build(write(lines, [*HEADER, "id"]), tmp_path, columns=columns)["case_id"].tolist() == ids
    lines[2][4] = lines[1][4]
    lines[3][4] = ""
    message = said(write(lines, [*HEADER, "id"]), tmp_path, columns=columns)
    assert "column 'id': the id of another row, 1 rows: row 4 (as row 3)" in message
    assert "column 'id': no id, 1 rows: row 5" in message


def test_slices_of_volumes_are_different_images(write: Table, tmp_path: Path) -> None:
    lines = [[f"{k // 4}.nii.gz", "ab"[k % 2], f"p{k // 4}", f"{k % 4}"] for k in range(8)]
    columns = {**COLUMNS, "slice": "hospital"}
    cases = build(write(lines), tmp_path, columns=columns)
    assert cases["slice"].tolist() == [0, 1, 2, 3] * 2
    assert cases["case_id"][5] == "1.nii.gz#1"
    lines[3][3], lines[4][3], lines[5][3] = "1", "-1", ""
    message = said(write(lines), tmp_path, columns=columns)
    assert "column 'hospital': no whole number from 0, 2 rows: row 6 ('-1'), row 7 (empty)" in message
    lines[4][3], lines[5][3] = "0", "1"
    assert "the same in all columns, 1 rows: row 5 (as row 3)" in said(
        write(lines), tmp_path, columns=columns
    )


def test_channel_files_by_pattern_and_by_columns(write: Table, tmp_path: Path) -> None:
    files = [f"P{k}/w_{c}.png" for k in range(6) for c in "RG"]
    write([[file] for file in files])
    lines = [[str(k), "ab"[k % 2], f"p{k}", "A", f"p{k}/w_r.png", f"p{k}/w_g.png"] for k in range(6)]
    table = write(lines, ["plate", *HEADER[1:], "red", "green"], images=False)
    pattern = {**COLUMNS, "image": "P{plate}/w_{channel}.png"}
    cases = build(table, tmp_path, columns=pattern, channels=["R", "G"])
    assert cases["image"].tolist() == [[f"P{k}/w_R.png", f"P{k}/w_G.png"] for k in range(6)]
    assert cases["plate"].tolist() == list(range(6))
    columns = {**COLUMNS, "image": ["red", "green"]}
    assert build(table, tmp_path, columns=columns)["image"].tolist() == cases["image"].tolist()
    same = {**COLUMNS, "image": ["red", "red"]}
    assert "one file for two channels, 6 rows: row 2 (P0/w_R.png)" in said(table, tmp_path, columns=same)
    absent = {**COLUMNS, "image": "{plat}/{channel}.png"}
    assert "no column 'plat' (do you mean 'plate'?)" in said(table, tmp_path, columns=absent, channels=[1])
    assert "channels are for one pattern" in said(table, tmp_path, columns=columns, channels=[1, 2])
    assert "no column 'channel'" in said(table, tmp_path, columns=pattern)
    hostile = {**COLUMNS, "image": "{plate.__class__}.png"}
    assert "no column 'plate.__class__'" in said(table, tmp_path, columns=hostile)
    (tmp_path / "images" / files[3]).unlink()
    with pytest.raises(MissingImagesError, match="row 3: P1/w_G.png") as caught:
        build(table, tmp_path, columns=pattern, channels=["R", "G"])
    assert caught.value.images == ["P1/w_G.png"]
    one = {**COLUMNS, "image": "P{plate}/w_R.png"}
    assert build(table, tmp_path, columns=one)["image"].tolist() == files[::2]


def test_columns_that_are_called_like_ours(write: Table, tmp_path: Path) -> None:
    header = [*HEADER[:3], "label", "split", "table_split", "source"]
    lines = [[*line[:3], "x", "train", "y", "z"] for line in rows()]
    cases = build(write(lines, header), tmp_path)
    assert cases["table_label"].tolist() == ["x"] * 8
    assert cases["table_split"].tolist() == ["y"] * 8
    assert cases["table_table_split"].tolist() == ["train"] * 8
    assert "split" not in cases
    assert cases["source"].tolist() == ["own"] * 8
    assert "'split' is kept as 'table_table_split'" in describe_cases(cases)
    cases = build(write(lines, header), tmp_path, columns={**COLUMNS, "source": "source"})
    assert cases["source"].tolist() == ["z"] * 8
    assert "table_source" not in cases


def test_the_column_of_the_source_keeps_its_name_too(write: Table, tmp_path: Path) -> None:
    lines = rows()
    lines[7][3] = ""
    lines[1][2] = lines[7][2] = "p2"  # of three sources, with the unknown one
    cases = build(write(lines), tmp_path, columns={**COLUMNS, "source": "hospital"}, dataset="lungs")
    assert cases["source"].tolist() == [*"AAAABBB", "unknown"]
    assert cases["hospital"].isna().tolist() == [False] * 7 + [True]
    assert cases.attrs["dataset"] == "lungs"
    text = describe_cases(cases)
    assert "1 cases have no source: it is called unknown" in text
    assert "1 groups have cases of several sources" in text


def test_without_patients_every_case_is_its_own_and_the_risk_is_said(
    write: Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"image": "path", "label": "finding"}
    cases = build(write(rows()), tmp_path, columns=columns)
    assert cases["group"].nunique() == 8
    assert "these land in training and test alike" in caplog.text
    lines = [[*line[:2], "", line[3]] for line in rows()]
    caplog.clear()
    assert build(write(lines), tmp_path)["group"].nunique() == 8
    assert "these land in training and test alike" in caplog.text
    caplog.clear()
    build(write(rows()), tmp_path)
    assert "training and test alike" not in caplog.text
    assert "placeholder" in said(write([[*x[:2], "anonymous", x[3]] for x in rows(12)]), tmp_path)


def test_the_rows_of_a_faulty_table_are_counted_once(
    write: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the file once per fault, or once per row, would take hours for 200,000 rows."""
    read: list[str] = []

    def counted(name: str, text: bytes) -> Iterator[tuple[int, list[str]]]:
        read.append(name)
        return iterate_rows(name, text)

    monkeypatch.setattr("monai_sf.datasets.any_table.iterate_rows", counted)
    table = write(rows(200), images=False)
    with pytest.raises(MissingImagesError, match="images of 200 of 200 rows"):
        build(table, tmp_path)
    once = len(read)
    assert once <= 2  # the cells, and the numbers of the rows
    read.clear()
    lines = [*rows(200), *rows(200)]
    assert "200 rows" in said(write(lines), tmp_path)
    assert len(read) <= once


def test_many_classes_that_are_named_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"gene {k}" for k in range(1000)]
    asked: list[str] = []
    monkeypatch.setattr(
        "monai_sf.datasets.own_labels.did_you_mean", lambda name, known: asked.append(name) or ""
    )
    faults = Faults("t", lambda: range(1, 5002))
    labels = read_classes([*names * 5, "gene x"], "gene", names, faults)
    assert asked == ["gene x"]
    assert labels.label[:1000].tolist() == list(range(1000))
    with pytest.raises(TableError, match=r"row 5001 \('gene x'\)"):
        faults.check()


def test_cells_that_are_arrays_are_text() -> None:
    column = pd.Series([np.zeros(2), None, np.ones(2)], dtype=object)
    assert as_texts(column).to_pylist() == ["[0. 0.]", None, "[1. 1.]"]
