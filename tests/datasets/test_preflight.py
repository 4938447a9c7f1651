from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_sf.datasets.preflight import PreflightError, check_images, check_labels

RANGE = {"range": "type"}
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 4)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "good.png")
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "good.jpg")
    return tmp_path


def png_of_16_bit_colour() -> bytes:
    """Pillow writes none."""
    rows = b"".join(b"\0" + (PIXELS[0, :, :3].astype(">u2") * 16).tobytes() for _ in range(40))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 30, 40, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def table(*images: object) -> pd.DataFrame:
    return pd.DataFrame({"image": pd.Series(list(images), dtype=object)})


def faults(folder: Path, *images: object, **options: object) -> dict[str, str]:
    with pytest.raises(PreflightError) as caught:
        check_images(table(*images), folder, **{"modes": ["colour uint8"], "intensity": RANGE, **options})
    return caught.value.faults


def test_good_images_of_one_or_several_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = table("good.png", ["good.jpg", "good.png"])
    found = check_images(cases, folder, intensity=RANGE, modes=["colour uint8"], shape=(40, 30), smallest=30)
    assert found == (2, ["picture uint8"])
    assert "checking images: 100%" in capsys.readouterr().err


def test_all_offenders_are_in_one_error(folder: Path) -> None:
    Image.fromarray(PIXELS).save(folder / "alpha.png")
    Image.fromarray(PIXELS[..., 0]).save(folder / "grey.png")
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(PIXELS[..., :3]).convert("CMYK").save(folder / "print.jpg")
    Image.fromarray(PIXELS[..., :3]).convert("P").save(folder / "palette.png")
    Image.fromarray(PIXELS[:20, :, :3]).save(folder / "small.png")
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:-400])
    (folder / "empty.png").write_bytes(b"")
    (folder / "colour16.png").write_bytes(png_of_16_bit_colour())
    names = ["alpha.png", "grey.png", "deep.png", "colour16.png", "print.jpg", "palette.png", "small.png"]
    names.append("cut.jpg")
    found = faults(folder, "good.png", *names, "empty.png", "none.png", smallest=30)
    assert list(found) == [*names, "empty.png", "none.png"]
    assert found["alpha.png"] == "is colour+alpha uint8, and must be colour uint8"
    assert found["grey.png"] == "is grey uint8, and must be colour uint8"
    assert found["deep.png"] == "is grey uint16, and must be colour uint8"
    assert found["colour16.png"] == "is colour uint16, and must be colour uint8"
    assert found["print.jpg"] == "is cmyk uint8, and must be colour uint8"
    assert found["palette.png"] == "is palette uint8, and must be colour uint8"
    assert found["small.png"] == "is 20 x 30, and must be at least 30 x 30"
    assert "truncated" in found["cut.jpg"]
    assert "cannot be read" in found["empty.png"]
    assert found["none.png"] == "is not there"
    both = ["grey uint8", "colour uint8"]
    assert check_images(table("grey.png", "good.png"), folder, intensity=RANGE, modes=both).decoded == 2


def test_message_lists_twenty(folder: Path) -> None:
    with pytest.raises(
        PreflightError, match=r"(?s)25 of 26 images .*\n  none19: is not there\n  and 5 more\n"
    ):
        check_images(
            table("good.png", *(f"none{i}" for i in range(25))),
            folder,
            intensity=RANGE,
            modes=["colour uint8"],
        )


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.zeros((64, 64), np.int16))
    np.save(tmp_path / "float.npy", np.zeros((64, 64)))
    np.save(tmp_path / "nan.npy", np.full((64, 64), np.nan))
    np.save(tmp_path / "volume.npy", np.zeros((5, 64, 64), np.int16))
    np.save(tmp_path / "wide.npy", np.zeros((64, 65), np.int16))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-9])
    names = [f"{name}.npy" for name in ("good", "float", "nan", "volume", "wide", "cut")]
    found = faults(tmp_path, *names, intensity={"window": [0, 1]}, modes=["grey int16"], shape=(64, 64))
    assert found.pop("cut.npy").startswith("cannot be read")
    assert found == {
        "float.npy": "is grey float32, and must be grey int16",
        "nan.npy": "holds NaN or infinity",
        "volume.npy": "has the shape (5, 64, 64), which is not one image: "
        "(height, width), or (height, width, 3)",
        "wide.npy": "is 64 x 65, and must be 64 x 64",
    }


