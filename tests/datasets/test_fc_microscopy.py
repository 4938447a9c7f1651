from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from helpers.published_tables import RXRX1, rxrx1_row, touch, write
from monai_sf.datasets import MissingImagesError, TableError, build_cases, split_cases
from monai_sf.datasets.fc_microscopy import TARGET_EXPERIMENTS
from monai_sf.datasets.same_names import AmbiguousImagesError

EXPERIMENTS = [
    f"{cell}-{i:02d}"
    for cell, count in (("HEPG2", 11), ("HUVEC", 24), ("RPE", 11), ("U2OS", 5))
    for i in range(1, count + 1)
]


def channels(experiment: str, well: str, site: int) -> list[str]:
    return [f"images/{experiment}/Plate1/{well}_s{site}_w{c}.png" for c in range(1, 7)]


def test_six_channels_in_order_and_the_well_as_group(tmp_path: Path) -> None:
    rows = [("HUVEC-01", "B02", 1, 7), ("HUVEC-01", "B02", 2, 7), ("HUVEC-01", "B03", 1, 0)]
    write(tmp_path, "rxrx1/metadata.csv", RXRX1, *(rxrx1_row(*row) for row in rows))
    touch(tmp_path / "elsewhere", [c for e, w, s, _ in rows for c in channels(e, w, s)])
    cases = build_cases("fc_microscopy", tmp_path)
    assert cases["image"][1] == [f"elsewhere/{c}" for c in channels("HUVEC-01", "B02", 2)]
    assert cases["label"].tolist() == [7, 7, 0]
    assert cases["label_name"].tolist() == ["s7", "s7", "s0"]
    assert cases["group"].tolist() == ["rxrx1-HUVEC-01_1_B02"] * 2 + ["rxrx1-HUVEC-01_1_B03"]
    assert cases["cell_type"].tolist() == ["HUVEC"] * 3
    (tmp_path / "elsewhere" / channels("HUVEC-01", "B03", 1)[4]).unlink()
    with pytest.raises(MissingImagesError, match="images of 1 of 3 cases") as caught:
        build_cases("fc_microscopy", tmp_path)
    assert caught.value.images == ["rxrx1/" + channels("HUVEC-01", "B03", 1)[4]]
    assert len(build_cases("fc_microscopy", tmp_path, missing="drop")) == 2


def test_differing_files_of_all_channels_are_listed_at_once(tmp_path: Path) -> None:
    rows = [("HUVEC-01", "B02", 1, 7), ("HUVEC-01", "B02", 2, 7), ("RPE-01", "B03", 1, 0)]
    write(tmp_path, "rxrx1/metadata.csv", RXRX1, *(rxrx1_row(*row) for row in rows))
    touch(tmp_path / "rxrx1", [c for e, w, s, _ in rows for c in channels(e, w, s)])
    wrong = [channels("RPE-01", "B03", 1)[0], channels("HUVEC-01", "B02", 2)[5]]
    for folder in ("a", "b"):
        for image in wrong:
            (tmp_path / "rxrx1" / image).unlink(missing_ok=True)
            (tmp_path / folder / image).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / image).write_text(folder)
    with pytest.raises(AmbiguousImagesError, match="2 images of a table match several files") as caught:
        build_cases("fc_microscopy", tmp_path)
    assert caught.value.images == [(f"a/{image}", f"b/{image}") for image in wrong]
    assert all(image in str(caught.value) for image in wrong)


def test_numbers_that_came_as_floats(tmp_path: Path) -> None:
    row = rxrx1_row("HUVEC-01", "B02", 1, 7)
    write(tmp_path, "metadata.csv", RXRX1, row)
    touch(tmp_path, channels("HUVEC-01", "B02", 1))
    expected = build_cases("fc_microscopy", tmp_path)
    names, cells = RXRX1.split(","), row.split(",")
    for name in ("plate", "site", "sirna_id"):
        cells[names.index(name)] += ".0"
    write(tmp_path, "metadata.csv", RXRX1, ",".join(cells))
    assert build_cases("fc_microscopy", tmp_path).equals(expected)


def test_zipped_table(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rxrx1-metadata.zip", "w") as archive:
        archive.writestr("rxrx1/metadata.csv", f"{RXRX1}\n{rxrx1_row('U2OS-01', 'B02', 1, 3)}\n")
        archive.writestr("__MACOSX/metadata.csv", "rubbish")
    cases = build_cases("fc_microscopy", tmp_path, missing="keep")
    assert cases["image"][0][0] == "images/U2OS-01/Plate1/B02_s1_w1.png"


def test_ten_target_experiments_drawn_once() -> None:
    def rank(name: str) -> bytes:
        return hashlib.blake2b(f"0:{name}".encode(), digest_size=16).digest()

    assert tuple(sorted(sorted(EXPERIMENTS, key=rank)[:10])) == TARGET_EXPERIMENTS
    left = set(EXPERIMENTS) - set(TARGET_EXPERIMENTS)
    assert {name.split("-")[0] for name in left} == {"HEPG2", "HUVEC", "RPE", "U2OS"}


def test_batches(tmp_path: Path) -> None:
    rows = [rxrx1_row(e, f"B{w:02d}", 1, w % 2) for e in EXPERIMENTS for w in range(4)]
    write(tmp_path, "metadata.csv", RXRX1, *rows)
    cases = build_cases("fc_microscopy", tmp_path, missing="keep")
    splits = split_cases(cases, "batches", 0)
    in_target = splits["split"] == "target"
    assert set(splits["experiment"][in_target]) == set(TARGET_EXPERIMENTS)
    assert set(splits["cell_type"][splits["split"] == "train"]) == {"HEPG2", "HUVEC", "RPE", "U2OS"}
    only_target = cases[cases["experiment"] == TARGET_EXPERIMENTS[0]]
    with pytest.raises(ValueError, match="no case at all"):
        split_cases(only_target, "batches", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(sirna_id="a"), "sirna_id must be whole numbers, 1 are not .*'a'"),
        (lambda f: f.assign(experiment=None), r"has empty cells \(rows\): experiment \(1\)"),
        (lambda f: pd.concat([f, f]), "1 site_id occur in more than one row"),
        (lambda f: f.drop(columns="well"), "lacks the columns well; it has site_id"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, change, message: str) -> None:
    path = write(tmp_path, "metadata.csv", RXRX1, rxrx1_row("U2OS-01", "B02", 1, 3))
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(TableError, match=message):
        build_cases("fc_microscopy", tmp_path, missing="keep")


def test_a_well_of_two_spellings_is_one(tmp_path: Path) -> None:
    rows = [rxrx1_row("HUVEC-01", "B02", 1, 7), rxrx1_row("HUVEC-01", "B02", 2, 7)]
    rows[1] = rows[1].replace("HUVEC-01_1_B02,", "huvec-01_1_b02,")
    write(tmp_path, "rxrx1/metadata.csv", RXRX1, *rows)
    cases = build_cases("fc_microscopy", tmp_path, missing="keep")
    assert cases["group"].tolist() == ["rxrx1-HUVEC-01_1_B02"] * 2
    assert any(
        "well_id: 1 group is spelled in more than one way" in n for n in cases.attrs["reading"]["notes"]
    )
