from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.published_tables import chexpert, labels, write
from monai_sf.datasets import TableError, build_cases, table_rows
from monai_sf.datasets import tables as tables_module
from monai_sf.datasets.table_rows import read_cells
from monai_sf.datasets.tables import TableFile, find_table, read_columns, read_header, whole_numbers
from monai_sf.datasets.tree import read_tree

GOOD = ["id,Consolidation,Edema,note", "a,1,0,", "b,0,1,x", "c,1,0,y"]


def cells(*lines: str) -> list[list[str | None]]:
    return read("\n".join(lines) + "\n", ["id", "Edema"])


def read(text: str, columns: list[str]) -> list[list[str | None]]:
    return [column.to_pylist() for column in read_cells("t.csv", text.encode(), columns)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_right_cells_whatever_ends_the_lines(end: str) -> None:
    for last in (end, ""):
        text = end.join(GOOD) + last
        assert read(text, ["id", "Edema"]) == [["a", "b", "c"], ["0", "1", "0"]]


@pytest.mark.parametrize(("row", "count"), [("b,1,x", 3), ("b,0,,1,x", 5), ("b", 1), ("b,0,1,x,", 5)])
def test_a_cell_too_few_or_too_many_is_refused_with_all_lines(row: str, count: int) -> None:
    with pytest.raises(TableError) as caught:
        cells(*GOOD, row, "d,1,0,z", row)
    assert f"2 rows do not fit it: line 5 ({count} cells), line 7 ({count} cells)" in str(caught.value)


def test_a_delimiter_too_many_behind_all_rows_is_no_column() -> None:
    header, *rows = GOOD
    expected = cells(*GOOD)
    assert cells(header, *(row + "," for row in rows)) == expected
    assert cells(header + ",", *rows) == expected
    assert cells(header + ",", *(row + "," for row in rows)) == expected
    with pytest.raises(TableError, match=r"2 rows do not fit .*line 2 \(5 cells\), line 4"):
        cells(header, rows[0] + ",", rows[1], rows[2] + ",")
    with pytest.raises(TableError, match=r"text below cells without a name: line 3 \(5 cells\)"):
        cells(header + ",", rows[0] + ",", "b,0,0,1,x", rows[2] + ",")


def test_commas_inside_of_a_name_are_columns_as_in_the_rows() -> None:
    """The header of NIH's table of 2020."""
    assert cells("id,Edema,Size[Width,Height]", "a,1,20,30", "b,0,20,30") == [["a", "b"], ["1", "0"]]
    with pytest.raises(TableError, match=r"line 3 \(3 cells\)"):
        cells("id,Edema,Size[Width,Height]", "a,1,20,30", "b,0,20")


def test_a_column_that_stands_twice_is_refused() -> None:
    for name in ("Edema", " Edema ", "EDEMA", "\ufeffEdema"):
        with pytest.raises(TableError, match=r"more than once: Edema \(columns 2, 3\)"):
            cells(f"id,Edema,{name}", "a,1,0")
    assert cells("\ufeffid,Edema,x,x", "a,1,0,0") == [["a"], ["1"]]


@pytest.mark.parametrize(
    "lines",
    [
        (GOOD[0], 'a,1,0,"open', *GOOD[2:]),
        (GOOD[0], 'a,"1,0,x', 'b,0"1,0,x', *GOOD[2:]),
        (GOOD[0], 'a,1,0,"open', "b,0,1,x", 'c,1,0,close"'),
        (GOOD[0], '"a', "b,0,1,x", 'c",1,0,y'),
    ],
)
def test_quotes_that_never_close_swallow_no_row(lines: tuple[str, ...]) -> None:
    with pytest.raises(TableError, match=r"t\.csv, line \d+: .*quote"):
        cells(*lines)


def test_quoted_cells_may_hold_delimiters_quotes_and_line_ends() -> None:
    header, *rows = GOOD
    text = [header, 'a,1,0,"x, ""y""\nz, w"', "", *rows[1:], "  "]
    assert cells(*text) == [["a", "b", "c"], ["0", "1", "0"]]


def test_blank_cells_are_missing() -> None:
    assert cells(GOOD[0], "NA,1,  ,", "b ,1, 0,") == [[None, "b"], [None, "0"]]


@pytest.mark.parametrize("kind", ["t.csv", "t.csv.gz", "t.zip", "t.tsv"])
def test_every_kind_of_file_is_checked(tmp_path: Path, kind: str) -> None:
    mark = "\t" if kind == "t.tsv" else ","
    text = "\n".join([*GOOD[:2], "b,1,x"]).replace(",", mark) + "\n"
    if kind == "t.zip":
        with zipfile.ZipFile(tmp_path / kind, "w") as archive:
            archive.writestr("t.csv", text)
    else:
        (tmp_path / kind).write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    tree = read_tree(tmp_path)
    table = find_table(tree, r"t\.[ct]sv", ["id", "Edema"])
    assert table is not None
    with pytest.raises(TableError, match=re.escape(f"{table}: the header has 4 cells, and 1 rows")):
        read_columns(tree, table, ["id", "Edema"])


def test_no_label_moves_in_a_dataset(tmp_path: Path) -> None:
    names = {f"patient0000{i}/study1/view1_frontal.jpg": labels(Edema=1) for i in range(4)}
    path = chexpert(tmp_path, names)
    assert set(build_cases("chest_xray", tmp_path)["label_name"]) == {"Edema"}
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace(",,", ",", 1), *lines[3:]]) + "\n")
    with pytest.raises(TableError, match=r"train\.csv: the header has .* line 3 "):
        build_cases("chest_xray", tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_old_macs_and_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("x,y,z\ra,1,\xe9\rb,2,\xe4\r".encode(encoding))
    tree = read_tree(tmp_path)
    table = find_table(tree, r"t\.csv", ["x", "y", "z"])
    assert table is not None
    assert read_columns(tree, table, ["x", "z"]).to_dict("list") == {"x": ["a", "b"], "z": ["\xe9", "\xe4"]}


def test_small_files_that_hold_huge_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", "x" * (1 << 24))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"x" * (1 << 24)))
    with pytest.raises(TableError, match=r"first line of t\.csv\.gz .* is not a table.*first line of a\.zip"):
        find_table(read_tree(tmp_path), r"t\.csv", ["x"])
    monkeypatch.setattr(tables_module, "LARGEST_TABLE", 1000)
    write(tmp_path, "big.csv", "x,y", *["1,2"] * 1000)
    with pytest.raises(TableError, match=r"big\.csv unpacks to more than 1,000 bytes"):
        read_columns(read_tree(tmp_path), TableFile("big.csv"), ["x"])


def test_a_huge_line_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "_LONGEST_LINE", 10)
    write(tmp_path, "t.csv", "x,y,z", "a,b,c")
    assert read_header(read_tree(tmp_path), TableFile("t.csv")) == ["x", "y", "z"]
    write(tmp_path, "t.csv", "x,y,zzzzzzz", "a,b,c")
    with pytest.raises(TableError, match="longer than 10 bytes"):
        read_header(read_tree(tmp_path), TableFile("t.csv"))


