"""Scores of a case's features, fitted to those of the training cases."""

from __future__ import annotations

from monai_sf.scores.csf import CSF

OF_FEATURES: tuple[CSF, ...] = ()
