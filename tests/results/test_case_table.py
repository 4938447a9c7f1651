"""What a table holds comes back equal from CSV, and what cannot is refused."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from monai_sf.results.case_table import csv_text, decode_table, encode_table, not_utf8

TABLE = pd.DataFrame(
    {
        "text": ["007", "1e5", "NA", " x ", '"', ""],
        "line ends": ["\r", "\r\n", "\n", "a\rb", "\u2028", "\x1a"],
        "NUL": ["a\0b", "\0", "", "x", "y", "z"],
        "optional": ["a", None, "b", np.nan, "c", "d"],
        "optional and empty": ["a", None, "", "b", "c", "d"],
        "mixed": [1, "1", True, None, 2.5, ["a", "b"]],
        "int32": np.arange(6, dtype=np.int32),
        "uint64": np.full(6, 2**64 - 1, np.uint64),
        "float": [0.1, np.nan, np.inf, -0.0, 5e-324, 1 / 3],
        "float32": np.float32([0.1, 0.2, 0.3, 1, 2, np.nan]),
        "bool": [True, False] * 3,
        "nullable": pd.array([1, None, 3, 4, 5, 2**60 + 1], dtype="Int64"),
        "boolean": pd.array([True, None, False] * 2, dtype="boolean"),
        "date": pd.to_datetime(["2020-01-01", "2020-01-01T10:11:12.5", None] * 2, format="ISO8601"),
        "zone": pd.to_datetime(["2020-07-01T10:00:00Z"] * 6).tz_convert("Europe/Berlin"),
        "category": pd.Categorical(["x", "y"] * 3),
        '\ufeffname, with\r\n"': list("abcdef"),
        "": list("abcdef"),
    }
)


def plain(column):
    return [None if not isinstance(v, list) and pd.isna(v) else v for v in column.tolist()]


def test_every_kind_comes_back(tmp_path):
    text, schema = encode_table(TABLE)
    (tmp_path / "t.csv").write_bytes(text.encode())
    read = decode_table(tmp_path / "t.csv", schema)
    assert list(read.columns) == list(TABLE.columns)
    for name in TABLE:
        assert plain(read[name]) == plain(TABLE[name]), name
        assert [*map(type, plain(read[name]))] == [*map(type, plain(TABLE[name]))], name
        if name != "category" and TABLE[name].dtype.kind in "biufM":
            assert read[name].dtype == TABLE[name].dtype
    assert np.signbit(read["float"][3])
    assert encode_table(read) == (text, schema)


def test_other_programs_read_the_text():
    rows = list(csv.reader(io.StringIO(csv_text(TABLE[["text", "line ends", "float32"]]), newline="")))
    assert rows[0] == ["text", "line ends", "float32"]
    assert [row[:2] for row in rows[1:]] == TABLE[["text", "line ends"]].to_numpy().tolist()
    assert rows[1][2] == "0.1"
    assert csv_text(pd.DataFrame({"a": [1 / 3, np.nan], "b": [1, 2]}), "%.3g") == "a,b\n0.333,1\n,2\n"


@pytest.mark.parametrize(
    "table", [TABLE.iloc[:0], pd.DataFrame({"only": ["", "a"]}), pd.DataFrame(index=[0, 1])]
)
def test_small_tables_come_back(tmp_path, table):
    text, schema = encode_table(table)
    (tmp_path / "t.csv").write_bytes(text.encode())
    read = decode_table(tmp_path / "t.csv", schema)
    assert read.shape == table.shape
    assert list(read.columns) == list(table.columns)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"more than once: \['a'\]"),
        (pd.DataFrame([[1, 2]]), r"not a text: \[0, 1\]"),
        (pd.DataFrame({"a": [1, {2}]}), "column 'a', row 1: a set cannot be stored"),
        (pd.DataFrame({"a": [["x", [1j]]]}), "column 'a', row 0: a list cannot be stored"),
        (pd.DataFrame({"a": [1j]}), "column 'a', row 0: a complex cannot be stored"),
    ],
)
def test_what_cannot_come_back_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        encode_table(table)


@pytest.mark.parametrize(
    "change", [lambda t: t + "c,3\n", lambda t: t[:4], lambda t: t + "c\n", lambda t: t + "c,3,4\n"]
)
def test_a_text_that_does_not_fit_its_schema_is_refused(tmp_path, change):
    text, schema = encode_table(pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}))
    (tmp_path / "t.csv").write_text(change(text))
    with pytest.raises(ValueError, match="rows|fields"):
        decode_table(tmp_path / "t.csv", schema)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match="unknown kind of column 'object'"):
        decode_table(tmp_path / "t.csv", schema | {"columns": [["a", "text"], ["b", "object"]]})


def test_halves_of_characters_are_found():
    assert not_utf8(["a", "é", "\udcff", None, 3]) == ["'\\udcff'"]
