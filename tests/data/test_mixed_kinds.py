"""Image files of several kinds in one folder, and the rules that make them comparable or do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers.image_files import dicom, nifti, ramp, table
from monai_sf.datasets.preflight import PreflightError, check_images, image_faults
from monai_sf.files.intensity import intensity_of

RANGE, WINDOW, DICOM = {"range": "type"}, {"window": [-1000, 400]}, {"window": "dicom"}
HU = (ramp(4000, np.int32) - 1500).astype(np.int16)
SIGN = {"RescaleSlope": 1, "RescaleIntercept": -1024}
B8, GREY = ramp(255, np.uint8), ramp(65535)


def mixed(folder, *writers):
    """Image files that are all intact: three pictures of 8 bits, two of each other kind."""
    for i in range(3):
        Image.fromarray(B8).save(folder / f"8bit{i}.png")
    names = [f"8bit{i}.png" for i in range(3)]
    for name, write in writers:
        for i in range(2):
            write(folder / f"{i}{name}")
            names.append(f"{i}{name}")
    return table(*names)


DEEP_PNG = ("deep.png", lambda path: Image.fromarray(GREY).save(path))


CR = ("cr.dcm", lambda path: dicom(path, ramp(4095), bits=12, modality="CR", WindowCenter=9, WindowWidth=9))


DX = ("dx.dcm", lambda path: dicom(path, ramp(16383), bits=14, WindowCenter=9, WindowWidth=9))


CT = ("ct.dcm", lambda path: dicom(path, HU, modality="CT", WindowCenter=9, WindowWidth=9, **SIGN))


RA = ("ra.nii", lambda path: nifti(path, HU.T, np.eye(4)))


LP = ("lp.nii", lambda path: nifti(path, HU.T))


def test_bits_that_the_rule_does_not_make_comparable_are_counted(tmp_path):
    cases = mixed(tmp_path, DEEP_PNG)
    for rule, said in ((RANGE, r"{range: type}"), (WINDOW, r"{window: \[-1000, 400\]}")):
        with pytest.raises(
            PreflightError,
            match=rf"^the images are of 2 kinds, which intensity {said} does not make comparable:\n"
            r"  3 picture uint8 \(first: 8bit0\.png, 8bit1\.png, 8bit2\.png\)\n"
            r"  2 picture uint16 \(first: 0deep\.png, 1deep\.png\)\n"
            r"Convert them .* image_kinds: \['picture uint16', 'picture uint8'\]$",
        ) as caught:
            check_images(cases, tmp_path, intensity=rule)
        assert caught.value.faults == {}
        images = [str(tmp_path / name) for name in cases["image"]]
        with pytest.raises(PreflightError, match=r"of 2 kinds"):
            image_faults(images, "", intensity=rule)
    assert check_images(cases, tmp_path, intensity={"percentiles": [1, 99]}).decoded == 5
    both = ["picture uint16", "picture uint8"]
    assert check_images(cases, tmp_path, intensity=RANGE, kinds=both) == (5, both)
    with pytest.raises(PreflightError) as caught:
        check_images(cases, tmp_path, intensity=RANGE, kinds=["picture uint8"])
    assert set(caught.value.faults.values()) == {"is picture uint16, and must be picture uint8"}


@pytest.mark.parametrize(
    ("others", "rule", "kinds"),
    [
        ([CR], RANGE, 2),
        ([CR, DX], RANGE, 3),
        ([CR], {"percentiles": [1, 99]}, 0),
        ([CR, DX], {"percentiles": [1, 99]}, 0),
        ([CR, CT], {"percentiles": [1, 99]}, 2),
        ([LP], WINDOW, 2),
        ([LP, RA], WINDOW, 3),
    ],
)
def test_formats_modalities_and_orientations_are_not_mixed_unnoticed(tmp_path, others, rule, kinds):
    cases = mixed(tmp_path, *others)
    if not kinds:
        assert check_images(cases, tmp_path, intensity=rule).decoded == len(cases)
        return
    with pytest.raises(PreflightError, match=f"^the images are of {kinds} kinds"):
        check_images(cases, tmp_path, intensity=rule)


def test_the_windows_of_dicom_files_make_bits_comparable_and_not_modalities(tmp_path):
    cases = mixed(tmp_path, CR, DX).iloc[3:]
    assert check_images(cases, tmp_path, intensity=DICOM).decoded == 4
    with pytest.raises(PreflightError, match="of 2 kinds, .*\n  2 DICOM radiograph .*\n  2 DICOM CT "):
        check_images(mixed(tmp_path, CR, CT).iloc[3:], tmp_path, intensity=DICOM)


def test_images_to_which_the_rule_does_not_apply_are_all_named(tmp_path):
    cases = mixed(tmp_path, CT)
    np.save(tmp_path / "same.npy", np.full((40, 33), 7, np.int16))
    cases = table(*cases["image"], "same.npy")
    for rule, faulty, said in (
        (DICOM, {"8bit0.png", "8bit1.png", "8bit2.png", "same.npy"}, "names no window or VOI LUT"),
        (RANGE, {"0ct.dcm", "1ct.dcm", "same.npy"}, "whose range is no range of brightness"),
        ({"percentiles": [0, 100]}, {"same.npy"}, "is nearly constant: its percentiles 0 and 100 are both 7"),
    ):
        with pytest.raises(PreflightError) as caught:
            check_images(cases, tmp_path, intensity=rule, cache=tmp_path / "cache.sqlite")
        assert caught.value.faults.keys() == faulty
        assert all(said in fault for fault in caught.value.faults.values())
    # what one rule found is not what another one asks for
    with pytest.raises(PreflightError, match="of 3 kinds"):
        check_images(cases, tmp_path, intensity=WINDOW, cache=tmp_path / "cache.sqlite")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "must be one of"),
        (None, "must be one of"),
        ("range", "must be one of"),
        ({"range": "type", "window": [0, 1]}, "must be one of"),
        ({"range": "values"}, "must be one of"),
        ({"window": "siemens"}, "must be one of"),
        ({"window": [0, 1, 2]}, "must be one of"),
        ({"window": [1, 1]}, "two rising numbers"),
        ({"window": [0, float("nan")]}, "two rising numbers"),
        ({"window": ["0", "1"]}, "two numbers"),
        ({"percentiles": [99, 1]}, "two rising numbers"),
        ({"percentiles": [-1, 99]}, r"must lie in 0\.\.100"),
    ],
)
def test_a_rule_is_one_of_four(rule, said):
    with pytest.raises(ValueError, match=rf"^intensity .*{said}"):
        intensity_of(rule)
