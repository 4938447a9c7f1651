"""Predictions for new images: class, and the confidence of every applicable score."""

from monai_sf.prediction.engine import ImagePredictor
from monai_sf.prediction.image_files import image_records

__all__ = ["ImagePredictor", "image_records"]
