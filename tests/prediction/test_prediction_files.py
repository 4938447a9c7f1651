"""What goes into an inference and what comes out: images of every kind in, CSV and JSON out."""

import json
import logging
import math
import os
import struct

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.uid import generate_uid

from helpers.dicom_prediction import PATIENT, RANGE, inference, scan, written
from helpers.image_files import coded, colours, dicom, itk, nifti, ramp
from helpers.toy_prediction import evaluator, network
from monai_sf.datasets.preflight import PreflightError
from monai_sf.files import sha256_of
from monai_sf.files.images import read_image
from monai_sf.files.naming import SUFFIXES
from monai_sf.prediction import image_records
from monai_sf.results.format import seal

JP2 = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.save({"network": network().state_dict()}, folder / "best.pt")
    evaluator(folder).run()
    return folder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def trained_on(run_dir, tmp_path, *kinds):
    """The evaluation of a network that was trained on images of these kinds."""
    run = json.loads((run_dir / "results" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(seal({**run, "image_kinds": list(kinds)})))
    return tmp_path / "run.json"


def with_threshold(run_dir, tmp_path, confidence):
    run = json.loads((run_dir / "results" / "run.json").read_text())
    run["thresholds"]["csfs"]["MSR"] |= {"threshold": math.log(confidence), "risk": 0.0, "bound": 0.6}
    (tmp_path / "run.json").write_text(json.dumps(seal(run)))
    return tmp_path / "run.json", confidence


def test_csv_and_json_say_the_same_as_the_network(run_dir, images, tmp_path):
    pixels = [np.roll(ramp(255, np.uint8), step, 0) for step in (0, 7, 20)]
    for name, values in zip(("=1+1.png", 'a"<b>&\n.png', "ü,.png"), pixels, strict=True):
        Image.fromarray(values).save(images / name)
    output = tmp_path / "p.csv"
    evaluation, threshold = with_threshold(run_dir, tmp_path, 0.55)
    inference(run_dir, images, output, evaluation=evaluation).run()
    table, document = written(output)
    assert list(table.index) == sorted(os.listdir(images)) == [one["case_id"] for one in document["images"]]
    plain = network().eval()
    reader = inference(run_dir, images, output).dataset
    with torch.no_grad():
        logits = plain.outputs(torch.stack([reader[i]["image"] for i in range(3)])).logits.double()
    expected = torch.exp(logits - logits.exp().sum(1, keepdim=True).log())
    for place, one in enumerate(document["images"]):
        row = table.loc[one["case_id"]]
        np.testing.assert_allclose(one["probabilities"], expected[place], rtol=1e-5)
        assert one["prediction"] == row["prediction"] == int(expected[place].argmax())
        assert one["class"] == row["class"] == ["dark", "bright"][one["prediction"]]
        assert one["deferred_to_a_reader"] == row["defer"] == (max(one["probabilities"]) < threshold)
        assert one["confidences"] == {name: row[name] for name in table.columns[2:-1]}
        assert one["confidences"]["MSR"] == pytest.approx(max(one["probabilities"]), rel=1e-12)
    assert document["software"]["name"] == "monai_sf"
    assert document["networks_sha256"] == [sha256_of(run_dir / "best.pt")]
    assert document["evaluations_sha256"] == [json.loads(evaluation.read_text())["digest"]]
    assert (document["method"], document["csf"], document["target_risk"]) == ("confidnet", "MSR", 0.7)
    assert document["threshold"] == pytest.approx(threshold, rel=1e-12)
    assert document["class_names"] == ["dark", "bright"]
    assert document["without_an_answer"] == []
    assert "sop_instance_uid" not in table


def test_nan_and_infinity_are_null(run_dir, images, tmp_path):
    Image.fromarray(ramp(255, np.uint8)).save(images / "a.png")
    run = json.loads((run_dir / "results" / "run.json").read_text())
    run["thresholds"]["csfs"]["MSR"]["threshold"] = None
    (tmp_path / "run.json").write_text(json.dumps(seal(run)))
    inference(run_dir, images, tmp_path / "p.csv", evaluation=tmp_path / "run.json").run()
    _, document = written(tmp_path / "p.csv")
    assert document["threshold"] is None
    assert document["images"][0]["deferred_to_a_reader"] is True
    inference(run_dir, images, tmp_path / "p.csv", csf=None, evaluation=tmp_path / "none.json").run()
    _, document = written(tmp_path / "p.csv")
    assert document["threshold"] is document["csf"] is document["target_risk"] is None
    assert document["images"][0]["deferred_to_a_reader"] is None


def test_a_csv_that_somebody_has_worked_on_is_not_replaced(run_dir, images, tmp_path):
    Image.fromarray(ramp(255, np.uint8)).save(images / "a.png")
    output = tmp_path / "p.csv"
    for _ in range(2):  # an untouched one is
        inference(run_dir, images, output).run()
    pd.read_csv(output).assign(seen_by="Dr A").to_csv(output, index=False)
    mine = output.read_bytes()
    with pytest.raises(FileExistsError, match=r"will not replace .*p\.csv, which is not as it was written"):
        inference(run_dir, images, output).run()
    assert output.read_bytes() == mine


def test_both_files_are_written_or_none(run_dir, images, tmp_path, monkeypatch):
    Image.fromarray(ramp(255, np.uint8)).save(images / "a.png")
    with pytest.raises(ValueError, match="output must name the CSV file"):
        inference(run_dir, images, tmp_path / "p.json")
    (tmp_path / "p.json").write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match=r"will not replace .*p\.json"):
        inference(run_dir, images, tmp_path / "p.csv")
    assert (tmp_path / "p.json").read_text() == '{"mine": 1}'
    (tmp_path / "p.json").unlink()
    inference(run_dir, images, tmp_path / "p.csv").run()
    before = [(tmp_path / name).read_bytes() for name in ("p.csv", "p.json")]
    Image.fromarray(ramp(255, np.uint8)).save(images / "b.png")
    again = inference(run_dir, images, tmp_path / "p.csv")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monai_sf.prediction.files._write_json", full)
    with pytest.raises(OSError, match="No space left"):
        again.run()
    assert [(tmp_path / name).read_bytes() for name in ("p.csv", "p.json")] == before


