"""Classifiers with features, logits and learned confidence, their checkpoints, and multi-process training.

Examples:
    >>> from monai_sf.networks import BACKBONES, PRECISIONS
    >>> BACKBONES
    ('densenet121', 'densenet161', 'efficientnet-b4', 'densenet-small')
    >>> PRECISIONS
    ('float32', 'tf32', 'bfloat16', 'float16')
"""

from monai_sf.networks.backbones import BACKBONES, backbone, start_from
from monai_sf.networks.classifier import (
    Classifier,
    ClassifierOutput,
    ConfidenceClassifier,
    dropout_layers,
    has_dropout,
    load_weights,
    to_device,
)
from monai_sf.networks.given import GivenClassifier
from monai_sf.networks.given_bundles import bundle_preprocessing
from monai_sf.networks.given_checks import check_network
from monai_sf.networks.given_files import given_network, model_files
from monai_sf.networks.heads import ConfidenceHead, ConfidNetHead, DeVriesHead, ReservationHead
from monai_sf.networks.precision import PRECISIONS, computing_in, training_precision

__all__ = [
    "BACKBONES",
    "PRECISIONS",
    "Classifier",
    "ClassifierOutput",
    "ConfidNetHead",
    "ConfidenceClassifier",
    "ConfidenceHead",
    "DeVriesHead",
    "GivenClassifier",
    "ReservationHead",
    "backbone",
    "bundle_preprocessing",
    "check_network",
    "computing_in",
    "dropout_layers",
    "given_network",
    "has_dropout",
    "load_weights",
    "model_files",
    "start_from",
    "to_device",
    "training_precision",
]
