"""Scores of the mean softmax of several networks (deep ensembles)."""

from __future__ import annotations

from monai_sf.scores.csf import CSF

OF_ENSEMBLES: tuple[CSF, ...] = ()
