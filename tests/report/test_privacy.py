import pytest

from monai_sf.report.privacy import without_paths


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
    ],
)
def test_paths_are_removed(text):
    assert "jdoe" not in str(without_paths({"config": [text]}))


@pytest.mark.parametrize("text", ["3/4", "0.5/s", "https://example.org/a/b", "and/or", "2026-01-02", "a: b"])
def test_what_is_no_path_stays(text):
    assert without_paths(text) == text


def test_users_and_hosts_are_removed_whatever_they_are():
    out = without_paths({"user": "jdoe", "hostname": "pc7", "seed": 3, "nested": {"api_token": "x"}})
    assert out == {
        "user": "[removed]",
        "hostname": "[removed]",
        "seed": 3,
        "nested": {"api_token": "[removed]"},
    }
