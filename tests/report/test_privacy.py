import pandas as pd
import pytest

from monai_sf.datasets import build_cases
from monai_sf.datasets.phantom import write_phantom
from monai_sf.report.privacy import Privacy, cleaned, shown_id
from monai_sf.report.published import PUBLISHED, harmless_columns
from monai_sf.results import Results

RUN = {
    "dataset": "lung_nodule_ct", "study": "iid", "method": "confidnet", "seed": 0,
    "class_names": ["benign", "malignant"], "data_kind": "real",
}  # fmt: skip
#: A case id as each published dataset writes it, and values of its harmless columns.
REAL = {
    "lung_nodule_ct": (
        "LIDC-IDRI-0078_scan12_nodule0_slice-2",
        {
            "source": "ct", "data_kind": "real", "slice_offset": -2, "n_readers": 4, "subtlety": 4.75,
            "internal_structure": 1.0, "calcification": 6.0, "sphericity": 3.5, "margin": 4.0,
            "lobulation": 1.0, "spiculation": 1.25, "texture": 5.0, "malignancy": 3.3333333333333335,
        },
    ),
    "dermoscopy": (
        "ham10000-ISIC_0027419",
        {"source": "MSKCC", "data_kind": "real", "diagnosis": "melanoma (0.76 to 1.5 mm)"},
    ),
    "chest_xray": (
        "chexpert-train-patient00001-study1-view1_frontal",
        {"source": "chexpert", "data_kind": "real", "view": "frontal"},
    ),
    "fc_microscopy": (
        "rxrx1-HEPG2-01_1_B02_1",
        {
            "source": "rxrx1", "data_kind": "real", "experiment": "HEPG2-01", "cell_type": "HEPG2",
            "plate": "1",
            "well": "B02", "site": "1", "well_type": "positive_control",
        },
    ),
}  # fmt: skip


def results(dataset="lung_nodule_ct", count=4, case_id=None, **columns):
    ids = [f"c{i}" if case_id is None else case_id.replace("0", str(i)) for i in range(count)]
    cases = pd.DataFrame({"case_id": ids, "label": [i % 2 for i in range(count)], **columns})
    return Results({**RUN, "dataset": dataset}, cases)


def shown(run, anonymous=False, columns=None):
    return list(Privacy.of([run], anonymous, columns).shown(run))


@pytest.mark.parametrize(
    "name",
    [
        "PatientName", "PatientBirthDate", "Accession Number", "SOPInstanceUID", "PatientID", "StudyID",
        "OtherPatientIDs", "StudyDate", "study_date", "AcquisitionTime", "InstitutionName", "Station Name",
        "DeviceSerialNumber", "PatientAddress", "Patient's Name", "DateOfBirth", "user", "hostname",
        "filepath", "file_name", "dicom_path", "image", "split",
    ],
)  # fmt: skip
def test_columns_that_name_someone_are_never_shown(name):
    run = results(**{name: "x", "view": "AP", "profile": "y"})
    assert shown(run) == ["view", "profile"]
    with pytest.raises(ValueError, match="columns must be among"):
        shown(run, columns=[name])


#: Columns that people have, in several languages: no pattern can know them all.
NAMES = [
    "subject", "participant", "ssn", "surname", "Patientenname", "Geburtsdatum", "paziente", "nom_du_patient",
    "mrn_local", "accession", "group", "patient_id", "doctor", "birthday", "age", "comment", "source",
    "texture", "患者", "фамилия",
]  # fmt: skip


@pytest.mark.parametrize("dataset", ["mine", "lung_nodule_ct"])
def test_an_anonymous_report_has_only_the_columns_that_somebody_names(dataset, caplog):
    run = results(dataset, **dict.fromkeys(NAMES, "x"))
    assert shown(run, anonymous=True) == []
    assert shown(run, anonymous=True, columns=["age", "texture"]) == ["age", "texture"]
    with caplog.at_level("INFO"):
        (note,) = Privacy.of([run], True, ["age"]).note([run])
    hidden = ("accession", "surname", "mrn_local", "doctor", "birthday")
    assert f"{len(NAMES) - 1 - len(hidden)} columns" in note
    assert all(name in caplog.text and name not in note for name in NAMES if name not in ("age", *hidden))


