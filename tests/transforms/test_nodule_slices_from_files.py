"""ExtractNoduleSlicesd behind MONAI's readers: a volume in a NIfTI file, and in a folder of DICOM files."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd
from monai_sf.transforms import ExtractNoduleSlicesd

from monai_sf.datasets import build_cases, write_nodule_slices
from monai_sf.datasets.phantom import write_phantom

SIDE = 40


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nifti(tmp_path: Path, axis: int) -> None:
    rng = np.random.default_rng(0)
    volume = rng.integers(-1000, 400, (30, 34, 38)).astype(np.int16)
    mask = np.zeros(volume.shape, np.uint8)
    mask[10:14, 12:18, 20:23] = 1
    mask[11:13, 13:16, 21] = 3  # three readers
    affine = np.diag([0.7, 0.7, 2.5, 1])
    for name, array in (("ct", volume), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    load = Compose(
        [
            LoadImaged(["ct", "mask"]),
            EnsureChannelFirstd(["ct", "mask"]),
            ExtractNoduleSlicesd(["ct", "mask"], axis=axis, size=16),
        ]
    )
    case = load({name: str(tmp_path / f"{name}.nii.gz") for name in ("ct", "mask")})
    assert case["ct"].shape == case["mask"].shape == (5, 1, 16, 16)
    # where the mask is, the same voxels are cut: the middle slice is the largest one
    largest = int(np.moveaxis(mask, axis, 0).astype(float).sum((1, 2)).argmax())
    inside = np.asarray(case["mask"][2, 0]) > 0
    expected = np.moveaxis(volume, axis, 0)[largest][np.moveaxis(mask, axis, 0)[largest] > 0]
    np.testing.assert_array_equal(np.asarray(case["ct"][2, 0])[inside], expected)


def test_a_mask_in_another_orientation_is_refused_until_it_is_brought_over(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    volume, mask = rng.integers(-1000, 400, (12, 12, 12)).astype(np.int16), np.zeros((12, 12, 12), np.uint8)
    mask[2:5, 3:6, 7] = 1
    oblique = np.array([[0.6, -0.2, 0, 5], [0.2, 0.6, 0.1, -3], [0, 0.1, 2.5, 1], [0, 0, 0, 1]])
    flip = np.diag([-1.0, 1, -1, 1])
    flip[:3, 3] = (11, 0, 11)  # the same voxels in the world, stored the other way round
    nibabel.save(nibabel.Nifti1Image(volume, oblique), tmp_path / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, oblique), tmp_path / "mask.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask[::-1, :, ::-1], oblique @ flip), tmp_path / "flipped.nii.gz")
    keys = ["ct", "mask", "flipped"]
    load = Compose([LoadImaged(keys), EnsureChannelFirstd(keys)])
    case = load({key: str(tmp_path / f"{key}.nii.gz") for key in keys})
    with pytest.raises(ValueError, match="volume and mask lie in different places: .* mm apart. Bring the"):
        ExtractNoduleSlicesd("ct", "flipped", size=4)(case)
    expected = ExtractNoduleSlicesd("ct", "mask", size=4)(case)["ct"]
    case = Orientationd("flipped", "RAS", labels=None)(case)
    np.testing.assert_array_equal(ExtractNoduleSlicesd("ct", "flipped", size=4)(case)["ct"], expected)


def test_dicom_gives_the_slices_that_the_reader_of_single_files_cuts(tmp_path: Path) -> None:
    root = write_phantom("lung_nodule_ct", tmp_path / "ct")
    cases = build_cases("lung_nodule_ct", root, missing="drop")
    nodule = cases[cases["group"] == cases["group"].iloc[0]]
    write_nodule_slices(nodule, root)
    series = next((root / "LIDC-IDRI" / nodule["group"].iloc[0]).rglob("*.dcm")).parent
    load = Compose([LoadImaged("ct", reader="PydicomReader"), EnsureChannelFirstd("ct")])
    case = load({"ct": str(series)})
    row, column = (int(np.floor(nodule[f"centroid_{a}"].iloc[0] + 0.5)) for a in ("row", "column"))
    case["mask"] = np.zeros(case["ct"].shape, np.uint8)
    case["mask"][0, column, row, 1:4] = 1  # MONAI's order is x (column), y (row), z
    case["mask"][0, column, row, 2] = 2
    slices = np.asarray(ExtractNoduleSlicesd("ct")(case)["ct"])[:, 0]
    for image, expected in zip(slices, nodule.sort_values("z", ascending=False)["image"], strict=True):
        np.testing.assert_array_equal(image.T, np.load(root / expected))
