"""One process at a time, and no lock that outlives its process."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from monai_sf.files.locks import BusyError, locked

HOLDER = """
import os, sys, time
from monai_sf.files.locks import locked
with locked(sys.argv[1], "busy"):
    if os.fork() == 0:  # as a worker that outlives its killed parent for a while
        print("held", flush=True)  # only here has the child let go of the lock
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "x" / ".lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_another_process_is_named_and_its_lock_ends_with_it(tmp_path, holder):
    path = tmp_path / "x" / ".lock"
    with (
        pytest.raises(
            BusyError, match=rf"busy \(.*\.lock is locked by process {holder.pid} on {socket.gethostname()}"
        ),
        locked(path, "busy"),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(path, "busy"):
        assert f"process {os.getpid()} on" in path.read_text()
    assert not path.exists()


def test_waiting(tmp_path, holder):
    before = time.monotonic()
    with pytest.raises(BusyError), locked(tmp_path / "x" / ".lock", "busy", 0.3):
        pass
    assert time.monotonic() - before >= 0.3


def test_a_process_may_come_in_again_only_where_it_says_so(tmp_path):
    path = tmp_path / ".lock"
    with locked(path, "busy"):
        with pytest.raises(BusyError), locked(path, "busy"):
            pass
        with locked(path, "busy", again=True):
            pass
        assert path.exists()
    assert not path.exists()


def test_a_lock_that_was_removed_by_its_holder_meanwhile_is_made_anew(tmp_path):
    path = tmp_path / ".lock"
    path.write_text("process 1 on nowhere")  # left by a killed process
    with locked(path, "busy"):
        path.unlink()
        path.write_text("")
        with locked(path, "busy"):  # another file: nobody holds it
            pass


def test_where_nothing_can_be_written_there_is_nothing_to_keep_apart(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with locked(tmp_path / ".lock", "busy"):
        pass