def test_every_kind_of_image_of_a_folder_is_classified(images):
    values = ramp(255, np.uint8)
    for ending in ("bmp", "gif", "jfif", "jpe", "JPEG", "jpg", "png", "tif", "tiff", "webp"):
        format = Image.registered_extensions()[f".{ending.lower()}"]
        (images / f"a.{ending}").write_bytes(coded(values, format=format))
    for name in ("a.dcm", "a.dicom", "a.IMA", "a.dic", "IM0001", "a.1.2.3"):
        dicom(images / name, values)
    nifti(images / "a.nii", values.T)
    nifti(images / "a.nii.gz", values.T)
    for name in ("a.nrrd", "a.mha", "a.mhd"):
        itk(images / name, values)
    np.save(images / "a.npy", values)
    records = image_records(images)
    found = {record["case_id"] for record in records}
    assert found == {name for name in os.listdir(images) if not name.endswith(".raw")}
    assert records.not_classified == {}
    for record in records:
        assert read_image(record["image"]).values.shape[:2] == values.shape
    endings = {os.path.splitext(name)[1].lower() for name in found}
    assert {f".{one.rpartition('.')[2]}" for one in SUFFIXES if one != ".nhdr"} <= endings


def test_images_with_an_ending_that_no_pattern_names_are_named_everywhere(run_dir, images, tmp_path, caplog):
    scan(images / "a.dcm")
    (images / "photo.jpe").write_bytes(coded(ramp(255, np.uint8), format="JPEG"))
    (images / "noending").write_bytes(coded(ramp(255, np.uint8), format="JPEG"))
    (images / "x.jp2").write_bytes(JP2)
    (images / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 30)
    (images / "mdb001.pgm").write_bytes(b"P5\n# of a scanner\n2 2\n255\n....")
    (images / "image.gif").write_bytes(coded(ramp(255, np.uint8), format="GIF"))
    dicom(images / "b.dic", ramp(4095))
    for name, content in (
        *(
            ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
            ("list.csv", b"BMI,age\n1,2\n"),
            ("P5.txt", b"P5 is me"),
        ),
        *(("empty", b""), ("features.npy", b"\x93NUMPY"), ("raw.dat", struct.pack("<4h", 2, 5, 8, 9))),
    ):
        (images / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        some = inference(run_dir, images, tmp_path / "p.csv", pattern="*.dcm")
    assert "6 of 14 files below" in caplog.text
    with pytest.raises(ValueError, match="7 of 8 images have no answer and are not in") as caught:
        some.run()
    table, document = written(tmp_path / "p.csv")
    assert list(table.index) == ["a.dcm"]
    named = {
        "photo.jpe": "is JPEG, and no pattern names the ending .jpe: add *.jpe to pattern, or move it away",
        "noending": "is JPEG in a file without an ending: give it the ending of its format",
        "x.jp2": "is JPEG 2000, which is not read: convert it, to PNG or TIFF",
        "x.heic": "is HEIF, which is not read: convert it, to PNG or TIFF",
        "mdb001.pgm": "is PNM, which is not read: convert it, to PNG or TIFF",
        "image.gif": "is GIF, and no pattern names the ending .gif: add *.gif to pattern, or move it away",
        "b.dic": "is DICOM, and no pattern names the ending .dic: add *.dic to pattern, or move it away",
    }
    assert {one["case_id"]: one["reason"] for one in document["without_an_answer"]} == named
    for name, why in named.items():
        assert f"\n  {name}: {why}" in str(caught.value)
        assert f"\n  {name}: {why}" in caplog.text
    nifti(images / "v.nii.gz", ramp(255, np.uint8).T)
    assert "add *.nii.gz to pattern" in image_records(images, "*.dcm").not_classified["v.nii.gz"]
    (images / "v.nii.gz").unlink()
    # what a pattern leaves out by the rest of the name was left out on purpose
    assert image_records(images, ["a*.dcm", "b.jpe"]).not_classified.keys() == named.keys() - {"photo.jpe"}
    assert image_records(images, "*").not_classified == {}


def test_a_path_stays_in_its_line(run_dir, images, tmp_path):
    Image.fromarray(ramp(255, np.uint8)).save(images / "a.png")
    (images / "x\n0 of 1 images have no answer\x1b[2J.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"\n  x\\x0a0 of 1 images have no answer\\x1b\[2J\.png: cannot be read"
    ):
        inference(run_dir, images, tmp_path / "p.csv").run()


def test_reasons_of_an_image_that_is_gone_meanwhile_hold_no_folder(run_dir, images, tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(ramp(255, np.uint8)).save(images / name)
    some = inference(run_dir, images, tmp_path / "p.csv")
    (images / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\n  b\.png: cannot be read: it is damaged, or of none"):
        some.run()
    assert str(tmp_path) not in (tmp_path / "p.json").read_text()


def test_dicom_has_a_row_per_instance_and_no_patient_in_any_file(run_dir, images, tmp_path):
    paths = [scan(images / name, InstitutionName="St. Elsewhere") for name in ("IM1", "IM2")]
    Image.fromarray(ramp(255, np.uint8)).save(images / "c.png")
    kinds = ("DICOM radiograph 12 bit", "picture uint8")
    more = {"evaluation": trained_on(run_dir, tmp_path, *kinds)}
    inference(run_dir, images, tmp_path / "p.csv", **more).run()
    table, document = written(tmp_path / "p.csv")
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]
    assert table["sop_instance_uid"].tolist() == [*uids, ""]
    assert [one.get("sop_instance_uid") for one in document["images"]] == [*uids, None]
    text = (tmp_path / "p.csv").read_text() + (tmp_path / "p.json").read_text()
    for secret in (*PATIENT.values(), "Doe", "Elsewhere", "patient_id", "study_instance_uid"):
        assert secret not in text
    inference(run_dir, images, tmp_path / "p.csv", dicom_ids=True, **more).run()
    table, document = written(tmp_path / "p.csv")
    assert table["patient_id"].tolist() == ["MRN-4711", "MRN-4711", ""]
    assert document["images"][0]["study_instance_uid"] == table["study_instance_uid"]["IM1"] != ""
    assert document["images"][0]["series_instance_uid"] == table["series_instance_uid"]["IM1"] != ""
    assert "Doe" not in (tmp_path / "p.csv").read_text() + (tmp_path / "p.json").read_text()


def test_copies_of_an_instance_are_named(run_dir, images, tmp_path):
    uid, other = generate_uid(), generate_uid()
    scan(images / "a.dcm", SOPInstanceUID=uid)
    scan(images / "b.dcm", SOPInstanceUID=uid, PatientName="Renamed")
    scan(images / "c.dcm", SOPInstanceUID=other)
    scan(images / "d.dcm", 3000, SOPInstanceUID=other)
    scan(images / "e.dcm", SOPInstanceUID=None)
    scan(images / "f.dcm", SOPInstanceUID=None)
    scan(images / "g.dcm", SOPInstanceUID="=cmd()")
    with pytest.raises(ValueError, match=r"3 of 7 images have no answer") as caught:
        inference(run_dir, images, tmp_path / "p.csv").run()
    said = str(caught.value)
    assert f"\n  b.dcm: is a copy of a.dcm: both have the SOP Instance UID {uid}" in said
    for one, two in (("c.dcm", "d.dcm"), ("d.dcm", "c.dcm")):
        assert f"\n  {one}: has the SOP Instance UID {other}, as have other pixels in {two}: one of" in said
    table, _ = written(tmp_path / "p.csv")
    assert table["sop_instance_uid"].to_dict() == {"a.dcm": uid, "e.dcm": "", "f.dcm": "", "g.dcm": ""}


def test_dicom_that_cannot_be_classified_is_named_with_its_reason(run_dir, images, tmp_path):
    scan(images / "a.dcm")
    scan(images / "frames.dcm", NumberOfFrames=7)
    scan(images / "report.dcm", Modality="SR")
    scan(images / "state.dcm", Modality="PR", PixelData=None)
    scan(images / "DICOMDIR", Modality=None, PixelData=None, DirectoryRecordSequence=[])
    scan(images / "odd.dcm", HighBit=15)
    (images / "cut.dcm").write_bytes((images / "a.dcm").read_bytes()[:-900])
    with pytest.raises(ValueError, match=r"6 of 7 images have no answer") as caught:
        inference(run_dir, images, tmp_path / "p.csv").run()
    for name, why in (
        *(("frames.dcm", "holds 7 frames"), ("report.dcm", "is a DICOM file without an image (modality SR)")),
        *(("state.dcm", "is a DICOM file without an image (modality PR)"), ("cut.dcm", "cannot be read: ")),
        *(("DICOMDIR", "is a DICOMDIR, the list"), ("odd.dcm", "stores 12 bits up to bit 15")),
    ):
        assert f"\n  {name}: {why}" in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "trained", "refused"),
    [
        (RANGE, ["DICOM radiograph 12 bit"], ["ct.dcm", "photo.png", "xa.dcm"]),
        (RANGE, ["DICOM XA 12 bit", "DICOM radiograph 12 bit"], ["ct.dcm", "photo.png"]),
        ({"percentiles": [0, 100]}, ["DICOM radiograph 14 bit"], ["ct.dcm", "xa.dcm"]),
        ({"percentiles": [0, 100]}, ["DICOM CT HU", "DICOM XA 8 bit"], ["cr.dcm", "dx.dcm"]),
    ],
)
def test_images_of_another_modality_than_trained_on_are_refused(
    run_dir, images, tmp_path, rule, trained, refused
):
    scan(images / "dx.dcm")
    scan(images / "cr.dcm", Modality="CR")
    scan(images / "xa.dcm", Modality="XA")
    Image.fromarray(colours(255, np.uint8)).save(images / "photo.png")
    scan(images / "ct.dcm", Modality="CT", RescaleSlope=1, RescaleIntercept=-1024)
    some = inference(
        run_dir,
        images,
        tmp_path / "p.csv",
        intensity=rule,
        evaluation=trained_on(run_dir, tmp_path, *trained),
    )
    assert sorted(some.unusable) == refused
    if refused == ["ct.dcm", "photo.png"]:
        said = "is DICOM CT HU, and the network was trained on DICOM XA 12 bit and DICOM radiograph 12 bit: "
        assert some.unusable["ct.dcm"].startswith(said)
    if refused[0] == "ct.dcm" and rule is not RANGE:
        assert (
            "is DICOM CT, and the network was trained on DICOM radiograph 14 bit" in some.unusable["ct.dcm"]
        )
    # what the config names counts more than what the training had
    some.check_images(intensity=rule, kinds=["DICOM XA 12 bit"])
    assert sorted(some.unusable) == ["cr.dcm", "ct.dcm", "dx.dcm", "photo.png"]


def test_without_the_kinds_of_the_training_a_mixture_is_an_error(run_dir, images, tmp_path):
    scan(images / "dx.dcm")
    scan(images / "ct.dcm", Modality="CT", RescaleSlope=1, RescaleIntercept=-1024)
    with pytest.raises(PreflightError, match="the images are of 2 kinds"):
        inference(run_dir, images, tmp_path / "p.csv", intensity={"percentiles": [0, 100]})


def test_huge_private_tags_do_no_harm(run_dir, images, tmp_path):
    path = scan(images / "a.dcm")
    data = pydicom.dcmread(path)
    block = data.private_block(0x0011, "Doe^Jane's scanner", create=True)
    block.add_new(1, "OB", b"x" * 5_000_000)
    data.save_as(path)
    inference(run_dir, images, tmp_path / "p.csv", structured_reports=tmp_path / "sr").run()
    table, document = written(tmp_path / "p.csv")
    assert len(table) == len(document["images"]) == 1
    (report,) = (tmp_path / "sr").iterdir()
    assert report.stat().st_size < 20_000
    assert pd.notna(table["MSR"]["a.dcm"])


def test_a_table_names_slices_of_volumes_without_labels(run_dir, images, tmp_path):
    volume = np.stack([np.roll(ramp(255, np.uint8), step, 0) for step in (0, 9, 20)], -1)
    nifti(images / "v.nii.gz", volume.swapaxes(0, 1))
    Image.fromarray(ramp(255, np.uint8)).save(images / "other.png")
    rows = ("file,z", "v.nii.gz,2", "v.nii.gz,0", "V.nii.gz,1", "not_there.nii,0", "v.nii.gz,7")
    (tmp_path / "new.csv").write_text("\n".join(rows))
    columns = {"image": "file", "slice": "z", "label": "no such column", "group": "neither"}
    listed = {"table": tmp_path / "new.csv", "columns": columns}
    with pytest.raises(ValueError, match=r"2 of 5 images have no answer") as caught:
        inference(run_dir, images, tmp_path / "p.csv", images=listed).run()
    assert "\n  not_there.nii#0: is not there" in str(caught.value)
    assert "\n  v.nii.gz#7: has no slice 7: it has 3, counted from 0" in str(caught.value)
    table, document = written(tmp_path / "p.csv")
    assert list(table.index) == ["v.nii.gz#2", "v.nii.gz#0", "V.nii.gz#1"]
    for place in range(3):
        (tmp_path / "slices").mkdir(exist_ok=True)
        Image.fromarray(volume[..., place]).save(tmp_path / "slices" / f"slice{place}.png")
    inference(run_dir, tmp_path / "slices", tmp_path / "q.csv").run()
    plain, _ = written(tmp_path / "q.csv")
    for case_id, name in zip(table.index, ("slice2.png", "slice0.png", "slice1.png"), strict=True):
        assert table["MSR"][case_id] == pytest.approx(plain["MSR"][name], rel=1e-6)
    assert table["MSR"].nunique() == 3
    assert [one["case_id"] for one in document["images"]] == list(table.index)


def test_a_table_says_all_that_is_wrong_with_it(images, tmp_path):
    Image.fromarray(ramp(255, np.uint8)).save(images / "a.png")
    table = tmp_path / "new.csv"
    table.write_text("path\na.png\n")
    with pytest.raises(ValueError, match=r"new\.csv: no column is called image: .* there are 'path'"):
        image_records(images, table=table)
    table.write_text("image,case_id\na.png,1\n/etc/passwd,1\n../b.png,2\na.png,3\n")
    with pytest.raises(ValueError, match=r"row 3 \(1\)|row 3") as caught:
        image_records(images, table=table)
    for said in ("absolute path outside of dataset_dir", "leads out of dataset_dir", "the id of another row"):
        assert said in str(caught.value)
    table.write_text("image,case_id\na.png,1\nA.PNG,3\n")
    with pytest.raises(ValueError, match=r"the image of another row, 1 rows: row 3"):
        image_records(images, table=table)
    table.write_text("image,case_id\na.png,007\n")
    assert image_records(images, table=table) == [{"case_id": "007", "image": str(images / "a.png")}]
