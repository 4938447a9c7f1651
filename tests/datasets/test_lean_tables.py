"""Case tables of millions of cases: what a case takes in memory, and that nobody can tell."""

from __future__ import annotations

import hashlib
import pickle
import sys
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.published_tables import write
from monai_sf.data import case_records
from monai_sf.datasets import build_cases, split_cases, table_cases
from monai_sf.datasets.chest_xray import LABEL_NAMES
from monai_sf.datasets.path_lists import PathLists
from monai_sf.datasets.texts import arrow_texts, stripped
from monai_sf.results.case_table import encode_table
from monai_sf.vocabulary.ids import case_notes, group_cases

MOST = 400  # bytes per case
MANY = 20_000
lean = pytest.mark.skipif(int(pd.__version__.split(".")[0]) < 3, reason="Arrow's text is pandas 3's")


def chest_xray(root: Path, count: int) -> pd.DataFrame:
    findings = ("Effusion", "No Finding", "Edema|Pneumonia", "Pneumothorax", "Effusion|Mass")
    rows = [f"{k // 3:08d}_{k % 3:03d}.png,{findings[k % 5]},{k // 3}" for k in range(count)]
    write(root, "nih14/Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID", *rows)
    rows = [
        f"CheXpert-v1.0/train/patient{k // 2:05d}/study1/view{k % 2 + 1}_frontal.jpg,Frontal,"
        + ",".join(("1.0", "", "0.0", "-1.0")[(3 * k + j * j) % 4 if j != k % 8 else 0] for j in range(8))
        for k in range(count)
    ]
    names = LABEL_NAMES
    write(root, "chexpert/train.csv", f"Path,Frontal/Lateral,{','.join(names)}", *rows)
    return build("chest_xray", root)


def fc_microscopy(root: Path, count: int) -> pd.DataFrame:
    header = "site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna,sirna_id"
    rows = []
    for k in range(count):
        cell, well = ("HEPG2", "HUVEC", "RPE")[k % 3], f"{'BCDEFGHIJK'[k // 20 % 10]}{k // 200:04d}"
        site = f"{cell}-{k // 6 % 10:02d}_1_{well}"
        sirna = k // 2 % 100
        rows.append(
            f"{site}_{k},{site},{cell},train,{cell}-{k // 6 % 10:02d},1,{well},{k},treatment,s{sirna},{sirna}"
        )
    write(root, "rxrx1/metadata.csv", header, *rows)
    return build("fc_microscopy", root)


def own(root: Path, count: int) -> pd.DataFrame:
    rows = [
        f"site{k % 7}/scan{k:08d}.png,{'ab'[k % 3 > 0]},P{k // 3:07d},H{k % 7},{k % 50}" for k in range(count)
    ]
    write(root, "t.csv", "path,finding,patient,hospital,age", *rows)
    return build("own", root)


def build(name: str, root: Path) -> pd.DataFrame:
    if name != "own":
        return build_cases(name, root, missing="keep")
    columns = {"image": "path", "label": "finding", "group": "patient", "source": "hospital"}
    return table_cases(root / "t.csv", root, columns=columns, missing="keep")


TABLES = {"chest_xray": chest_xray, "fc_microscopy": fc_microscopy, "own": own}


