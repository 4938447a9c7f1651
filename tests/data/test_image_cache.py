"""The cache of images on disk: the bits of the files, decoded once, whatever becomes of its entries."""

import errno
import os
import signal
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import Compose, EnsureTyped, Identityd
from PIL import Image

from helpers.forks import fork, status_of
from helpers.image_files import itk, nifti
from monai_sf.data import (
    LoadImageFiled,
    PrepareImaged,
    as_unit,
    case_images,
    case_preprocessing,
    image_cache,
)
from monai_sf.data.batches import collate_cases
from monai_sf.data.image_cache import ImageCache

RANGE = {"range": "type"}


def steps(*, mode=None, size=None, intensity=RANGE, after=()):
    prepare = PrepareImaged("image", mode=mode, size=size, intensity=intensity)
    return Compose([LoadImageFiled("image", size=size), prepare, *after])


def picture(path, seed=0, size=(30, 40)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def warned(caplog):
    return [one.message for one in caplog.records if one.name.startswith("monai_sf")]


def entries(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def test_the_second_epoch_decodes_nothing_and_has_the_same_bits(tmp_path, decoded):
    deep = tmp_path / "deep.npy"
    np.save(deep, np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    channels = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
    cases = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png", 1), str(deep), channels]
    for after in ([], [EnsureTyped("image")]):
        chosen = steps(mode="L", size=(16, 20), after=after)
        cached = case_preprocessing(chosen, tmp_path / "cache")
        for epoch in range(2):
            decoded.clear()
            for case in cases:
                got = cached({"image": case, "label": 1})
                expected = chosen({"image": case, "label": 1})
                assert got["label"] == 1
                assert (got["image"].dtype == torch.float32) == bool(after)
                assert torch.equal(as_unit(torch.as_tensor(got["image"])), expected["image"].as_tensor())
            first = epoch == 0 and not after  # bytes and float32 share their entries
            assert len(decoded) == (6 if first else 0)
    assert len(entries(tmp_path / "cache")) == 4
    assert collate_cases([cached({"image": case}) for case in cases[:2]])["image"].shape == (2, 1, 16, 20)


def test_without_a_rule_values_are_kept_as_they_are(tmp_path, decoded):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32))
    plain = steps(intensity=None)
    cached = case_preprocessing(plain, tmp_path / "cache")
    record = {"image": str(tmp_path / "a.npy")}
    expected = plain(record)["image"].as_tensor()
    for _ in range(2):
        assert torch.equal(cached(record)["image"], expected)
    assert len(decoded) == 1


@pytest.mark.parametrize("change", ["content", "time", "mode", "size", "rule", "path", "slice", "gdcm"])
def test_whatever_an_image_depends_on_makes_another_entry(tmp_path, decoded, monkeypatch, change):
    volume = np.arange(3 * 8 * 9, dtype=np.uint16).reshape(3, 8, 9) * 300
    nifti(tmp_path / "v.nii", volume.transpose(2, 1, 0))
    how = {"mode": "RGB", "size": (16, 20), "intensity": RANGE}
    record = {"image": picture(tmp_path / "a.png")}
    if change == "slice":
        record = {"image": str(tmp_path / "v.nii"), "slice": 0}
    before = case_preprocessing(steps(**how), tmp_path / "cache")(record)["image"]
    at = os.stat(record["image"])
    if change == "content":
        picture(tmp_path / "a.png", 1, (31, 40))
        os.utime(record["image"], ns=(at.st_atime_ns, at.st_mtime_ns))
    elif change == "time":
        picture(tmp_path / "a.png", 1)
        os.utime(record["image"], ns=(at.st_atime_ns, at.st_mtime_ns + 1))
    elif change == "path":
        (tmp_path / "other").mkdir()
        os.rename(tmp_path / "a.png", tmp_path / "other" / "a.png")
        record = {"image": str(tmp_path / "other" / "a.png")}
    elif change == "slice":
        record = {**record, "slice": 1}
    elif change == "gdcm":
        monkeypatch.setattr(
            case_images, "version", lambda name: {"python-gdcm": "0"}.get(name, version(name))
        )
    else:
        how |= {
            "mode": {"mode": "L"},
            "size": {"size": (16, 21)},
            "rule": {"intensity": {"window": [0, 255]}},
        }[change]
    after = case_preprocessing(steps(**how), tmp_path / "cache")(record)["image"]
    assert len(decoded) == 2
    assert torch.equal(as_unit(after), steps(**how)(record)["image"].as_tensor())
    assert (change in ("path", "gdcm")) == (
        before.shape == after.shape and torch.equal(before.int(), after.int())
    )


def test_a_volume_is_another_once_the_file_of_its_pixels_is(tmp_path, decoded):
    cached = case_preprocessing(steps(), tmp_path / "cache")
    record = {"image": str(tmp_path / "a.mhd")}
    for value in (7, 9):
        itk(tmp_path / "a.mhd", np.full((8, 9), value, np.uint8))
        os.utime(tmp_path / "a.mhd", ns=(0, 0))
        os.utime(tmp_path / "a.raw", ns=(value, value))
        assert cached(record)["image"].unique().tolist() == [value]
    assert len(decoded) == 2


def damaged(how, good, other):
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    return {
        "truncated": good[:-1],
        "of its head only": good[:40],
        "empty": b"",
        "longer": good + b"0",
        "flipped": bytes(flipped),
        "another entry": other,
    }[how]


@pytest.mark.parametrize(
    "how", ["truncated", "of its head only", "empty", "longer", "flipped", "another entry"]
)
def test_a_damaged_entry_is_said_once_and_made_anew(tmp_path, decoded, caplog, how):
    cached = case_preprocessing(steps(), tmp_path / "cache")
    records = [{"image": picture(tmp_path / f"{i}.png", i)} for i in range(3)]
    expected = [cached(record)["image"] for record in records]
    first, second, third = entries(tmp_path / "cache")
    good, other = first.read_bytes(), third.read_bytes()
    for path in (first, second):
        path.write_bytes(damaged(how, good, other))
    decoded.clear()
    for _ in range(2):
        assert all(torch.equal(cached(r)["image"], e) for r, e in zip(records, expected, strict=True))
    assert len(decoded) == 2
    assert first.read_bytes() == good
    (said,) = warned(caplog)
    assert "cannot be used" in said
    assert "made anew" in said


@given(st.data())
def test_any_change_of_a_bit_is_recognised(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    cache = ImageCache(folder, "recipe")
    image = np.random.default_rng(0).integers(0, 2**16, (2, 3, 4)).astype(np.uint16)
    key = bytes(range(32))
    cache.write(key, image)
    np.testing.assert_array_equal(cache.read(key), image)
    (entry,) = entries(folder)
    content = bytearray(entry.read_bytes())
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    entry.write_bytes(content)
    assert cache.read(key) is None


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_disk_is_said_once_and_the_run_goes_on(tmp_path, decoded, caplog, monkeypatch, fault):
    tried = []

    def fails(path, **how):
        tried.append(path)
        raise OSError(fault, os.strerror(fault))

    cached = case_preprocessing(steps(), tmp_path / "cache")
    monkeypatch.setattr(image_cache, "atomic_path", fails)
    plain = steps()
    for i in range(3):
        record = {"image": picture(tmp_path / f"{i}.png", i)}
        assert torch.equal(as_unit(cached(record)["image"]), plain(record)["image"].as_tensor())
    assert len(tried) == 1
    (said,) = warned(caplog)
    assert os.strerror(fault) in said
    assert "the run goes on" in said


def test_a_folder_that_cannot_be_made_is_said_when_the_run_starts(tmp_path, caplog):
    (tmp_path / "cache").write_text("mine")
    cached = case_preprocessing(steps(), tmp_path / "cache")
    assert "is not written to, and the run goes on" in caplog.text
    assert cached({"image": picture(tmp_path / "a.png")})["image"].shape == (3, 30, 40)
    assert (tmp_path / "cache").read_text() == "mine"
    assert len(warned(caplog)) == 1


def occupy(how, entry, others):
    """Put something of others in the place of an entry."""
    if how == "pipe":
        os.mkfifo(entry)
    elif how == "folder":
        entry.mkdir()
    elif how == "file":
        entry.write_text("mine")
    elif how == "folder that is a file":
        entry.parent.rmdir()
        entry.parent.write_text("mine")
    else:
        entry.symlink_to(others / ("absent" if how == "dangling link" else "mine.txt"))


@pytest.mark.parametrize(
    "how", ["pipe", "folder", "file", "link", "link to an entry", "dangling link", "folder that is a file"]
)
def test_what_others_put_in_the_place_of_an_entry_is_left_alone(tmp_path, decoded, caplog, how):
    folder, others = tmp_path / "cache", tmp_path / "others"
    others.mkdir()
    cached = case_preprocessing(steps(), folder)
    record, *further = ({"image": picture(tmp_path / f"{i}.png", i)} for i in range(4))
    expected = cached(record)["image"]
    (entry,) = entries(folder)
    mine = entry.read_bytes() if how == "link to an entry" else b"mine"
    (others / "mine.txt").write_bytes(mine)
    (folder / "notes.txt").write_text("mine")
    entry.unlink()
    occupy(how, entry, others)
    before = os.lstat(entry.parent if how == "folder that is a file" else entry)
    for _ in range(2):
        assert torch.equal(cached(record)["image"], expected)
    assert os.lstat(entry.parent if how == "folder that is a file" else entry) == before
    assert [path.read_bytes() for path in others.iterdir()] == [mine]
    assert (folder / "notes.txt").read_text() == "mine"
    assert len(warned(caplog)) == (how != "folder that is a file")
    assert all("and is left alone" in one for one in warned(caplog))
    decoded.clear()
    for one in further * 2:
        cached(one)
    assert len(decoded) < 6  # the others are still written; one may have the same folder


def test_a_faulty_image_is_said_as_without_a_cache(tmp_path):
    cached = case_preprocessing(steps(), tmp_path / "cache")
    (tmp_path / "half.png").write_bytes(b"\x89PNG")
    for name in ("half.png", "absent.png", "odd\udce9\n.png"):
        said = []
        for transform in (case_preprocessing(steps()), cached):
            with pytest.raises(RuntimeError) as caught:
                transform({"image": str(tmp_path / name)})
            said.append(str(caught.value.__cause__))
        assert said[0] == said[1]
    assert entries(tmp_path / "cache") == []


def test_paths_may_be_odd(tmp_path, decoded):
    cached = case_preprocessing(steps(), tmp_path / "cache")
    for name in ("a\nb.png", "\udce9.png", "ä '\".png"):
        record = {"image": picture(tmp_path / "plain.png").replace("plain.png", name)}
        os.rename(tmp_path / "plain.png", record["image"])
        assert torch.equal(cached(record)["image"], cached(record)["image"])
    assert len(decoded) == 3


def test_a_file_that_is_replaced_while_it_is_read_is_not_kept(tmp_path, monkeypatch):
    cached = case_preprocessing(steps(), tmp_path / "cache")
    record = {"image": picture(tmp_path / "a.png")}
    read = case_images.read_image

    def replaced(file, **how):
        picture(tmp_path / "a.png", 1, (33, 44))
        return read(file, **how)

    monkeypatch.setattr(case_images, "read_image", replaced)
    assert cached(record)["image"].shape == (3, 33, 44)
    assert entries(tmp_path / "cache") == []


def test_any_other_preprocessing_is_not_kept_which_is_said(tmp_path, caplog):
    given = Compose([Identityd("image")])
    assert case_preprocessing(given, tmp_path / "cache") is given
    assert "image_cache is not used" in caplog.text
    assert not (tmp_path / "cache").exists()


def write_for_ever(folder):
    cache = ImageCache(folder, "recipe")
    image = np.full((3, 500, 500), 7, np.uint8)
    for i in range(10**9):
        cache.write((i % 1000).to_bytes(32, "big"), image)


def test_killed_writers_leave_whole_entries(tmp_path):
    folder = tmp_path / "cache"
    writers = [fork(lambda: write_for_ever(folder)) for _ in range(2)]
    while len(entries(folder)) < 20:
        pass
    for writer in writers:
        os.kill(writer, signal.SIGKILL)
        assert status_of(writer) == -signal.SIGKILL
    cache = ImageCache(folder, "recipe")
    named = [path for path in entries(folder) if not path.name.startswith(".")]
    assert len(named) >= 15
    for path in named:
        assert (cache.read(bytes.fromhex(path.stem)) == 7).all()
