import pandas as pd
import pytest

from monai_sf.report.privacy import shown_columns, shown_id, without_paths


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


@pytest.mark.parametrize(
    "name",
    [
        "PatientName", "PatientBirthDate", "Accession Number", "SOPInstanceUID", "PatientID", "StudyID",
        "OtherPatientIDs", "StudyDate", "study_date", "AcquisitionTime", "InstitutionName", "Station Name",
        "DeviceSerialNumber", "PatientAddress", "Patient's Name", "DateOfBirth", "user", "hostname",
        "filepath", "file_name", "dicom_path",
    ],
)  # fmt: skip
def test_tags_that_name_someone_are_never_shown(name):
    cases = pd.DataFrame({"case_id": ["a"], name: ["x"], "view": ["AP"], "profile": ["y"]})
    assert list(shown_columns(cases, anonymous=False)) == ["view", "profile"]


@pytest.mark.parametrize(
    "name", ["patient_id", "group", "MRN", "initials", "VisitDate", "e-mail", "PatientAge"]
)
def test_columns_that_could_name_someone_are_shown_on_request_only(name):
    cases = pd.DataFrame({"case_id": ["a"], name: ["x"], "grid": ["y"], "update": ["z"]})
    assert len(shown_columns(cases, anonymous=False)) == 3
    assert list(shown_columns(cases, anonymous=True)) == ["grid", "update"]


@pytest.mark.parametrize(
    ("case_id", "shown"),
    [
        ("/home/jdoe/a b/1.png", "1.png"),
        (r"C:\Users\jdoe\2.png", "2.png"),
        ("~/jdoe/3.png", "3.png"),
        ("file:///srv/jdoe/4.png", "4.png"),
        ("test/5.png", "test/5.png"),
        ("LIDC-0001", "LIDC-0001"),
        ("see /home/jdoe/6.png", "see [path]"),
    ],
)
def test_of_ids_that_are_paths_the_name_of_the_file_is_left(case_id, shown):
    assert shown_id(case_id) == shown


def test_users_and_hosts_are_removed_whatever_they_are():
    out = without_paths({"user": "jdoe", "hostname": "pc7", "seed": 3, "nested": {"api_token": "x"}})
    assert out == {
        "user": "[removed]",
        "hostname": "[removed]",
        "seed": 3,
        "nested": {"api_token": "[removed]"},
    }