@lean
@pytest.mark.parametrize("name", TABLES)
def test_a_case_takes_few_bytes(name: str, tmp_path: Path) -> None:
    TABLES[name](tmp_path, MANY)
    tracemalloc.start()  # Python's and NumPy's, in which the texts of cases were; Arrow has its own
    try:
        cases = build(name, tmp_path)
        peaks = [tracemalloc.get_traced_memory()[1]]
        tracemalloc.reset_peak()
        splits = split_cases(cases, "iid", 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert max(peaks) < MOST * len(cases)
    assert cases.memory_usage(deep=True).sum() < MOST * len(cases)
    assert splits.memory_usage(deep=True).sum() < MOST * len(splits)
    records = case_records(splits, ["train", "val", "calibration", "iid"], tmp_path)
    assert len(pickle.dumps(records)) < MOST * len(splits)


@pytest.mark.parametrize(
    ("name", "table", "splits"),
    [
        ("chest_xray", "7270f92417f96424", "f69e8279392b2621"),
        ("fc_microscopy", "9147b9be06374cd4", "12b5acea35ece194"),
        ("own", "7e07f550a04e6c45", "53c89fdcc4a68c73"),
    ],
)
def test_the_tables_are_those_of_python_texts(name: str, table: str, splits: str, tmp_path: Path) -> None:
    """The bytes of cases.csv as they were when each cell was a text of its own."""
    cases = TABLES[name](tmp_path, 500)
    written = [encode_table(one)[0].encode() for one in (cases, split_cases(cases, "iid", 3))]
    assert [hashlib.blake2b(one, digest_size=8).hexdigest() for one in written] == [table, splits]


paths = st.text("aé/.1 ", min_size=1, max_size=4)


def lists_of_paths(width: int) -> st.SearchStrategy[list[list[str]]]:
    regular = st.lists(paths).map(lambda stems: [[f"{stem}w{k}.png" for k in range(width)] for stem in stems])
    return st.one_of(regular, st.lists(st.lists(paths, min_size=width, max_size=width)))


@given(st.integers(1, 4).flatmap(lists_of_paths), st.data())
def test_lists_of_paths_read_like_lists(lists: list[list[str]], data: st.DataObject) -> None:
    width = len(lists[0]) if lists else 2
    channels = [arrow_texts([one[k] for one in lists]) for k in range(width)]
    column = pd.Series(PathLists.of_channels(channels))
    usual = pd.Series(lists, dtype=object)
    assert column.tolist() == list(column) == lists
    assert [column.iloc[k] for k in range(len(lists))] == lists
    assert all(type(one) is list and all(type(text) is str for text in one) for one in column)
    assert column.explode().tolist() == usual.explode().tolist() or not lists
    mask = pd.Series(data.draw(st.lists(st.booleans(), min_size=len(lists), max_size=len(lists))), dtype=bool)
    assert column[mask].tolist() == usual[mask].tolist()
    other = [[text + "x" for text in one] for one in lists[:2]]
    both = pd.concat(
        [column, pd.Series(PathLists.of_channels([arrow_texts([o[k] for o in other]) for k in range(width)]))]
    )
    assert both.tolist() == lists + other
    frame, same = (pd.DataFrame({"id": range(len(lists)), "image": one}) for one in (column, usual))
    for scalar in ("x", None, 3, float("nan")):
        assert (column == scalar).tolist() == (usual == scalar).tolist() == [False] * len(lists)
        assert (column != scalar).all()
    assert (column == column).all()
    assert (column.array == [*lists[:1], *([["another"]] * len(lists))[1:]]).tolist() == [
        k == 0 for k in frame.index
    ]
    assert frame.to_csv() == same.to_csv()
    assert frame.to_dict("records") == same.to_dict("records")
    assert frame.equals(frame.copy())
    assert encode_table(frame) == encode_table(same)
    assert pickle.loads(pickle.dumps(frame))["image"].tolist() == lists  # noqa: S301
    joined = [
        frame.merge(pd.DataFrame({"id": [0, -1]}), on="id", how="right")["image"].tolist()[:1]
        for frame in (frame, same)
    ]
    assert joined[0] == joined[1] or not lists


def test_lists_of_paths_hold_their_common_part_once() -> None:
    channels = [
        arrow_texts([f"images/HUVEC-01/Plate1/B{k:03d}_s1_w{c}.png" for k in range(999)]) for c in range(1, 7)
    ]
    lean, loose = PathLists.of_channels(channels), PathLists.of_channels([*channels[:5], channels[0]])
    assert lean.nbytes * 5 < sum(texts.nbytes for texts in channels)
    assert loose.tolist() == [[*six[:5], six[0]] for six in lean]
    with pytest.raises(TypeError, match="all of one length"):
        PathLists._from_sequence([["a"], ["a", "b"]])


def test_what_lists_of_paths_cannot_do_is_said() -> None:
    lists = [["a_w1", "a_w2"], ["b_w1", "b_w2"]]
    column = pd.Series(PathLists.of_channels(arrow_texts([one[k] for one in lists]) for k in range(2)))
    for change in (
        lambda: column.shift(1),
        lambda: column.where([True, False]),
        lambda: column.mask([True, False], "x"),
        lambda: column.array.__setitem__(0, ["c", "d"]),
    ):
        with pytest.raises(TypeError, match=r"are not changed: make a column of objects of them first"):
            change()
    usual = column.astype(object)
    usual[1] = ["c", "d"]
    assert usual.tolist() == [lists[0], ["c", "d"]]
    assert usual.str[0].tolist() == ["a_w1", "c"]
    with pytest.raises(ValueError, match="Lengths must match"):
        _ = column == lists[:1]


@given(
    st.lists(
        st.one_of(
            st.text("ab0１７ .-Aß\u200b", max_size=4), st.sampled_from(["na", "NaN", "007", "7", "p1", "P1"])
        )
    )
)
def test_groups_of_a_column_are_those_of_a_list(texts: list[str]) -> None:
    for column in (texts, [f"p{text}" for text in texts], [str(len(text)) for text in texts]):
        one, other = group_cases(pd.Series(column, dtype="str")), group_cases(column)
        for name in ("of_case", "ids", "names", "missing"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()
        assert (one.united, one.notes) == (other.united, other.notes)
        assert case_notes(pd.Series(column, dtype="str")) == case_notes(column)


def test_texts_are_stripped_as_python_does() -> None:
    characters = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
    one_each = [f"{one}x{one}" for one in characters]
    assert stripped(arrow_texts(one_each)).to_pylist() == [text.strip() for text in one_each]


def test_records_are_dictionaries_like_any(tmp_path: Path) -> None:
    splits = split_cases(fc_microscopy(tmp_path, 600), "iid", 0)
    records = case_records(splits, ["iid", "val"], "/d")
    chosen = splits[splits["split"].isin(["iid", "val"])]
    assert [record["image"] for record in records] == [[f"/d/{i}" for i in six] for six in chosen["image"]]
    assert [record["case_id"] for record in records] == chosen["case_id"].tolist()
    assert records.splits.tolist() == chosen["split"].tolist() == [record["split"] for record in records]
    assert records[-1] == records[len(records) - 1] == records[-2:][1]
    assert pickle.loads(pickle.dumps(records))[3] == records[3]  # noqa: S301
    records[0]["image"] = "another"
    assert records[0]["image"] == [f"/d/{i}" for i in chosen["image"].iloc[0]]
    with pytest.raises(IndexError):
        records[len(records)]
