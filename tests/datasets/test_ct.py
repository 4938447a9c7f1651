from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    generate_uid,
)

from monai_sf.datasets import MissingImagesError, build_cases, split_cases, write_nodule_slices
from monai_sf.datasets import lung_nodule_ct as lung
from monai_sf.datasets.lidc_dicom import DicomError, find_series, read_patch, slices_of_series
from monai_sf.datasets.tree import read_tree


def dicom(
    path: Path, series: str, z: float, number: int | None, pixels: np.ndarray | None, **tags: object
) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.Modality = series, "CT"
    data.ImagePositionPatient = [-100.0, -100.0, z]
    if number is not None:
        data.InstanceNumber = number
    data.RescaleSlope, data.RescaleIntercept = 2, -1000
    if pixels is not None:
        data.Rows, data.Columns = pixels.shape
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.PixelData = pixels.astype("<i2").tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def pixels(value: int, size: int = 512) -> np.ndarray:
    """Every pixel tells its slice, row and column."""
    row, column = np.mgrid[:size, :size]
    return (value * 1000 + row % 30 * 30 + column % 30).astype(np.int16)


@pytest.fixture
def two(nodules: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The first nodule of the first two patients."""
    chosen = nodules.drop_duplicates("patient_id").head(2).reset_index(drop=True)
    monkeypatch.setattr(lung, "nodule_index", lambda: chosen.copy())
    return chosen


def download(root: Path, nodule: pd.Series, *, folder: str, skip: int = -1) -> list[Path]:
    """The five slices of a nodule, in falling z as TCIA numbers them."""
    files = []
    zs = nodule["slice_zs"]
    for k, z in enumerate(zs):
        if k != skip:
            number = len(zs) - k
            path = root / folder / f"1-{number:03d}.dcm"
            files.append(dicom(path, nodule["series_instance_uid"], z, number, pixels(k)))
    return files


def test_patches_are_hounsfield_units_around_the_centroid(two: pd.DataFrame, tmp_path: Path) -> None:
    download(tmp_path, two.iloc[0], folder="LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-30178/3000566.000000-03192")
    download(tmp_path, two.iloc[1], folder="flat")
    cases = build_cases("lung_nodule_ct", tmp_path)
    assert set(cases["source"]) == {"ct"}
    assert set(cases["data_kind"]) == {"real"}
    assert cases["image"][0].startswith(f"ct/{two['patient_id'][0]}/")
    assert write_nodule_slices(cases, tmp_path) == 10
    for (_, nodule), own in zip(two.iterrows(), (cases[:5], cases[5:]), strict=True):
        top, left = (int(nodule[f"centroid_{axis}"] + 0.5) - 32 for axis in ("row", "column"))
        for k, image in enumerate(own["image"]):
            patch = np.load(tmp_path / image)
            assert patch.dtype == np.int16
            expected = pixels(k)[top : top + 64, left : left + 64].astype(int) * 2 - 1000
            np.testing.assert_array_equal(patch, np.clip(expected, -1024, 3071))
    assert write_nodule_slices(cases, tmp_path) == 0


def test_several_series_in_one_folder(two: pd.DataFrame, tmp_path: Path) -> None:
    for k, nodule in two.iterrows():
        for i, z in enumerate(nodule["slice_zs"]):
            dicom(tmp_path / f"all/{i}{k}.dcm", nodule["series_instance_uid"], z, i, pixels(i, 64))
    found = find_series(read_tree(tmp_path), set(two["series_instance_uid"]))
    assert {uid: len(files) for uid, files in found.items()} == dict.fromkeys(two["series_instance_uid"], 5)


def test_several_series_in_one_folder_where_first_and_last_are_of_one(
    two: pd.DataFrame, tmp_path: Path
) -> None:
    order = "abba" + "ab" * 2 + "ba"
    for i, letter in enumerate(order):
        nodule = two.iloc["ab".index(letter)]
        dicom(tmp_path / f"{i:02d}.dcm", nodule["series_instance_uid"], float(i), i, pixels(0, 8))
    found = find_series(read_tree(tmp_path), set(two["series_instance_uid"]))
    assert [len(found[uid]) for uid in two["series_instance_uid"]] == [5, 5]


@pytest.mark.parametrize("missing", ["raise", "drop", "keep"])
def test_nothing_is_rendered_unless_that_is_asked_for(
    two: pd.DataFrame, tmp_path: Path, missing: str
) -> None:
    with pytest.raises(FileNotFoundError, match=r"^no DICOM file of LIDC-IDRI's CT below .*rendered=True"):
        build_cases("lung_nodule_ct", tmp_path, missing=missing)
    dicom(tmp_path / "other.dcm", "1.2.3", 0.0, 1, pixels(0, 8))
    (tmp_path / "LIDC-IDRI").symlink_to(tmp_path / "not mounted")
    with pytest.raises(FileNotFoundError, match=r"^DICOM files, but none .*links lead nowhere .*LIDC-IDRI"):
        build_cases("lung_nodule_ct", tmp_path, missing=missing)
    assert set(build_cases("lung_nodule_ct", tmp_path, rendered=True)["source"]) == {"rendered"}


def test_ct_that_is_linked_into_the_folder(two: pd.DataFrame, tmp_path: Path, caplog) -> None:
    for number, nodule in two.iterrows():
        download(tmp_path / "archive", nodule, folder=f"{number}")
    (tmp_path / "archive/PHANTOM").touch()
    (tmp_path / "data").mkdir()
    for name in ("0", "1"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "archive" / name)
    with caplog.at_level(logging.WARNING, logger="monai_sf"):
        cases = build_cases("lung_nodule_ct", tmp_path / "data")
    assert f"2 links lead out of the folder and are followed (first: 0 to {tmp_path}/archive/0" in caplog.text
    assert set(cases["source"]) == {"ct"}
    assert set(cases["data_kind"]) == {"phantom"}
    assert write_nodule_slices(cases, tmp_path / "data") == 10
    assert not list((tmp_path / "archive").rglob("*.npy"))


def test_files_without_an_ending_are_read_where_they_begin_as_dicom(
    two: pd.DataFrame, tmp_path: Path
) -> None:
    for k, file in enumerate(download(tmp_path, two.iloc[0], folder="a")):
        file.rename(file.with_name(("IM{}", "1.3.6.{}")[k % 2].format(k)))
    (tmp_path / "a" / "LICENSE").write_text("no DICOM file")
    assert len(find_series(read_tree(tmp_path), {two["series_instance_uid"][0]}).popitem()[1]) == 5
    assert set(build_cases("lung_nodule_ct", tmp_path, missing="drop")["source"]) == {"ct"}


def test_series_that_are_not_there(two: pd.DataFrame, tmp_path: Path) -> None:
    download(tmp_path, two.iloc[0], folder="a")
    with pytest.raises(
        MissingImagesError, match=f"series of 5 of 10 cases .*\n  {two['patient_id'][1]} 1.3"
    ) as e:
        build_cases("lung_nodule_ct", tmp_path)
    assert len(e.value.images) == 1
    dropped = build_cases("lung_nodule_ct", tmp_path, missing="drop")
    assert set(dropped["group"]) == {two["patient_id"][0]}
    assert set(build_cases("lung_nodule_ct", tmp_path, missing="keep")["source"]) == {"ct"}


def test_of_two_files_with_one_z_the_lower_number_is_taken(tmp_path: Path) -> None:
    files = [
        dicom(tmp_path / "a.dcm", "1.2", -5.0, 7, None),
        dicom(tmp_path / "b.dcm", "1.2", -5.0, 3, None),
        dicom(tmp_path / "c.dcm", "1.2", -6.0, 9, None),
        dicom(tmp_path / "d.dcm", "9.9", -4.0, 1, None),
        dicom(tmp_path / "e.dcm", "1.2", -4.0, 1, None, ImagePositionPatient=None),
        dicom(tmp_path / "f.dcm", "1.2", -5.0, None, None),
    ]
    (tmp_path / "g.dcm").write_bytes(b"rubbish")
    found = slices_of_series("1.2", [*files, tmp_path / "g.dcm"])
    assert [(one.path.name, one.z) for one in found] == [("c.dcm", -6.0), ("b.dcm", -5.0)]


def test_two_files_of_one_slice_must_show_the_same(two: pd.DataFrame, tmp_path: Path) -> None:
    files = download(tmp_path, two.iloc[0], folder="a")
    filtered = tmp_path / "0-filtered"  # before the other by name
    shutil.copytree(tmp_path / "a", filtered)
    cases = build_cases("lung_nodule_ct", tmp_path, missing="drop")
    assert write_nodule_slices(cases, tmp_path) == 5
    shutil.rmtree(tmp_path / "ct")
    series, z = two["series_instance_uid"][0], two["slice_zs"][0][1]
    other = dicom(filtered / files[1].name, series, z, 4, pixels(9))
    with pytest.raises(DicomError, match=r"1 of 5 CT slices .*\n.* but their pixels differ: keep") as caught:
        write_nodule_slices(cases, tmp_path)
    assert str(other) in str(caught.value)
    assert str(files[1]) in str(caught.value)
    dicom(other, series, z, 5, pixels(9))  # a higher InstanceNumber: pylidc takes the other
    assert write_nodule_slices(cases, tmp_path) == 1


def test_all_faults_are_in_one_error_and_the_rest_is_written(two: pd.DataFrame, tmp_path: Path) -> None:
    files = download(tmp_path, two.iloc[0], folder="a", skip=2)
    series, zs = two["series_instance_uid"][0], two["slice_zs"][0]
    dicom(files[0], series, zs[0], 5, None)
    dicom(files[3], series, zs[4], 1, pixels(4), RescaleSlope=None)
    cases = build_cases("lung_nodule_ct", tmp_path, missing="drop")
    with pytest.raises(DicomError, match="3 of 5 CT slices cannot be made") as caught:
        write_nodule_slices(cases, tmp_path)
    assert f"series {series} has no readable slice at z = {zs[2]:g} mm (4 others)" in str(caught.value)
    assert "1-005.dcm has no pixel data" in str(caught.value)
    assert "1-001.dcm lacks RescaleSlope" in str(caught.value)
    assert len(list((tmp_path / "ct").rglob("*.npy"))) == 2


def test_patch_at_the_border_and_truncated_files(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", "1.2", 0.0, 1, pixels(0, 16))
    patch = read_patch(path, 0, 15, 8)
    inside = pixels(0, 16)[:4, 11:].astype(int) * 2 - 1000
    np.testing.assert_array_equal(patch[4:, :5], inside)
    assert (patch[:4] == -1024).all()
    assert (patch[:, 5:] == -1024).all()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DicomError, match=r"a\.dcm cannot be decoded"):
        read_patch(path, 0, 0, 8)
    dicom(path, "1.2", 0.0, 1, pixels(0, 16), RescaleIntercept=None)
    with pytest.raises(DicomError, match=r"a\.dcm lacks RescaleIntercept"):
        read_patch(path, 0, 0, 8)


@pytest.mark.parametrize(
    ("there", "damaged"),
    [
        (b"\x20\x00\x0e\x00UI", b"\x20\x00\x0e\x00U\xff"),
        (b"\x20\x00\x32\x00DS", b"\x20\x00\x32\x00\xff\xff"),
        (b"\x20\x00\x13\x00IS", b"\x20\x00\x13\x00Ix"),
        (b"\\5.0", b"\\5x0"),
        (b"\\5.0", b"\\nan"),
    ],
)
def test_damaged_headers_are_passed_over(tmp_path: Path, there: bytes, damaged: bytes) -> None:
    good = dicom(tmp_path / "a.dcm", "1.2.3", 6.0, 1, pixels(0, 32))
    bad = dicom(tmp_path / "b.dcm", "1.2.3", 5.0, 2, pixels(0, 32))
    assert [one.path for one in slices_of_series("1.2.3", [good, bad])] == [bad, good]
    assert bad.read_bytes().count(there) == 1
    bad.write_bytes(bad.read_bytes().replace(there, damaged))
    assert [one.path for one in slices_of_series("1.2.3", [good, bad])] == [good]


def test_slices_that_are_not_the_annotated_ones(tmp_path: Path) -> None:
    small = dicom(tmp_path / "a.dcm", "1.2.3", 6.0, 1, pixels(0, 32))
    with pytest.raises(DicomError, match=r"is 32 x 32, and the nodule's centre is at row 300 and column 5"):
        read_patch(small, 300, 5, 16)
    header = pydicom.dcmread(small)
    for slope, message in (("", "RescaleIntercept must be numbers"), ("nan", "above 0"), ("0", "above 0")):
        header.RescaleSlope = slope
        header.save_as(small)
        with pytest.raises(DicomError, match=rf"a\.dcm: RescaleSlope .*{message}"):
            read_patch(small, 5, 5, 16)


@pytest.mark.parametrize("kept", ["meta information", "nothing"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_files_without_a_preamble_are_read(
    two: pd.DataFrame, tmp_path: Path, kept: str, syntax: pydicom.uid.UID
) -> None:
    def cut(root: Path) -> list[np.ndarray]:
        cases = build_cases("lung_nodule_ct", root, missing="drop")
        assert set(cases["source"]) == {"ct"}
        assert len(cases) == write_nodule_slices(cases, root) == 5
        return [np.load(root / image) for image in cases.sort_values("slice_offset")["image"]]

    download(tmp_path / "whole", two.iloc[0], folder="a")
    names = ["a.dcm", "b.DCM", "c", "d.1", "e"]
    for file, name in zip(download(tmp_path / "bare", two.iloc[0], folder="a"), names, strict=True):
        header = pydicom.dcmread(file)
        header.file_meta.TransferSyntaxUID = syntax
        header.save_as(file, implicit_vr=syntax.is_implicit_VR, little_endian=True)
        length = pydicom.dcmread(file).file_meta.FileMetaInformationGroupLength
        begin = 132 if kept == "meta information" else 144 + length
        file.with_name(name).write_bytes(file.read_bytes()[begin:])
        file.unlink()
    np.testing.assert_array_equal(cut(tmp_path / "bare"), cut(tmp_path / "whole"))


def test_a_missing_decoder_is_named_and_no_new_download_asked_for(two: pd.DataFrame, tmp_path: Path) -> None:
    files = download(tmp_path, two.iloc[0], folder="a")
    for file in files[:2]:
        header = pydicom.dcmread(file)
        header.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        header["PixelData"].is_undefined_length = True
        header.file_meta.TransferSyntaxUID = HTJ2KLossless
        header.save_as(file)
    cases = build_cases("lung_nodule_ct", tmp_path, missing="drop")
    with pytest.raises(DicomError, match="2 of 5 CT slices cannot be made") as caught:
        write_nodule_slices(cases, tmp_path)
    said = str(caught.value)
    assert "1-005.dcm is compressed as High-Throughput JPEG 2000" in said
    assert "(1.2.840.10008.1.2.4.201), which no installed package decodes: install pylibjpeg>=" in said
    assert "pylibjpeg-openjpeg>=" in said
    assert "Install a decoder for 2 of them and run again. To continue" in said
    assert "Download" not in said
    files[4].unlink()
    for image in (tmp_path / "ct").rglob("*.npy"):
        image.unlink()
    with pytest.raises(DicomError, match=r"Install a decoder for 2 of .*\. Download these series again"):
        write_nodule_slices(cases, tmp_path)


def test_only_the_files_of_the_nodule_are_decoded(
    two: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(tmp_path, two.iloc[0], folder="a")
    for i in range(20):
        dicom(tmp_path / f"a/2-{i:03d}.dcm", two["series_instance_uid"][0], 5000.0 + i, 100 + i, pixels(1, 8))
    cases = build_cases("lung_nodule_ct", tmp_path, missing="drop")
    whole: list[str] = []
    read = pydicom.dcmread

    def spy(file: Path, *arguments: object, **options: object):
        if not options.get("stop_before_pixels"):
            whole.append(Path(file).name)
        return read(file, *arguments, **options)

    monkeypatch.setattr(pydicom, "dcmread", spy)
    write_nodule_slices(cases, tmp_path)
    assert sorted(whole) == [f"1-{i:03d}.dcm" for i in range(1, 6)]


def test_rules(nodules: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lung, "nodule_index", lambda: nodules)
    strict = build_cases("lung_nodule_ct", tmp_path, rendered=True, malignant_above=3, min_readers=3)
    assert (strict["n_readers"] >= 3).all()
    assert (strict["label"] == (strict["malignancy"] > 3)).all()
    assert len(split_cases(strict, "texture", 0))
    with pytest.raises(ValueError, match=r"malignant_above must be in \[1, 5\), .* got 5"):
        build_cases("lung_nodule_ct", tmp_path, malignant_above=5)
    with pytest.raises(ValueError, match="no nodule has min_readers=9"):
        build_cases("lung_nodule_ct", tmp_path, min_readers=9)


def volume(
    root: Path, nodule: pd.Series, *, folder: str, compressed: bool = False, flipped: bool = False
) -> Path:
    """LUNA16's file of the scan that :func:`download` writes: Hounsfield units by rising or falling z."""
    zs = nodule["slice_zs"]
    hu = np.stack([pixels(k).astype(np.int32) * 2 - 1000 for k in range(len(zs))]).astype(np.int16)
    step = zs[1] - zs[0]
    image = SimpleITK.GetImageFromArray(hu[::-1] if flipped else hu)
    image.SetOrigin([-100.0, -100.0, zs[-1] if flipped else zs[0]])
    image.SetSpacing([float(nodule["pixel_spacing"])] * 2 + [abs(step)])
    sign = np.sign(step) * (-1 if flipped else 1)
    image.SetDirection([1, 0, 0, 0, 1, 0, 0, 0, sign])
    path = root / folder / f"{nodule['series_instance_uid']}.mhd"
    path.parent.mkdir(parents=True)
    SimpleITK.WriteImage(image, str(path), compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("flipped", [False, True])
def test_volumes_of_luna16_give_the_slices_of_the_dicom_files(
    two: pd.DataFrame, tmp_path: Path, compressed: bool, flipped: bool
) -> None:
    for root in ("tcia", "luna"):
        (tmp_path / root).mkdir()
        download(tmp_path / root, two.iloc[1], folder="LIDC-IDRI/b")
    download(tmp_path / "tcia", two.iloc[0], folder="LIDC-IDRI/a")
    volume(tmp_path / "luna", two.iloc[0], folder="luna16/subset3", compressed=compressed, flipped=flipped)
    made = {}
    for root in ("tcia", "luna"):
        cases = build_cases("lung_nodule_ct", tmp_path / root)
        assert set(cases["source"]) == {"ct"}
        assert write_nodule_slices(cases, tmp_path / root) == 10
        made[root] = [np.load(tmp_path / root / image) for image in cases["image"]]
        assert write_nodule_slices(cases, tmp_path / root) == 0
    assert len({patch.tobytes() for patch in made["tcia"]}) == 7  # the last two are brighter than is stored
    np.testing.assert_array_equal(made["tcia"], made["luna"])
    assert {patch.dtype for patch in made["luna"]} == {np.dtype(np.int16)}


def test_volumes_that_do_not_fit_are_named(two: pd.DataFrame, tmp_path: Path) -> None:
    first = volume(tmp_path, two.iloc[0], folder="a")
    second = volume(tmp_path, two.iloc[1], folder="b")
    second.with_suffix(".raw").unlink()
    header = first.read_text().splitlines()
    shifted = [
        f"Offset = -100 -100 {two['slice_zs'][0][0] + 1.2}" if "Offset" in line else line for line in header
    ]
    first.write_text("\n".join(shifted))
    cases = build_cases("lung_nodule_ct", tmp_path, missing="drop")
    assert len(cases) == 10
    with pytest.raises(DicomError, match="of 10 CT slices cannot be made") as caught:
        write_nodule_slices(cases, tmp_path)
    assert f"{first} has no slice at z = {two['slice_zs'][0][0]:g} mm" in str(caught.value)
    assert f"{second} names {second.stem}.raw as the file of its pixels, which is not there" in str(
        caught.value
    )
    first.write_text(
        "\n".join(header)
        .replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 0 1 0 1 0")
        .replace("0 0 0 1 0 0 0 -1", "0 0 0 0 1 0 1 0")
    )
    with pytest.raises(DicomError, match=r"is not axial"):
        write_nodule_slices(cases, tmp_path)
