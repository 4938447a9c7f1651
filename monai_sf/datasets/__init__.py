"""Case tables, studies and leak-safe splits, from datasets as they are published."""

from monai_sf.datasets.cases import build_cases
from monai_sf.datasets.ct_files import write_ct_slices, write_nodule_slices
from monai_sf.datasets.leaks import check_leaks
from monai_sf.datasets.reading import MissingImagesError, describe_cases
from monai_sf.datasets.rendered_files import usable_cores, write_rendered_slices
from monai_sf.datasets.splits import check_splits, split_cases
from monai_sf.datasets.studies import STUDIES, Study, find_study
from monai_sf.datasets.tables import TableError

__all__ = [
    "STUDIES",
    "MissingImagesError",
    "Study",
    "TableError",
    "build_cases",
    "check_leaks",
    "check_splits",
    "describe_cases",
    "find_study",
    "split_cases",
    "usable_cores",
    "write_ct_slices",
    "write_nodule_slices",
    "write_rendered_slices",
]
