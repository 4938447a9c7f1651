"""MONAI engines that train and evaluate, and resume after being killed."""

from monai_sf.engines.evaluator import TestSetEvaluator
from monai_sf.engines.stages import Stage, StageRunner
from monai_sf.engines.trainer import ClassifierTrainer

__all__ = ["ClassifierTrainer", "Stage", "StageRunner", "TestSetEvaluator"]
