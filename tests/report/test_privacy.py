import pandas as pd
import pytest

from monai_sf.report.privacy import shown_columns, without_paths


@pytest.mark.parametrize(
    "text",
    [
        "/home/jdoe/data/x.png",
        "read from /mnt/pacs/jdoe today",
        r"C:\Users\jdoe\data",
        "D:/study/jdoe",
        r"\\server\jdoe\x",
        "file:///srv/jdoe",
        "~/jdoe/x",
        "path='/home/jdoe'",
        "/home/j smith/jdoe/x.png",
        r"C:\Users\j smith\jdoe",
        "../../jdoe/data",
        "./jdoe/data",
        "$@root + '/srv/jdoe'",
        "loaded from ../jdoe/x.npy",
    ],
)
def test_paths_are_removed(text):
    assert "jdoe" not in str(without_paths({"config": [text]}))


@pytest.mark.parametrize(
    "text", ["3/4", "0.5/s", "https://example.org/a/b", "and/or", "2026-01-02", "a: b", "1.5/2", "..."]
)
def test_what_is_no_path_stays(text):
    assert without_paths(text) == text


def test_folders_of_a_config_are_removed_even_relative_ones():
    out = without_paths({"dataset_dir": "jdoe/lung", "run_dir": "$@output_dir + '/x'", "bundle_root": "$f()"})
    assert out["dataset_dir"] == "[path]"
    assert out["run_dir"].startswith("$@output_dir + ")
    assert out["bundle_root"] == "$f()"
    assert without_paths({"file_format": "a/b"}) == {"file_format": "a/b"}


@pytest.mark.parametrize("name", ["PatientName", "PatientBirthDate", "Accession Number", "SOPInstanceUID"])
def test_tags_that_name_someone_are_never_shown(name):
    cases = pd.DataFrame({"case_id": ["a"], name: ["x"], "view": ["AP"]})
    assert list(shown_columns(cases, anonymous=False)) == ["view"]


def test_users_and_hosts_are_removed_whatever_they_are():
    out = without_paths({"user": "jdoe", "hostname": "pc7", "seed": 3, "nested": {"api_token": "x"}})
    assert out == {
        "user": "[removed]",
        "hostname": "[removed]",
        "seed": 3,
        "nested": {"api_token": "[removed]"},
    }
