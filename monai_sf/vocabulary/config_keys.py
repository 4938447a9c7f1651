"""Config keys that say nothing about what a run computes."""

from __future__ import annotations

#: Keys that MONAI or :func:`monai_sf.bundle.start` evaluates by name.
STEPS = {"imports", "initialize", "join", "prepare", "run", "finalize", "_meta_"}
#: Keys that MONAI's tracking adds or reads.
TRACKING = {"tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"}
#: Keys that may differ between two calls of the same run: paths and settings of the machine.
PLACES = STEPS | {
    *("bundle_root", "dataset_dir", "table", "archive", "model", "output_dir", "run_dir", "checked_images"),
    *("image_cache", "device", "num_workers", "cache_rate"),
}
