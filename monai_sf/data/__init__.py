"""From a case table to the input of a network: records, image readers, batches."""

from monai_sf.data.batches import SharedBatches, shared_loader
from monai_sf.data.case_dataset import CaseDataset
from monai_sf.data.case_images import case_preprocessing
from monai_sf.data.given_preprocessing import GivenPreprocessingd
from monai_sf.data.images import ImageFileReader, LoadImageFiled, PrepareImage, PrepareImaged
from monai_sf.data.records import case_records
from monai_sf.data.test_batches import TestBatches, TestPass
from monai_sf.data.unit import as_unit

__all__ = [
    "CaseDataset",
    "GivenPreprocessingd",
    "ImageFileReader",
    "LoadImageFiled",
    "PrepareImage",
    "PrepareImaged",
    "SharedBatches",
    "TestBatches",
    "TestPass",
    "as_unit",
    "case_preprocessing",
    "case_records",
    "shared_loader",
]
