"""Case tables, studies and leak-safe splits, from datasets as they are published or from any table.

Examples:
    >>> from monai_sf.datasets import STUDIES
    >>> [study.name for study in STUDIES["dermoscopy"]]
    ['iid', 'mskcc', 'barcelona', 'keratosis']
"""

from monai_sf.datasets.cases import build_cases
from monai_sf.datasets.class_folders import folder_cases
from monai_sf.datasets.ct_files import write_ct_slices, write_nodule_slices
from monai_sf.datasets.leaks import check_leaks
from monai_sf.datasets.medmnist import medmnist_cases, write_medmnist_images
from monai_sf.datasets.own_cases import table_cases, table_images
from monai_sf.datasets.reading import MissingImagesError, describe_cases
from monai_sf.datasets.rendered_files import write_rendered_slices
from monai_sf.datasets.split_checks import check_splits
from monai_sf.datasets.splits import split_cases
from monai_sf.datasets.studies import (
    STUDIES,
    Study,
    find_studies,
    find_study,
    in_target,
    study_description,
)
from monai_sf.datasets.tables import TableError
from monai_sf.files.cores import usable_cores

__all__ = [
    "STUDIES",
    "MissingImagesError",
    "Study",
    "TableError",
    "build_cases",
    "check_leaks",
    "check_splits",
    "describe_cases",
    "find_studies",
    "find_study",
    "folder_cases",
    "in_target",
    "medmnist_cases",
    "split_cases",
    "study_description",
    "table_cases",
    "table_images",
    "usable_cores",
    "write_ct_slices",
    "write_medmnist_images",
    "write_nodule_slices",
    "write_rendered_slices",
]
