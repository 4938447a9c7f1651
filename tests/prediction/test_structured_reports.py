"""DICOM Structured Reports: what they say, to whom they belong, and that others can read them."""

import math
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from highdicom.sr import ComprehensiveSR, MeasurementReport
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from helpers.dicom_prediction import scan
from monai_sf.prediction.algorithm import Algorithm
from monai_sf.prediction.answers import Answer
from monai_sf.prediction.dicom_instances import dicom_instances
from monai_sf.prediction.structured_reports import StructuredReports

ALGORITHM = Algorithm(
    algorithm="chest iid confidnet",
    networks_sha256=("a" * 64,),
    evaluations_sha256=("b" * 64,),
    image_kinds=("DICOM radiograph 12 bit",),
    method="confidnet",
    csf="MSR",
    threshold=0.9012345678901234,
    target_risk=0.05,
    delta=0.1,
    risk_bound=0.04,
    calibration_groups=240,
    promise="at most 5 % are wrong",
    class_names=("normal", "pneumonia"),
)


def answer(case_id, share=0.7123456789012345, deferred=True, **changes):
    values = {
        "prediction": 1,
        "name": "pneumonia",
        "probabilities": np.array([1 - share, share]),
        "confidences": {"MSR": share, "PE": math.nan},
        "deferred": deferred,
    }
    return Answer(case_id, **{**values, **changes})


def reports(folder, answers, algorithm=ALGORITHM, name="reports"):
    """Write the reports of the DICOM files of a folder; return them by case, and why others have none."""
    records = [{"case_id": path.name, "image": str(path)} for path in sorted(folder.glob("*.dcm"))]
    instances, _ = dicom_instances(records)
    writer = StructuredReports(folder / name)
    writer.check()
    written, lacking = writer.write(answers, instances, algorithm)
    return {case_id: folder / name / file for case_id, file in written.items()}, lacking


def items(report):
    """Value of each content item of the measurement group, by the meaning of its concept."""
    (group,) = (
        item
        for container in report.ContentSequence
        for item in container.get("ContentSequence", ())
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Measurement Group"
    )
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0].FloatingPointValue
        elif item.ValueType == "CODE":
            value = item.ConceptCodeSequence[0].CodeMeaning
        elif item.ValueType == "IMAGE":
            value = item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        else:
            value = item.get("TextValue") or item.UID
        concept = item.ConceptNameCodeSequence[0].CodeMeaning if item.ValueType != "IMAGE" else "image"
        found.setdefault(concept, []).append(value)
    return found


def test_a_report_says_class_confidence_threshold_decision_and_algorithm(tmp_path, caplog):
    source = pydicom.dcmread(scan(tmp_path / "a.dcm"))
    written, lacking = reports(tmp_path, [answer("a.dcm"), answer("photo.png")])
    assert (list(written), lacking) == (["a.dcm"], {})
    assert "1 images are not DICOM, and have no Structured Report" in caplog.text
    report = pydicom.dcmread(written["a.dcm"])
    found = items(report)
    assert found["Predicted class"] == ["pneumonia"]
    assert found["Probability of the class"] == found["Confidence (MSR)"] == [0.7123456789012345]
    assert found["Confidence below which a reader must decide"] == [0.9012345678901234]
    assert found["Deferred to a reader"] == ["Yes"]
    assert found["Algorithm Name"] == ["chest iid confidnet"]
    assert found["Algorithm Version"][0].endswith("+aaaaaaaaaaaa")
    said = ["method=confidnet", "csf=MSR", "target_risk=0.05", "delta=0.1", "risk_bound=0.04"]
    said += ["calibration_groups=240", "promise=at most 5 % are wrong"]
    hashes = [f"networks_sha256={'a' * 64}", f"evaluations_sha256={'b' * 64}"]
    assert found["Algorithm Parameters"] == [*said, *hashes]
    assert found["image"] == [source.SOPInstanceUID]
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber"):
        assert report[name].value == source[name].value
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == source.StudyInstanceUID
    (series,) = evidence.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert (report.Modality, report.VerificationFlag, report.PreliminaryFlag) == (
        *("SR", "UNVERIFIED", "PRELIMINARY"),
    )


