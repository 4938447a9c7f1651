"""Config keys that have a meaning of their own, wherever they stand."""

from __future__ import annotations

#: Keys that MONAI or :func:`monai_sf.bundle.start` evaluates by their names.
STEPS = {"imports", "initialize", "join", "prepare", "run", "finalize", "_meta_"}
#: Keys that MONAI's tracking adds, or is set by.
TRACKING = {"tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"}
#: Keys that may differ between two calls that belong to the same run: where things lie and how they are run.
PLACES = STEPS | {
    *("bundle_root", "dataset_dir", "output_dir", "run_dir", "checked_images"),
    *("device", "num_workers", "cache_rate", "runtime_cache"),
}

#: Keys whose values are paths, and nothing else.
PATHS = {
    *("dataset_dir", "output_dir", "run_dir", "checked_images"),
    *("checkpoint", "evaluation", "output", "report"),
}
