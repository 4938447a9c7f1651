"""Predictions for new images: class, and the confidence of every applicable score."""

from monai_sf.prediction.engine import ImagePredictor
from monai_sf.prediction.image_files import image_records
from monai_sf.prediction.predictor import Prediction, Predictor

__all__ = ["ImagePredictor", "Prediction", "Predictor", "image_records"]