def test_highdicom_and_dciodvfy_accept_a_report(tmp_path):
    names = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"}
    scan(tmp_path / "a.dcm", **names)
    long = "Lungenentzündung\\n" * 6
    written, lacking = reports(tmp_path, [answer("a.dcm", name=long)])
    assert lacking == {}
    report = ComprehensiveSR.from_dataset(pydicom.dcmread(written["a.dcm"]))
    assert str(report.PatientName) == "Yamada^Tarou=山田^太郎"
    assert isinstance(report.content, MeasurementReport)
    (group,) = report.content.get_image_measurement_groups()
    assert group.get_measurements()[1].value == pytest.approx(0.7123456789012345)
    (observer,) = report.content.get_observer_contexts(observer_type=codes.DCM.Device)
    assert observer.observer_identifying_attributes.name == "monai_sf"
    assert f"CLASS-1={long}" in items(report)["Algorithm Parameters"]
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy here")
    said = subprocess.run(["dciodvfy", written["a.dcm"]], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert lines[0] == "ComprehensiveSR"
    assert [line for line in lines[1:] if "99MONAISF" not in line] == []  # a scheme of our own is no error


def test_the_same_inference_writes_the_same_reports_again(tmp_path):
    study = generate_uid()
    for name in ("a.dcm", "b.dcm"):
        scan(tmp_path / name, StudyInstanceUID=study)
    answers = [answer("a.dcm"), answer("b.dcm")]
    first, _ = reports(tmp_path, answers)
    again, _ = reports(tmp_path, answers)
    assert first == again
    assert len(list((tmp_path / "reports").iterdir())) == 2
    one, two = (pydicom.dcmread(path) for path in first.values())
    assert one.SeriesInstanceUID == two.SeriesInstanceUID
    assert (one.InstanceNumber, two.InstanceNumber) == (1, 2)
    for changed in ({"networks_sha256": ("c" * 64,)}, {"evaluations_sha256": ()}, {"csf": "PE"}):
        other = Algorithm(**{**vars(ALGORITHM), **changed})
        later, _ = reports(tmp_path, answers, other)
        assert not set(later.values()) & set(first.values())


def test_a_report_that_somebody_has_changed_and_another_file_of_its_name_are_left_as_they_are(tmp_path):
    scan(tmp_path / "a.dcm")
    scan(tmp_path / "b.dcm")
    answers = [answer("a.dcm"), answer("b.dcm")]
    first, _ = reports(tmp_path, answers)
    signed = pydicom.dcmread(first["a.dcm"])
    signed.VerificationFlag = "VERIFIED"
    signed.save_as(first["a.dcm"])
    first["b.dcm"].write_text("notes")
    before = {path: path.read_bytes() for path in first.values()}
    written, lacking = reports(tmp_path, answers)
    assert written == {}
    for case_id, path in first.items():
        assert lacking[case_id] == f"{path.name} is there already with another content: move it away"
    assert {path: path.read_bytes() for path in (tmp_path / "reports").iterdir()} == before


@pytest.mark.parametrize("changed", [{"share": 0.71}, {"deferred": False}, {"prediction": 0}, {"name": "x"}])
def test_another_answer_for_the_same_image_has_another_uid_in_the_same_series(tmp_path, changed):
    scan(tmp_path / "a.dcm")
    found = [
        pydicom.dcmread(reports(tmp_path, [one])[0]["a.dcm"])
        for one in (answer("a.dcm"), answer("a.dcm", **changed), answer("a.dcm"))
    ]
    first, other, again = (report.SOPInstanceUID for report in found)
    assert first == again != other
    assert len({report.SeriesInstanceUID for report in found}) == 1
    assert len(list((tmp_path / "reports").iterdir())) == 2


def test_without_a_decision_none_is_stated(tmp_path):
    scan(tmp_path / "a.dcm")
    nothing = Algorithm(**{**vars(ALGORITHM), "csf": None, "threshold": math.nan, "target_risk": None})
    written, _ = reports(tmp_path, [answer("a.dcm", deferred=None)], nothing)
    found = items(pydicom.dcmread(written["a.dcm"]))
    assert not [name for name in found if "reader" in name or "Confidence" in name]
    never = Algorithm(**{**vars(ALGORITHM), "threshold": math.inf, "csf": "PE"})
    written, _ = reports(tmp_path, [answer("a.dcm")], never)
    found = items(pydicom.dcmread(written["a.dcm"]))
    assert found["Deferred to a reader"] == ["Yes"]
    assert not [name for name in found if "onfidence" in name]  # neither NaN nor infinity is a number there


def test_images_whose_header_makes_no_report_are_named(tmp_path, monkeypatch, caplog, recwarn):
    scan(tmp_path / "good.dcm")
    scan(tmp_path / "study.dcm", StudyInstanceUID=None)
    scan(tmp_path / "sop.dcm", SOPInstanceUID=None)
    scan(tmp_path / "sex.dcm", PatientSex="U")
    born = pydicom.dcmread(scan(tmp_path / "born.dcm", PatientSex="U"))
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    born.PatientBirthDate, born.AccessionNumber = "May 1970", "x" * 40
    born.save_as(tmp_path / "born.dcm")
    monkeypatch.undo()
    bare = dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime")
    )
    scan(tmp_path / "bare.dcm", **bare, AccessionNumber=None)
    scan(tmp_path / "plain.dcm", PatientName="Jane Doe")  # without the ^ that highdicom expects
    recwarn.clear()
    caplog.clear()
    names = ("plain.dcm", "bare.dcm", "born.dcm", "good.dcm", "sex.dcm", "sop.dcm", "study.dcm")
    written, lacking = reports(tmp_path, [answer(name) for name in names])
    assert list(written) == ["plain.dcm", "bare.dcm", "good.dcm"]
    assert lacking["study.dcm"] == "its header has no StudyInstanceUID, which a report must refer to"
    assert lacking["sop.dcm"] == "its header has no SOPInstanceUID, which a report must refer to"
    said = caplog.text + str([str(one.message) for one in recwarn]) + str(lacking)
    for secret in ("Jane", "Doe", "May 1970", "19700101", "MRN-4711"):
        assert secret not in said
    assert lacking["sex.dcm"] == "its PatientSex is not what DICOM allows: correct its header"
    assert lacking["born.dcm"].startswith(
        "its PatientBirthDate and PatientSex and AccessionNumber is not what"
    )


def test_without_highdicom_the_error_says_what_to_install_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr("monai_sf.prediction.structured_reports.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'monai-sf\[dicom\]'"):
        StructuredReports(tmp_path / "reports").check()
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        StructuredReports(tmp_path / "file" / "reports").check()