def test_encrypted_archives_are_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("t.csv", "x,y\n1,2\n")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(TableError, match=r"a\.zip \(t\.csv\) is encrypted: unpack it"):
        find_table(read_tree(tmp_path), r"t\.csv", ["x"])


def test_whole_numbers() -> None:
    table = TableFile("t.csv")
    assert whole_numbers(table, pd.Series(["10000032.0", "7", "8."]), "id").tolist() == ["10000032", "7", "8"]
    with pytest.raises(TableError, match=r"id must be whole numbers, 3 are not .*row 2 \('1.5'\), row 3"):
        whole_numbers(table, pd.Series(["1", "1.5", None, "1e7"]), "id")


_PIECES = (
    "a,b\n",
    " NA, c\r\n",
    '"q",3\n',
    '"x\ny",1\n',
    ",\n",
    "4,5,6\n",
    "7\n",
    "\n",
    '"',
    "8,9",
    "1, \r",
    "\u3000é\x1f,\x85\n",
)


@given(
    st.sampled_from(["x,y\n", "x,y,\n", "\nx,y\n", "x;y\n", '"x",y\r\n', "x,y,z\n"]),
    st.lists(st.sampled_from(_PIECES)),
)
def test_the_fast_way_says_what_the_careful_one_says(header: str, pieces: list[str]) -> None:
    content = header + "".join(pieces)

    def found() -> object:
        try:
            return read(content, ["y", "x"])
        except TableError as error:
            return str(error)

    fast = found()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_rows, "_plain_columns", lambda *_: None)
        assert found() == fast
