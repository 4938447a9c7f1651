"""A network for 16 x 16 grey images in files, its evaluation, and the run of an inference on a folder."""

import json
from pathlib import Path

import pandas as pd
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureTyped
from pydicom.uid import generate_uid

from helpers.image_files import dicom, ramp
from helpers.toy_prediction import predictor
from monai_sf.data import LoadImageFiled, PrepareImaged
from monai_sf.prediction import image_records

RANGE = {"range": "type"}
PATIENT = {"PatientName": "Doe^Jane", "PatientID": "MRN-4711", "PatientBirthDate": "19700101"}


def scan(path: Path, most: int = 4095, **tags) -> Path:
    """A radiograph of a patient, with all UIDs, as a hospital writes it; tags that are None are left out."""
    own = {
        **PATIENT,
        **{"PatientSex": "F", "AccessionNumber": "A1", "StudyID": "1"},
        **{"StudyDate": "20240229", "StudyTime": "101010"},
        **{"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()},
    }
    kept = {name: value for name, value in own.items() if tags.get(name, "") is not None}
    more = {name: value for name, value in tags.items() if value is not None or name not in own}
    return dicom(path, ramp(most), bits=12, **{**kept, **more})


def inference(run_dir, folder, output, pattern=None, intensity=RANGE, **changes):
    """Return the predictor of a config that would read this folder, after its checks."""
    records = image_records(folder, pattern, **changes.pop("images", {}))
    prepare = PrepareImaged("image", mode="L", size=(16, 16), intensity=intensity)
    load = Compose([LoadImageFiled("image"), prepare, EnsureTyped("image", track_meta=False)])
    engine = predictor(
        run_dir,
        changes.pop("csf", "MSR"),
        val_data_loader=DataLoader(Dataset(records, load), batch_size=64),
        output=output,
        **changes,
    )
    engine.load()
    engine.check_images(intensity=intensity)
    return engine


def written(output: Path) -> tuple[pd.DataFrame, dict]:
    """CSV and JSON of an inference."""
    # older pandas reads the last digit of a number wrongly by default
    options = {"keep_default_na": False, "float_precision": "round_trip"}
    table = pd.read_csv(output, **options).set_index("case_id")
    return table, json.loads(output.with_suffix(".json").read_text(), parse_constant=_no_constant)


def _no_constant(name):
    raise AssertionError(f"{name} is not JSON")
