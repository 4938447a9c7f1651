"""Classifiers with features, logits and learned confidence, their checkpoints, and multi-process training."""

from monai_sf.networks.backbones import BACKBONES, backbone, start_from
from monai_sf.networks.classifier import (
    ClassifierOutput,
    ConfidenceClassifier,
    dropout_layers,
    has_dropout,
    load_weights,
    to_device,
)
from monai_sf.networks.heads import ConfidenceHead, ConfidNetHead, DeVriesHead, ReservationHead

__all__ = [
    "BACKBONES",
    "ClassifierOutput",
    "ConfidNetHead",
    "ConfidenceClassifier",
    "ConfidenceHead",
    "DeVriesHead",
    "ReservationHead",
    "backbone",
    "dropout_layers",
    "has_dropout",
    "load_weights",
    "start_from",
    "to_device",
]
