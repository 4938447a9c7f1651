"""A checkpoint is the one that the training wrote, or an error that says so."""

import errno
import json
import os
import resource
import signal

import pytest
import torch
from torch import nn

from monai_sf.files import sha256_of
from monai_sf.networks.checkpoints import (
    check_belongings,
    check_checkpoint,
    load_checkpoint,
    refuse_foreign,
    save_checkpoint,
    summarise_training,
)


def content(value):
    return {"network": {"weight": torch.full((100,), float(value))}, "epoch": value}


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(bytes(data))


def test_checkpoint_files(tmp_path):
    path = tmp_path / "x.pt"
    with pytest.raises(FileNotFoundError, match="no checkpoint at .* train first"):
        load_checkpoint(path)
    torch.save(content(3), path)  # nothing tells of it: a file from elsewhere
    assert load_checkpoint(path)["epoch"] == 3
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load_checkpoint(path)
    torch.save({"network": nn.Linear(1, 1)}, path)  # a pickled object may run code
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds a list"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["best.pt", "last.pt", "best-classifier.pt"])
def test_a_flipped_bit_or_another_file_is_an_error_that_names_it(tmp_path, name):
    path = tmp_path / name
    for epoch in (1, 2):
        save_checkpoint(path, content(epoch))
        assert load_checkpoint(path)["epoch"] == epoch
    good = path.read_bytes()
    flip_a_bit(path)
    with pytest.raises(ValueError, match=rf"{name} is not the file that the training wrote.* train again"):
        load_checkpoint(path)
    torch.save(content(2.5), path)
    with pytest.raises(ValueError, match=rf"{name} is not the file .*checkpoints\.json has"):
        check_checkpoint(path)
    path.write_bytes(good)
    assert check_checkpoint(path) == sha256_of(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"checkpoints\.json lists it: restore it"):
        load_checkpoint(path)


def test_what_no_training_has_written_is_not_trained_over(tmp_path):
    path = tmp_path / "best.pt"
    refuse_foreign(path)
    save_checkpoint(path, content(1))
    refuse_foreign(path)
    (tmp_path / "checkpoints.json").unlink()
    with pytest.raises(ValueError, match=r"best\.pt exists, .* would be overwritten: move it away"):
        refuse_foreign(path)


def test_a_kill_between_record_and_file_loses_neither(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(1))

    def kill(*arguments):
        raise KeyboardInterrupt

    real, calls = os.replace, []

    def kill_before_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:  # the record is written, the checkpoint is not
            raise KeyboardInterrupt
        real(*arguments)

    for place, killer in (("fsync", kill), ("replace", kill_before_the_second)) * 2:
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(f"monai_sf.files.writing.os.{place}", killer)
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(path, content(len(place)))
        assert load_checkpoint(path)["epoch"] == 1
    save_checkpoint(path, content(4))
    assert load_checkpoint(path)["epoch"] == 4


def test_the_mark_of_a_complete_training_counts(tmp_path):
    save_checkpoint(tmp_path / "best.pt", content(1))
    (tmp_path / "cases.json").write_text("{}")
    summarise_training(tmp_path, {"best": {}})
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["sha256"] == sha256_of(tmp_path / "best.pt")
    check_belongings(tmp_path)
    (tmp_path / "cases.json").write_text("[]")
    with pytest.raises(ValueError, match=r"cases\.json: changed since the training ended"):
        check_belongings(tmp_path)
    (tmp_path / "checkpoints.json").unlink()
    flip_a_bit(tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"best\.pt is not the file .*training\.json has"):
        load_checkpoint(tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"best\.pt is not the file"):
        summarise_training(tmp_path, {})
    for name in ("training.json", "checkpoints.json"):
        (tmp_path / name).write_text("{")
        with pytest.raises(ValueError, match=rf"{name} is damaged, it is not JSON .*train again"):
            load_checkpoint(tmp_path / "best.pt")
        (tmp_path / name).unlink()


def test_a_full_disk_names_the_file_and_says_what_to_do(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # fails in the middle of the file
    try:
        with pytest.raises(OSError, match=r"cannot write .*last\.pt: .*Free space or choose") as caught:
            save_checkpoint(path, {"network": {"weight": torch.zeros(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno in (errno.EFBIG, errno.EIO)
    assert "unexpected pos" not in str(caught.value)
    assert load_checkpoint(path)["epoch"] == 1
    assert not list(tmp_path.glob(".*"))
