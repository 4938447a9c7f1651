"""Tables of one's own, and the case tables that are built of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from monai_sf.datasets import table_cases

COLUMNS = {"image": "path", "label": "finding", "group": "patient"}


HEADER = ["path", "finding", "patient", "hospital"]


Table = Callable[..., Path]


def rows(count: int = 8) -> list[list[str]]:
    return [[f"{k}.png", ("well", "sick")[k % 2], f"p{k // 2}", "AB"[k // 4 % 2]] for k in range(count)]


def build(table: Any, folder: Path, **more: Any) -> pd.DataFrame:
    return table_cases(table, folder / "images", **{"columns": COLUMNS, **more})


def said(table: Any, folder: Path, **more: Any) -> str:
    with pytest.raises(ValueError, match="^") as caught:
        build(table, folder, **more)
    return str(caught.value)
