"""Several runs together: start them, and table their results."""

from monai_sf.benchmark.runs import default_workers, run_studies, train_and_evaluate

__all__ = ["default_workers", "run_studies", "train_and_evaluate"]
