"""MONAI inferers: one pass, Monte Carlo dropout and augmented views, ensembles."""

from monai_sf.inferers.dropout import VIEWS, MCDropoutInferer
from monai_sf.inferers.masks import dropout_stream
from monai_sf.inferers.passes import EnsembleInferer, LogitsInferer, OutputInferer

__all__ = ["VIEWS", "EnsembleInferer", "LogitsInferer", "MCDropoutInferer", "OutputInferer", "dropout_stream"]
