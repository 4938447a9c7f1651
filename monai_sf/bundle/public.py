"""The public names of :mod:`monai_sf.bundle`, which imports them when one is first asked for."""

from monai_sf.bundle.claims import (
    check_ensemble,
    check_evaluated_alike,
    check_trained_alike,
    claim_cases,
    claim_run_dir,
)
from monai_sf.bundle.description import describe_run
from monai_sf.bundle.given_model import class_order
from monai_sf.bundle.initialize import start
from monai_sf.bundle.medmnist import medmnist_file
from monai_sf.bundle.preparation import prepare
from monai_sf.bundle.run_config import follow_run
from monai_sf.bundle.workflow import merged_config, root, tracked

__all__ = [
    "check_ensemble",
    "check_evaluated_alike",
    "check_trained_alike",
    "claim_cases",
    "claim_run_dir",
    "class_order",
    "describe_run",
    "follow_run",
    "medmnist_file",
    "merged_config",
    "prepare",
    "root",
    "start",
    "tracked",
]