def test_only_new_and_changed_files_are_decoded_again(folder: Path, tmp_path: Path) -> None:
    cases, cache = table("good.png", "good.jpg"), tmp_path / "memory/cache.sqlite"

    def check(**options: object) -> int:
        return check_images(
            cases, folder, **{"modes": ["colour uint8"], "intensity": RANGE, "cache": cache, **options}
        ).decoded

    assert check() == 2
    assert check() == 0
    # What is asked for may change; what the files hold is remembered.
    with pytest.raises(PreflightError, match="2 of 2"):
        check(modes=["grey uint8"])
    os.utime(folder / "good.png", ns=(1, 1))
    assert check() == 1
    (folder / "good.jpg").write_bytes(b"other")
    with pytest.raises(PreflightError, match="1 of 2"):
        check()
    (folder / "good.jpg").unlink()
    with pytest.raises(PreflightError, match="is not there"):
        check()
    cache.write_bytes(b"x" * 4096)
    with pytest.raises(ValueError, match="is not a cache of checked images .*: remove it"):
        check()


def test_what_could_not_be_read_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, cache = table("good.png", "good.jpg"), folder / "cache.sqlite"
    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", lambda path: (_ for _ in ()).throw(PermissionError(path)))
        with pytest.raises(PreflightError, match="2 of 2"):
            check_images(cases, folder, intensity=RANGE, modes=["colour uint8"], cache=cache)
    assert check_images(cases, folder, intensity=RANGE, modes=["colour uint8"], cache=cache).decoded == 2
    assert check_images(cases, folder, intensity=RANGE, modes=["colour uint8"], cache=cache).decoded == 0


def test_a_cache_that_cannot_be_made(folder: Path) -> None:
    for cache in (folder / "good.png/cache.sqlite", folder):
        with pytest.raises(OSError, match=r"cannot write the cache of checked images to .*: choose another"):
            check_images(table("good.png"), folder, intensity=RANGE, modes=["colour uint8"], cache=cache)


def test_paths_that_are_not_utf8_are_named_and_the_others_checked(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"na\xefve")
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    for file in (name, "good.png"):
        Image.fromarray(PIXELS[..., :3]).save(folder / file)
    cache = folder / "cache.sqlite"
    with pytest.raises(PreflightError, match=r"1 of 2 .*na\\xefve .*\n  caf\\xe9\.png: has bytes") as caught:
        check_images(table(name, "good.png"), folder, intensity=RANGE, modes=["colour uint8"], cache=cache)
    assert list(caught.value.faults) == [name]
    again = check_images(table("good.png"), folder, intensity=RANGE, modes=["colour uint8"], cache=cache)
    assert again.decoded == 0


def test_one_string_is_no_list(folder: Path) -> None:
    with pytest.raises(ValueError, match="modes must be a list of names, got the string 'colour uint8'"):
        check_images(table("good.png"), folder, intensity=RANGE, modes="colour uint8")


def split_table(labels: list[int], splits: list[str]) -> pd.DataFrame:
    names = [f"name {label}" for label in labels]
    ids = [f"c{i}" for i in range(len(labels))]
    return pd.DataFrame({"case_id": ids, "label": labels, "label_name": names, "split": splits})


def test_labels_fit_the_network() -> None:
    check_labels(split_table([0, 1, 0, 1, 2], ["train", "train", "val", "iid", "target"]), 3)
    with pytest.raises(ValueError, match=r"2 cases have labels outside 0\.\.1: labels \[2, 7\], cases \['c1"):
        check_labels(split_table([0, 2, 7], ["train", "train", "iid"]), 2)


def test_a_class_without_a_training_case_is_named() -> None:
    cases = split_table([0, 1, 1, 2, 3], ["train", "train", "val", "iid", "target"])
    with pytest.raises(
        ValueError, match=r"1 validation, calibration and test cases are of 1 classes .*\['name 2'\]"
    ):
        check_labels(cases, 4)
    check_labels(cases, 4, trains=False)  # as for an audit
    with pytest.raises(ValueError, match=r"1 cases have labels outside 0\.\.2"):
        check_labels(cases, 3, trains=False)
