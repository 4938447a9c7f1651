"""Combinations of two scores."""

from __future__ import annotations

from monai_sf.scores.csf import CSF

OF_COMBINATIONS: tuple[CSF, ...] = ()
