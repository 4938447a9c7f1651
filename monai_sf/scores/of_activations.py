"""Scores of reshaped features, or of gradients, through the weights of the last layer."""

from __future__ import annotations

from monai_sf.scores.csf import CSF

OF_ACTIVATIONS: tuple[CSF, ...] = ()
