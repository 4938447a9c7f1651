"""Tables as CSV, with a lossless round trip of values and types.

CSV has text only, so each column has a *kind* that is stored beside the file (:func:`encode_table`):

    text        any text; an empty cell is an empty text
    optional    text, or missing where the cell is empty
    json        a JSON value per cell: mixed types, lists of paths, text that CSV readers truncate (NUL)
    int64, ...  a dtype of NumPy or pandas: numbers, booleans, dates; missing where the cell is empty

A value that cannot be stored is refused on writing.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_NUMBER = re.compile(r"(?P<name>bool|[Bb]oolean|[Uu]?[Ii]nt|[Ff]loat)(8|16|32|64)?")
_DATE = re.compile(r"datetime64\[.*\]")
#: Characters that CSV readers do not return, even from a quoted cell: the end of a C string, surrogates, and
#: at the start of a file the byte order mark.
_NOT_IN_CSV = re.compile("[\0\ud800-\udfff\ufeff]")
_NOT_IN_HEADER = re.compile("[\0\r\n\ud800-\udfff\ufeff]")


def encode_table(table: pd.DataFrame) -> tuple[str, dict[str, Any]]:
    r"""Return a table as CSV, and the schema that :func:`decode_table` needs to read it.

    Args:
        table: the index is left out. A categorical is read back as its values, a tuple as a list, and a
            missing value as that of its column's dtype (NaN, NaT, None).

    Returns:
        The text, with ``\n`` between the rows; and the JSON-able schema: ``rows``, their number, and
        ``columns``, pairs of name and kind.

    Raises:
        ValueError: columns without a unique name, or a cell that is not a text, number, boolean, date, or
            list of these; names column and row.
    """
    names = list(table.columns)
    odd = [name for name in names if not isinstance(name, str)]
    if odd or len(set(names)) < len(names):
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        raise ValueError(f"columns need unique names; not a text: {odd}, more than once: {twice}")
    encoded = [_encode(name, table.iloc[:, i]) for i, name in enumerate(names)]
    header = [json.dumps(name) if _NOT_IN_HEADER.search(name) else name for name in names]
    columns = [[name, kind] for name, (kind, _) in zip(names, encoded, strict=True)]
    text = _csv(header, [cells for _, cells in encoded])
    return text, {"rows": len(table), "columns": columns}


def csv_text(table: pd.DataFrame, float_format: str = "") -> str:
    """Return a table as CSV for other programs to read, in the form of :func:`encode_table`.

    Args:
        table: the index is left out.
        float_format: such as ``%.10g``; by default all digits of a number.

    Raises:
        ValueError: as :func:`encode_table`.
    """
    if float_format:
        table = table.copy()
        for name in table.columns[[dtype.kind == "f" for dtype in table.dtypes]]:
            table[name] = [float_format % value if value == value else None for value in table[name]]
    return encode_table(table)[0]


def decode_table(path: Path, schema: Any) -> pd.DataFrame:
    """Return the table that :func:`encode_table` was given.

    Raises:
        ValueError: file and schema do not match.
    """
    columns: list[tuple[str, str]] = [(str(name), str(kind)) for name, kind in schema["columns"]]
    if not columns:
        return pd.DataFrame(index=range(schema["rows"]))
    read = pd.read_csv(
        path,
        header=None,
        skiprows=1,
        names=list(range(len(columns))),
        index_col=False,
        dtype=str,
        na_filter=False,
        skip_blank_lines=False,
        encoding="utf-8",
        on_bad_lines="error",
    )
    if len(read) != schema["rows"] or read.isna().to_numpy().any():
        raise ValueError(f"{path.name} has {len(read)} rows or lacks cells, expected {schema['rows']} rows")
    return pd.DataFrame(
        {
            name: read[i] if kind == "text" else _decode(kind, read[i].tolist())
            for i, (name, kind) in enumerate(columns)
        },
        index=range(schema["rows"]),
    )


def not_utf8(values: Sequence[Any] | pd.Series[Any]) -> list[str]:
    """Return the texts that hold surrogates, as file names that are not UTF-8 do."""
    listed = values.tolist() if isinstance(values, pd.Series) else values  # far faster one by one
    found = []
    for value in [v for v in listed if isinstance(v, str) and not v.isascii()]:
        try:
            value.encode()
        except UnicodeEncodeError:
            found.append(ascii(value))
    return found


class _Lines(io.StringIO):
    """A buffer with LF between rows; the writer must use CRLF, to quote a carriage return in a cell."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix("\r\n") + "\n")


def _csv(header: list[str], columns: list[list[str]]) -> str:
    lines = _Lines(newline="")
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return lines.getvalue()


def _encode(name: str, column: pd.Series[Any]) -> tuple[str, list[str]]:
    kind = str(column.dtype)
    if _NUMBER.fullmatch(kind) or _DATE.fullmatch(kind):
        show: Callable[[Any], str] = pd.Timestamp.isoformat if _DATE.fullmatch(kind) else str
        gaps = column.isna()
        return kind, ["" if gap else show(value) for value, gap in zip(column.array, gaps, strict=True)]
    values = column.tolist()
    missing = column.isna().tolist()
    texts = ["" if gone else value for value, gone in zip(values, missing, strict=True)]
    plain = all(isinstance(text, str) for text in texts) and not _NOT_IN_CSV.search("".join(texts))
    if plain and not any(missing):
        return "text", [str(text) for text in texts]
    if plain and sum(missing) == sum(text == "" for text in texts):
        return "optional", [str(text) for text in texts]
    return "json", [_json(name, row, value) for row, value in enumerate(values)]


def _json(name: str, row: int, value: Any) -> str:
    try:
        return json.dumps(_jsonable(value))
    except (TypeError, RecursionError) as error:
        raise ValueError(
            f"column {name!r}, row {row}: a {type(value).__name__} cannot be stored ({error}); a cell is a "
            "text, a number, a boolean, a date, or a list of these"
        ) from None


def _jsonable(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_jsonable(entry) for entry in value]
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError("no JSON")


def _decode(kind: str, cells: list[str]) -> Any:
    if kind == "optional":
        texts = pd.Series(cells)
        return texts.where(texts != "")
    if kind == "json":
        return pd.Series([json.loads(cell) for cell in cells], dtype=object)
    if _DATE.fullmatch(kind):
        dates = pd.Series([cell or None for cell in cells], dtype=object)
        return pd.to_datetime(dates, format="ISO8601", utc="," in kind).astype(kind)  # type: ignore[call-overload]
    if not (number := _NUMBER.fullmatch(kind)):
        raise ValueError(f"unknown kind of column {kind!r}")
    parse = _PARSERS[number["name"][0].lower()]
    nothing = math.nan if kind.startswith("float") else None
    return pd.Series([parse(cell) if cell else nothing for cell in cells], dtype=kind)


#: By the first letter of a dtype.
_PARSERS: dict[str, Callable[[str], Any]] = {
    "b": {"True": True, "False": False}.__getitem__,
    "f": float,
    "i": int,
    "u": int,
}
