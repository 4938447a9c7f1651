"""Ignite handlers that collect the outputs that confidence scores need, and show an engine's progress."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from monai_sf.networks import distributed
from monai_sf.results import TestSetWriter

#: Outputs older than this, in seconds, survive a power cut.
_SYNC_S = 30.0


def progress_bar(**arguments: Any) -> Any:
    """Return a progress bar for rank 0; none if TQDM_DISABLE is set, even after tqdm was imported."""
    hidden = not distributed.is_main() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(unit="batch", mininterval=1.0, disable=hidden, **arguments)


class CollectOutputs:
    """Write the outputs of an evaluator's inferer for each test set as they arrive.

    Each batch names its test set (``test_set``) and cases (``case_id``); the engine's prediction is a
    dictionary of per-case tensors (see :data:`monai_sf.results.ARRAYS`).

    Args:
        writers: test set to writer.
        row_of: case id to row of the case table.
        pictured: names of the test sets whose images are stored.
        thumbnail_size: the longer side of the stored images, in pixels; 0 stores none.
    """

    def __init__(
        self,
        writers: Mapping[str, TestSetWriter],
        row_of: Mapping[str, int],
        pictured: Collection[str],
        *,
        thumbnail_size: int = 64,
    ) -> None:
        self.writers, self.row_of, self.pictured = writers, row_of, pictured
        self.thumbnail_size = thumbnail_size
        self.last_sync = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator that does not decollate."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.sync)

    def __call__(self, engine: Engine) -> None:
        """Store one batch.

        Raises:
            FloatingPointError: logits are NaN or infinite; names the cases.
        """
        state: Any = engine.state
        batch, outputs = state.batch, state.output[CommonKeys.PRED]
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in outputs.items()}
        bad = ~np.isfinite(arrays["logits"]).all(axis=1)
        if bad.any():
            cases = [c for c, b in zip(batch["case_id"], bad, strict=True) if b]
            raise FloatingPointError(
                f"test set {batch['test_set']}: logits are not finite for the cases {', '.join(cases)}"
            )
        if self.thumbnail_size and batch["test_set"] in self.pictured:
            arrays["images"] = thumbnails(state.output[CommonKeys.IMAGE], self.thumbnail_size)
        self.writers[batch["test_set"]].write([self.row_of[c] for c in batch["case_id"]], arrays)
        if time.monotonic() - self.last_sync > _SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Flush everything to disk."""
        for writer in self.writers.values():
            writer.sync()
        self.last_sync = time.monotonic()


def thumbnails(images: torch.Tensor, size: int) -> NDArray[np.uint8]:
    """Return small pictures of a batch.

    Args:
        images: (N, channels, H, W) float in [0, 1]; one channel is grey, the first three of more are RGB.
        size: maximum of the longer side, in pixels; smaller images are not enlarged.

    Returns:
        (N, h, w) or (N, h, w, 3) uint8.
    """
    pictures = images.detach().float()[:, : 3 if images.shape[1] >= 3 else 1]
    scale = size / max(pictures.shape[2:])
    if scale < 1:
        shape = [max(1, round(side * scale)) for side in pictures.shape[2:]]
        pictures = nn.functional.interpolate(pictures, shape, mode="area")
    grey_levels = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return grey_levels[..., 0] if grey_levels.shape[-1] == 1 else np.ascontiguousarray(grey_levels)
