"""Outputs of batches of new images; one that the network fails on does not take those of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.inferers import Inferer
from torch import Tensor

from monai_sf.inferers import EnsembleInferer, MCDropoutInferer
from monai_sf.networks import Classifier, GivenClassifier
from monai_sf.prediction.scoring import joined

#: The fault of an image whose outputs say nothing.
NOT_FINITE = "has no finite output: look for NaN or infinite pixels in it"

_SHARED_BY = 5  # images of the pass that finds what samples share: a single one is no batch for sure


class Passes(Inferer):
    """The passes of an inferer, of as many images of a batch as the network can take.

    Args:
        inferer: computes the outputs that the confidence scores need.

    Attributes:
        error: the first one of a single image.
    """

    def __init__(self, inferer: MCDropoutInferer | EnsembleInferer) -> None:
        super().__init__()
        self.inferer = inferer
        self.error: Exception | None = None
        self._looked = False  # for what dropout samples of a given network share

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: Classifier, case_ids: Sequence[str] | None = None
    ) -> tuple[dict[str, Tensor], dict[int, str]]:
        """Return the outputs of a batch, and the faults of the images that have none, by their place in it.

        Without any output the first is empty. If a batch fails, its images are tried one by one.

        Args:
            inputs: (N, channels, H, W) float images in [0, 1].
            network: in evaluation mode.
            case_ids: N names that seed the dropout samples.

        Raises:
            MemoryError, torch.cuda.OutOfMemoryError: the batch is too large.
        """
        try:
            self._share(inputs, network)
            return self.inferer(inputs, network, case_ids=case_ids), {}  # type: ignore[arg-type]
        except (MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a network raises
            if len(inputs) == 1:
                self.error = self.error or error
                return {}, {0: _said(error)}
        outputs: list[dict[str, Tensor]] = []
        faults: dict[int, str] = {}
        for i in range(len(inputs)):
            found, wrong = self(inputs[i : i + 1], network, case_ids and case_ids[i : i + 1])
            if wrong:
                faults[i] = wrong[0]
            else:
                outputs.append(found)
        return joined(outputs), faults

    def _share(self, inputs: Tensor, network: Classifier) -> None:
        """Let the dropout samples of a given network share what they can, once."""
        sampled = getattr(self.inferer, "samples", 0)
        if self._looked or not sampled or not isinstance(network, GivenClassifier):
            return
        few = inputs[:1].repeat(_SHARED_BY, 1, 1, 1)
        if network.outputs(few).logits.isfinite().all():  # else the layer of the features is not known
            network.share_before_dropout(few)
            self._looked = True


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return f"the network fails on it: {type(error).__name__}"
    of_script = lines[0].startswith("The following operation failed in the TorchScript interpreter")
    return f"the network fails on it: {type(error).__name__}: {lines[-1 if of_script else 0]}"
