import time
from pathlib import Path

import numpy as np
import pytest

from monai_sf.tables.redaction import Names, folder_label, reason_in, redacted, redacted_text

#: Ways to write a path, host, user or password; each holds "jdoe".
SECRETS = [
    "/home/jdoe/data/x.png",
    "read from /mnt/pacs/jdoe today",
    "read from /mnt/my pacs/jdoe smith",
    r"C:\Users\jdoe\data",
    r"c:\Users\a b\jdoe",
    "D:/study/jdoe",
    r"\\server\jdoe\x",
    r"\\jdoe\x",
    r"\Users\jdoe\x",
    r"HOSPITAL\jdoe",
    "//nas/jdoe/x",
    "file:///srv/jdoe",
    "file:jdoe/x",
    "s3://jdoe/key",
    "gs://bucket/jdoe",
    "~/jdoe/x",
    "~jdoe",
    "jdoe:/export/x",
    "pc7:/export/jdoe",
    "jdoe@pc7:/x",
    "jdoe@pc7",
    "jane.jdoe@hospital.org",
    "http://jdoe:pw@pc7/x",
    "http://user:jdoe@host",
    "https://jdoe.hospital.org/a?b=c",
    "https://doi.org/10.1/x?jdoe",
    "https://doi.org@jdoe.org/x",
    "postgresql://db/jdoe",
    "path='/home/jdoe'",
    "'/home/o'jdoe/x'",
    "/home/j smith/jdoe/x.png",
    "../../jdoe/data",
    r"..\jdoe",
    "./jdoe/data",
    "$@root + '/srv/jdoe'",
    "-I/home/jdoe/x",
    "home/jdoe/x",
    "$HOME/jdoe",
    "${DATA}/jdoe",
    r"%USERPROFILE%\jdoe",
    "file%3A%2F%2Fjdoe",
    "(/home/jdoe)",
    "</home/jdoe>",
    "a=/home/jdoe",
    "password=jdoe",
    "PASSWORD: jdoe",
    '"token": "jdoe"',
    "jdoe.clinic.local",
    "first line\n/home/jdoe\nlast line",
]


@pytest.mark.parametrize("text", SECRETS)
def test_what_names_a_machine_or_person_is_removed_and_once_is_enough(text):
    clean = redacted_text(text)
    assert "jdoe" not in clean
    assert redacted_text(clean) == clean
    for around in ("{}", "x {} y", "({})", "“{}”", "a, {}", "data={}", "· {} ·"):
        assert "jdoe" not in redacted_text(around.format(text)), around
    assert "jdoe" not in str(redacted({"config": [{text: (text,)}]}))


@pytest.mark.parametrize(
    "text",
    [
        "3/4", "0.5/s", "1.5/2", "and/or", "n/(n-1)", "a (b)/c", "$@x / 2", "Site A / 2", "2026-01-02",
        "a: b",
        "...", "~5 mm", "AP@50", "recall@k", "$@a + @b", "@train#optimizer", "2.13.0", "4.11.0.86",
        "test/5.png",
        "torch.optim.Adam", "x < 3", "<b>bold</b>", "<img src=x onerror=alert(1)>", "95 % interval",
        "ham10000-ISIC_0000001", "see https://doi.org/10.1007/978-3-031 for more", "https://arxiv.org/abs/1",
        "[path]",
    ],
)  # fmt: skip
def test_what_is_no_path_stays(text):
    assert redacted_text(text) == text


def test_only_the_line_or_quotation_of_a_path_goes():
    assert redacted_text("first\nread /a/b today\nlast") == "first\nread [path]\nlast"
    assert redacted_text("open('/a/b') failed") == "open('[path]') failed"


@pytest.mark.parametrize(
    "text", ["10.1.2.3", "192.168.0.7:104", "172.16.4.5", "8.8.8.8:80", "1.2.840.10008.5.1.4"]
)
def test_addresses_and_uids_of_dicom(text):
    assert redacted_text(f"a {text} b") == "a [removed] b"


def test_folders_of_a_config_are_removed_even_relative_ones():
    given_and_wanted = {
        "dataset_dir": ("jdoe/lung", "[path]"),
        "run_dir": ("$@output_dir + '/x'", "$@output_dir + '[path]'"),
        "mount_path": ("$'jdoe/x' + @y", "$'[path]' + @y"),
        "bundle_root": ("$f()", "$f()"),
        "cache": ({"dir": "jdoe"}, {"dir": "[path]"}),
        "files": (["jdoe.png", {"name": "a"}], ["[path]", {"name": "a"}]),
        "file_format": ("a/b", "a/b"),
        "image_root": (None, None),
    }
    out = redacted({key: given for key, (given, _) in given_and_wanted.items()})
    assert out == {key: wanted for key, (_, wanted) in given_and_wanted.items()}


def test_users_and_hosts_are_removed_whatever_they_are():
    secret = {"user": "jdoe", "hostname": "pc7", "authors": "y", "api_token": ["x"]}
    out = redacted({**secret, "seed": np.int64(3), "nested": secret})
    gone = dict.fromkeys(secret, "[removed]")
    assert out == {**gone, "seed": 3, "nested": gone}


def test_no_entry_is_lost_when_keys_become_alike():
    assert redacted({"/a": 1, "/b": 2}) == {"[path]": 1, "[path] 2": 2}


def test_different_names_stay_different():
    names = Names()
    given = ["/home/a", "/home/b", "/home/a", "iid", "[path]", "x" * 1000, "x" * 1001]
    shown = [names(name) for name in given]
    assert shown[:5] == ["[path]", "[path] 2", "[path]", "iid", "[path] 3"]
    assert len(set(shown)) == len(set(given))
    assert max(map(len, shown)) < 210


@pytest.mark.parametrize(
    "part", [*"a~' é/\\", "a@", "a.", "a:", "a-", "1.", "%2", "$A", "a b ", "user", "/a'", "10."]
)
def test_long_texts_take_time_in_proportion_to_their_length(part):
    start = time.perf_counter()
    redacted_text(part * (200_000 // len(part)))
    assert time.perf_counter() - start < 5


def test_what_no_file_can_hold_becomes_a_question_mark():
    assert redacted_text("a\udc80b") == "a?b"


def test_a_folder_is_called_by_its_place_below_a_root_but_never_by_a_user():
    root = Path("/data/runs")
    assert folder_label(root / "iid" / "seed 1" / "results", (root,)) == "iid/seed 1"
    assert folder_label(root / "iid") == "iid"
    for place in ("/home/jdoe/results", "/home/jdoe", "/Users/jdoe", "/jdoe", "/"):
        assert folder_label(Path(place), (Path(place),)) == "a run"
    assert "jdoe" not in folder_label(root / "jdoe@pc7")


def test_a_reason_names_the_file_in_the_run_and_no_folder():
    folder = Path("/home/jdoe/run")
    error = ValueError(f"{folder}/iid/logits.npy is damaged.\nmore")
    assert reason_in(error, folder) == "iid/logits.npy is damaged"
    assert reason_in(ValueError("see /home/jdoe/x")) == "see [path]"
    assert reason_in(EOFError()) == "EOFError"