def test_columns_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"columns must be among view.*got 'nope', 'case_id'"):
        shown(results(view="AP"), True, ["view", "nope", "case_id"])


def test_without_a_wish_at_most_twelve_columns_are_shown():
    run = results(**{f"c{i}": 1 for i in range(20)})
    assert len(shown(run)) == 12
    assert len(shown(run, columns=[f"c{i}" for i in range(20)])) == 20


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_harmless_columns_of_published_datasets_are_shown(dataset):
    case_id, columns = REAL[dataset]
    run = results(dataset, count=1, case_id=case_id, **columns, group="p", scan_id=7, doctor="x")
    assert shown(run, anonymous=True) == list(columns)[:12]
    assert set(harmless_columns(run)) == set(columns) == {*PUBLISHED[dataset].columns, "data_kind"}
    for name in columns:  # what a column of this name does not hold in the dataset is not of the dataset
        for text in ("Jane Doe", "jane doe"):
            other = results(dataset, count=1, case_id=case_id, **{**columns, name: text})
            assert name not in harmless_columns(other)


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_columns_and_ids_are_those_of_the_case_tables(dataset, tmp_path):
    """The report must not import the datasets, so it repeats how they write ids and columns."""
    if dataset == "lung_nodule_ct":
        cases = build_cases(dataset, tmp_path, rendered=True, missing="keep").iloc[::50]
    else:
        cases = build_cases(dataset, write_phantom(dataset, tmp_path, size=32))
    run = Results(
        {**RUN, "dataset": dataset, "class_names": list(map(str, range(cases["label"].max() + 1)))},
        cases.reset_index(drop=True),
    )
    assert set(harmless_columns(run)) == {*PUBLISHED[dataset].columns, "data_kind"}


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_a_run_that_only_calls_itself_after_a_dataset_is_not_of_it(dataset):
    case_id, columns = REAL[dataset]
    own = results(dataset, count=1, **columns)
    assert shown(own, anonymous=True) == []
    mixed = pd.concat([results(dataset, count=1, case_id=case_id, **columns).cases, own.cases])
    assert harmless_columns(Results(own.run, mixed.reset_index(drop=True))) == []
    assert shown(results("mine", count=1, case_id=case_id, **columns), anonymous=True) == []


def test_a_class_that_may_be_a_person_is_numbered_in_an_anonymous_report():
    run = results(group=["p", "q", "p", "r"])  # class 0: p, class 1: q and r
    assert cleaned([run])[0].run["class_names"] == ["benign", "malignant"]
    assert cleaned([run], True)[0].run["class_names"] == ["class 0", "malignant"]
    named = results(group=["p", "q", "p", "r"], label_name="x")
    assert cleaned([named], True, ["label_name"])[0].run["class_names"] == ["benign", "malignant"]


@pytest.mark.parametrize(
    ("case_id", "shown"),
    [
        ("/home/jdoe/a b/1.png", "1.png"),
        (r"C:\Users\jdoe\2.png", "2.png"),
        ("~/jdoe/3.png", "3.png"),
        ("file:///srv/jdoe/4.png", "4.png"),
        ("s3://jdoe/4.png", "4.png"),
        ("jdoe@pc7:/data/4.png", "4.png"),
        ("/data/jdoe@pc7", "[removed]"),
        ("test/5.png", "test/5.png"),
        ("LIDC-0001", "LIDC-0001"),
        ("see /home/jdoe/6.png", "see [path]"),
    ],
)
def test_of_ids_that_are_paths_the_name_of_the_file_is_left(case_id, shown):
    assert shown_id(case_id) == shown


def test_columns_whose_names_become_alike_are_both_there():
    run = results(**{"a_b": "1", "a b": "2", "/home/x": "3", "/home/y": "4"})
    table = Privacy.of([run], False, None).table(run, [0])
    assert {name: list(values) for name, values in table.items()} == {
        "a b": ["1"], "a b 2": ["2"], "[path]": ["3"], "[path] 2": ["4"],
    }  # fmt: skip
