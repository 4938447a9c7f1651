"""What is shown of a benchmark while it runs and after."""

import io
import json
import re
import time

import pytest

from monai_sf.benchmark import overview
from monai_sf.benchmark.overview import Overview
from monai_sf.benchmark.status import duration, failures, show_status
from monai_sf.benchmark.tasks import Task


class Terminal(io.StringIO):
    def isatty(self):
        return True


def tasks(count=4):
    return [Task(f"d/r{i}/train", "train", "d", (), "") for i in range(count)]


def test_without_a_terminal_each_change_is_a_line(tmp_path):
    stream = io.StringIO()
    shown = Overview(tasks(), tmp_path, 2, stream)
    shown.set("d/r0/train", "queued")
    shown.set("d/r0/train", "running")
    shown.set("d/r0/train", "done", seconds=30.0)
    shown.set("d/r1/train", "failed", "ValueError: no")
    assert stream.getvalue().splitlines() == [
        "[0/4: 1 running, 3 waiting] d/r0/train: running",
        "[1/4: 1 done, 3 waiting, about 45 s left] d/r0/train: done in 30 s",
        "[2/4: 1 done, 1 failed, 2 waiting, about 30 s left] d/r1/train: failed, ValueError: no",
    ]


def test_on_a_terminal_a_line_is_drawn_anew_and_failures_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    shown = Overview(tasks(), tmp_path, 2, stream)
    shown.set("d/r0/train", "running")
    shown.set("d/r1/train", "running")
    shown.refresh()
    shown.set("d/r1/train", "failed", "ValueError: no")
    shown.close("failed")
    *drawn, last = stream.getvalue().split("\r\033[K")
    assert all(len(line) < 60 for line in drawn if "\n" not in line)
    assert drawn[-3].startswith("d/r1/train: failed, ValueError: no\n") or any(
        line == "d/r1/train: failed, ValueError: no\n" for line in drawn
    )
    assert re.match(r"\[0/4: 1 running, 3 waiting\] d/r0/train 0\.\d s", drawn[1])
    assert last == "[1/4: 1 failed, 1 running, 2 waiting]\n"


def test_time_left_counts_what_runs_and_what_waits_and_divides_by_the_workers(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    shown = Overview(tasks(), tmp_path, 2, io.StringIO())
    assert shown.time_left() is None
    shown.set("d/r0/train", "done", seconds=10.0)
    shown.set("d/r1/train", "skipped", seconds=30.0)
    shown.set("d/r2/train", "running")
    now[0] += 5
    assert shown.time_left() == pytest.approx((20 - 5 + 20) / 2)
    now[0] += 100
    assert shown.time_left() == pytest.approx((0 + 20) / 2)
    shown.set("d/r3/train", "not run")
    shown.set("d/r2/train", "done", seconds=105.0)
    assert shown.time_left() == 0


def test_the_time_left_does_not_wait_for_the_table_which_is_last(tmp_path):
    kinds = ("train", "evaluate", "table", "report")
    some = [Task(f"d/{kind}", kind, "d", (), "") for kind in kinds]
    some.append(Task("d/r1/train", "train", "d", (), ""))
    shown = Overview(some, tmp_path, 1, io.StringIO())
    shown.set("d/train", "done", seconds=10.0)
    assert shown.time_left() is None  # evaluations may take hours
    shown.set("d/evaluate", "done", seconds=20.0)
    assert shown.time_left() == 10
    shown.set("d/r1/train", "failed")
    assert shown.time_left() is None  # a table and a report are left, of which nothing is known


def test_status_of_a_running_and_of_a_failed_benchmark(tmp_path):
    shown = Overview(tasks(), tmp_path, 2, io.StringIO())
    shown.set("d/r0/train", "running")
    words = show_status(tmp_path).splitlines()
    assert words[0].startswith("running; process ")
    assert words[1:] == ["3 waiting, 1 running of 4 tasks", "running: d/r0/train, 0.0 s"]
    shown.set("d/r0/train", "failed", "ValueError: no")
    shown.set("d/r1/train", "not run", "needs d/r0/train")
    shown.set("d/r2/train", "unavailable", "no case of MSKCC")
    shown.close("failed")
    words = show_status(tmp_path).splitlines()
    assert words[0].startswith("failed; process ")
    assert words[1:] == [
        "1 waiting, 1 failed, 1 not run, 1 unavailable of 4 tasks",
        "failed: d/r0/train: ValueError: no",
        f"        log: {tmp_path / 'logs' / 'd' / 'r0' / 'train.log'}",
        "not run, since they need what failed: d/r1/train",
        "unavailable: d/r2: no case of MSKCC",
    ]


def test_a_benchmark_that_is_silent_was_probably_killed(tmp_path):
    Overview(tasks(), tmp_path, 2, io.StringIO()).write("running")
    path = tmp_path / "status.json"
    content = json.loads(path.read_text())
    content["updated"] -= 3600
    path.write_text(json.dumps(content))
    assert "so it was probably killed" in show_status(tmp_path)
    assert "1 h 0 min ago" in show_status(tmp_path)


def test_status_of_nothing_and_of_a_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no benchmark was run in"):
        show_status(tmp_path)
    (tmp_path / "status.json").write_text('{"state": 1}')
    with pytest.raises(ValueError, match=r"status\.json is damaged"):
        show_status(tmp_path)


def test_a_full_disk_is_said_once_and_the_overview_goes_on(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(overview, "write_json", full)
    stream = io.StringIO()
    shown = Overview(tasks(), tmp_path, 2, stream)
    shown.set("d/r0/train", "running")
    shown.set("d/r0/train", "done", seconds=1.0)
    assert stream.getvalue().count("the overview cannot be written: [Errno 28] No space left on device") == 1


def test_many_blocked_tasks_are_counted():
    states = {f"t{i}": {"state": "not run", "reason": "", "log": ""} for i in range(13)}
    (line,) = failures(states, "")
    assert line.endswith("t9, and 3 more")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.0, "59 s"), (61, "1 min"), (5400, "1 h 30 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    "damage",
    [
        {"tasks": [1, 2]},
        {"tasks": {"d/r0/train": "running"}},
        {"tasks": {"d/r0/train": {"state": "running"}}},
        {"tasks": {"d/r0/train": {"state": "failed", "reason": 3}}},
        {"tasks": {"d/r0/train": {"state": "unavailable"}}},
        {"tasks": None},
        {"counts": [1]},
        {"time_left": "soon"},
        {"updated": "now"},
    ],
)
def test_a_status_with_one_damaged_part_is_one_error(tmp_path, damage):
    Overview(tasks(), tmp_path, 2, io.StringIO()).write("running")
    path = tmp_path / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(ValueError, match=r"status\.json is damaged"):
        show_status(tmp_path)
