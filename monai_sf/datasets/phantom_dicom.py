"""A phantom of LIDC-IDRI's download: its nodules' real geometry, and rendered slices in DICOM files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from monai_sf.datasets.lidc import index_nodules
from monai_sf.datasets.lidc_database import read_tables
from monai_sf.datasets.rendering import PATCH_SIZE, render_slice

__all__ = ["write_lung_nodule_ct"]

_SIZE = 512
_AIR_HU, _INTERCEPT = -850, -1024


def write_lung_nodule_ct(folder: Path, cases: int) -> None:
    """Write five DICOM slices per nodule, ``cases`` in all, of patients with a single nodule.

    Most are ordinary, as many benign as malignant, and some are in each study's target, so that all studies
    can be run. Series, positions and centres are those of LIDC-IDRI, folders those of a download; the pixels
    are rendered, with air around the patch of 64 x 64.
    """
    tables = read_tables()
    nodules = _mixed(index_nodules(tables)).head(-(-cases // 5))
    for _, nodule in nodules.iterrows():
        place = folder / "LIDC-IDRI" / nodule["patient_id"] / "01-01-2000-NA-NA-1" / "1.000000-NA-1"
        top, left = (
            int(np.floor(nodule[f"centroid_{axis}"] + 0.5)) - PATCH_SIZE // 2 for axis in ("row", "column")
        )
        for k, z in zip(nodule["slice_indices"], nodule["slice_zs"], strict=True):
            scan = np.full((_SIZE + 2 * PATCH_SIZE,) * 2, _AIR_HU)
            patch = render_slice(nodule, k, tables.contours)
            row, column = top + PATCH_SIZE, left + PATCH_SIZE
            scan[row : row + PATCH_SIZE, column : column + PATCH_SIZE] = patch
            number = nodule["slice_indices"][-1] - k + 1
            inside = scan[PATCH_SIZE:-PATCH_SIZE, PATCH_SIZE:-PATCH_SIZE]
            _save(place / f"1-{number:03d}.dcm", nodule, z, number, inside)


def _mixed(nodules: pd.DataFrame) -> pd.DataFrame:
    """Return patients with one nodule; of 13 per class, nine are ordinary and two in each study's target."""
    alone = nodules[~nodules["patient_id"].duplicated(keep=False)]
    target = np.select([alone["texture"] < 3, alone["spiculation"] > 2], ["texture", "spiculation"], "none")
    share = pd.Series(target, alone.index).map({"none": 9, "texture": 2, "spiculation": 2})
    order = alone.groupby([target, alone["malignancy"] > 2]).cumcount() / share
    return alone.loc[order.sort_values(kind="stable").index]


def _save(
    path: Path, nodule: pd.Series, z: float, number: int, hu: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[nodule["series_instance_uid"], str(z)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.PatientName, data.Modality = nodule["patient_id"], "PHANTOM", "CT"
    data.StudyInstanceUID = nodule["study_instance_uid"]
    data.SeriesInstanceUID = nodule["series_instance_uid"]
    data.SeriesDescription = "Phantom: rendered, not CT"
    data.InstanceNumber = int(number)
    data.ImagePositionPatient = [0.0, 0.0, float(z)]
    data.PixelSpacing = [float(nodule["pixel_spacing"])] * 2
    data.SliceThickness = float(nodule["slice_thickness"])
    data.RescaleSlope, data.RescaleIntercept = 1, _INTERCEPT
    data.Rows = data.Columns = _SIZE
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.PixelData = (hu - _INTERCEPT).astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
