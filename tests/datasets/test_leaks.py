from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from monai_sf.datasets import check_leaks
from monai_sf.datasets.leaks import _near_pairs, perceptual_hash


def picture(seed: int) -> Image.Image:
    """A smooth one of 64 × 64 pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(8):
        picture(i).save(tmp_path / f"{i}.png")
    return tmp_path


def table(n: int, splits: list[str] | None = None, groups: list[str] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"case_id": [f"c{i}" for i in range(n)], "image": [f"{i}.png" for i in range(n)]}
    ).assign(group=groups or [f"g{i}" for i in range(n)])
    return frame if splits is None else frame.assign(split=splits)


def pairs(leaks: pd.DataFrame, kind: str) -> list[tuple[str, str]]:
    own = leaks[leaks["kind"] == kind]
    return list(zip(own["case_a"], own["case_b"], strict=True))


def test_no_leak(folder: Path) -> None:
    leaks = check_leaks(table(8, ["train"] * 4 + ["iid"] * 4), folder, near_duplicates=4)
    assert leaks.empty
    assert list(leaks.columns) == ["kind", "value", "case_a", "case_b", "side_a", "side_b"]


def test_groups() -> None:
    groups = ["a", "a", "b", "b", "c", "c", "b", "d"]
    leaks = check_leaks(table(8, ["train", "train", "train", "iid", "val", "val", "target", "iid"], groups))
    assert leaks.to_dict("list") == {
        "kind": ["group", "group"],
        "value": ["b", "b"],
        "case_a": ["c2", "c2"],
        "case_b": ["c3", "c6"],
        "side_a": ["train", "train"],
        "side_b": ["iid", "target"],
    }


def test_identical_files(folder: Path) -> None:
    shutil.copy(folder / "1.png", folder / "5.png")
    shutil.copy(folder / "2.png", folder / "3.png")
    split = ["train"] * 4 + ["iid"] * 4
    assert pairs(check_leaks(table(8, split), folder), "identical") == [("c1", "c5")]
    # Without a split, any two groups may be parted later.
    assert pairs(check_leaks(table(8), folder), "identical") == [("c2", "c3"), ("c1", "c5")]
    together = ["a", "b", "b", "b", "a", "b", "c", "d"]
    assert check_leaks(table(8, groups=together), folder).empty
    assert check_leaks(table(8, split), folder, hashes=False).empty


def test_scaled_and_recompressed_copies(folder: Path) -> None:
    for source, goal in (("1.png", "5.png"), ("2.png", "6.png")):
        with Image.open(folder / source) as image:
            image.resize((48, 48)).save(folder / goal, "JPEG", quality=70)
    cases = table(8, ["train"] * 4 + ["iid"] * 4)
    assert check_leaks(cases, folder).empty
    leaks = check_leaks(cases, folder, near_duplicates=6)
    assert pairs(leaks, "near") == [("c1", "c5"), ("c2", "c6")]
    assert leaks["value"].astype(int).max() <= 6
    together = ["train", "train", "train", "iid", "iid", "train", "train", "iid"]
    assert check_leaks(table(8, together), folder, near_duplicates=6).empty


def test_an_identical_file_is_not_listed_as_near_too(folder: Path) -> None:
    shutil.copy(folder / "1.png", folder / "5.png")
    leaks = check_leaks(table(8, ["train"] * 4 + ["iid"] * 4), folder, near_duplicates=2)
    assert leaks["kind"].tolist() == ["identical"]


def test_first_of_several_channels_and_npy(tmp_path: Path) -> None:
    image = np.asarray(picture(0), np.float32)
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", image[..., 0] * (1 + i))
    cases = table(2, ["train", "iid"]).assign(image=[["0.npy", "none.npy"], ["1.npy", "none.npy"]])
    assert pairs(check_leaks(cases, tmp_path, near_duplicates=0), "near") == [("c0", "c1")]


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(0, 8))
def test_near_pairs_against_all_pairs(data: st.DataObject, most: int) -> None:
    base = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.sets(st.integers(0, 63), max_size=10)
    prints = [data.draw(st.sampled_from(base)) ^ sum(1 << bit for bit in data.draw(flips)) for _ in range(10)]
    prints = list(dict.fromkeys(prints))
    expected = {
        (i, j, bits)
        for i, j in combinations(range(len(prints)), 2)
        if (bits := (prints[i] ^ prints[j]).bit_count()) <= most
    }
    found = list(_near_pairs(np.array(prints, np.uint64), most))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_bad_input(folder: Path) -> None:
    with pytest.raises(ValueError, match="lacks the columns group"):
        check_leaks(table(8).drop(columns="group"))
    with pytest.raises(ValueError, match="from 0 to 8 bits, or None, got 9"):
        check_leaks(table(8), folder, near_duplicates=9)
    with pytest.raises(ValueError, match="needs dataset_dir"):
        check_leaks(table(8), near_duplicates=2)
    (folder / "3.png").write_bytes(b"rubbish")
    (folder / "5.png").write_bytes(b"")
    with pytest.raises(OSError, match=r"(?s)2 of 8 images .*first 2.*3\.png cannot be.*5\.png cannot be"):
        check_leaks(table(8), folder, near_duplicates=2)
    with pytest.raises(FileNotFoundError, match=r"(?s)2 of 10 images .*8\.png\n.*9\.png"):
        check_leaks(table(10), folder)
    assert perceptual_hash(folder / "1.png") == perceptual_hash(str(folder / "1.png"))
