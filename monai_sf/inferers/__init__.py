"""MONAI inferers: one pass, Monte Carlo dropout and augmented views, ensembles.

Examples:
    >>> import torch
    >>> from monai_sf.inferers import VIEWS
    >>> list(VIEWS)
    ['horizontal_flip', 'vertical_flip', 'rotate_90', 'rotate_180', 'rotate_270']
    >>> VIEWS["rotate_90"](torch.tensor([[[[1, 2], [3, 4]]]])).tolist()
    [[[[2, 4], [1, 3]]]]
"""

from monai_sf.inferers.dropout import VIEWS, MCDropoutInferer
from monai_sf.inferers.masks import dropout_stream
from monai_sf.inferers.passes import EnsembleInferer, LogitsInferer, OutputInferer

__all__ = ["VIEWS", "EnsembleInferer", "LogitsInferer", "MCDropoutInferer", "OutputInferer", "dropout_stream"]
