"""MONAI engines that train, evaluate and predict, and resume after being killed."""

from monai_sf.engines.evaluator import TestSetEvaluator
from monai_sf.engines.predictor import ImagePredictor, image_records
from monai_sf.engines.stages import Stage, StageRunner
from monai_sf.engines.trainer import ClassifierTrainer

__all__ = ["ClassifierTrainer", "ImagePredictor", "Stage", "StageRunner", "TestSetEvaluator", "image_records"]
