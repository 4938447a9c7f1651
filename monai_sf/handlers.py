"""Ignite handlers that collect the outputs that confidence scores need, and show an engine's progress."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from monai_sf.results.format import LOGARITHMS, some

_BEYOND_FLOAT16 = (
    f"beyond {torch.finfo(torch.float16).max:.0f}, the largest number of float16 (store them with "
    "corrupted_features: float32),"
)

#: Outputs older than this, in seconds, survive a power cut.
_SYNC_S = 30.0


def progress_bar(**arguments: Any) -> Any:
    """Return a progress bar for rank 0; none if TQDM_DISABLE is set, even after tqdm was imported.

    Args:
        **arguments: of tqdm, such as ``total`` and ``desc``.

    Returns:
        A bar of tqdm.

    Examples:
        >>> from monai_sf.handlers import progress_bar
        >>> [name.upper() for name in progress_bar(iterable=["a", "b"], desc="test images")]
        ['A', 'B']
    """
    hidden = not distributed.is_main() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(unit="batch", mininterval=1.0, disable=hidden, **arguments)


class CollectOutputs:
    """Write the outputs of an evaluator's inferer for each test set as they arrive.

    Each batch names its test set (``test_set``) and cases (``case_id``); the engine's prediction is a
    dictionary of per-case tensors (see :data:`monai_sf.results.ARRAYS`). They are copied to the host and
    written by a thread while the network works on the next batch, in the order of the batches, so that one
    more batch of outputs is in memory.

    Args:
        writers: test set to writer.
        row_of: case id to row of the case table.
        pictured: names of the test sets whose images are stored.
        narrow: names of the test sets whose features are stored as float16.
        thumbnail_size: the longer side of the stored images, in pixels; 0 stores none.

    Examples:
        >>> import pandas as pd
        >>> import torch
        >>> from ignite.engine import Engine
        >>> from monai_sf.handlers import CollectOutputs
        >>> from monai_sf.results import ResultsWriter
        >>> cases = pd.DataFrame({"case_id": ["a", "b"]})
        >>> writer = ResultsWriter("run", cases).open("iid", "iid", rows=[0, 1])
        >>> evaluator = Engine(
        ...     lambda engine, batch: {"pred": {"logits": torch.zeros(2, 3)}}
        ... )
        >>> collect = CollectOutputs({"iid": writer}, {"a": 0, "b": 1}, pictured=[])
        >>> collect.attach(evaluator)
        >>> _ = evaluator.run([{"test_set": "iid", "case_id": ["a", "b"]}])
        >>> collect.close()
        >>> writer.done.tolist(), writer.arrays["logits"].shape
        ([True, True], (2, 3))
    """

    def __init__(
        self,
        writers: Mapping[str, TestSetWriter],
        row_of: Mapping[str, int],
        pictured: Collection[str],
        *,
        narrow: Collection[str] = (),
        thumbnail_size: int = 64,
    ) -> None:
        self.writers, self.row_of, self.pictured = writers, row_of, pictured
        self.narrow, self.thumbnail_size = narrow, thumbnail_size
        self.last_sync = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._stored: Future[None] | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator that does not decollate, before whatever needs all outputs."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.sync)

    def __call__(self, engine: Engine) -> None:
        """Store one batch in the background, after the batch before has been stored.

        Raises:
            FloatingPointError: outputs of the batch before are NaN or infinite, or its features beyond the
                range of float16; names the arrays and cases.
            OSError: the disk was full.
        """
        state: Any = engine.state
        outputs = dict(state.output[CommonKeys.PRED])
        test_set, cases = state.batch["test_set"], list(state.batch["case_id"])
        if self.thumbnail_size and test_set in self.pictured:
            outputs["images"] = thumbnails(state.output[CommonKeys.IMAGE], self.thumbnail_size)
        if test_set in self.narrow and "features" in outputs:
            outputs["features"] = outputs["features"].half()
        copies, copied = _on_host(outputs)
        self._wait()
        self._stored = self._thread.submit(self._store, test_set, cases, copies, copied)

    def _store(
        self,
        test_set: str,
        cases: Sequence[str],
        copies: Mapping[str, torch.Tensor],
        copied: Sequence[torch.cuda.Event],
    ) -> None:
        for event in copied:
            event.synchronize()
        arrays = {name: tensor.numpy() for name, tensor in copies.items()}
        if faults := _faults(arrays, cases):
            raise FloatingPointError(f"test set {test_set}: {faults}")
        self.writers[test_set].write([self.row_of[case] for case in cases], arrays)
        if time.monotonic() - self.last_sync > _SYNC_S:
            self._sync()

    def _wait(self) -> None:
        """Wait for the batch that is being stored, and raise its error once."""
        stored, self._stored = self._stored, None
        if stored is not None:
            stored.result()

    def _sync(self) -> None:
        for writer in self.writers.values():
            writer.sync()
        self.last_sync = time.monotonic()

    def sync(self) -> None:
        """Store what came, and flush everything to disk.

        Raises:
            FloatingPointError: see :meth:`__call__`; all other batches are stored.
            OSError: see :meth:`__call__`; all other batches are stored.
        """
        try:
            self._wait()
        finally:
            self._sync()

    def close(self) -> None:
        """Store what came, flush everything to disk, and end the thread; see :meth:`sync`."""
        try:
            self.sync()
        finally:
            self._thread.shutdown()


def _faults(arrays: Mapping[str, NDArray[Any]], cases: Sequence[str]) -> str:
    """Return which arrays of a batch are impossible for which cases, as text; empty if none is."""
    found: dict[str, list[str]] = {}  # fault and cases to the arrays, as what is wrong is mostly so in all
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        bad = np.isnan(array) | (array == np.inf) if name in LOGARITHMS else ~np.isfinite(array)
        if (of_case := bad.any(axis=tuple(range(1, bad.ndim)))).any():
            narrowed = array.dtype == np.float16 and not np.isnan(array).any()
            named = some([case for case, is_bad in zip(cases, of_case, strict=True) if is_bad])
            fault = f"{_BEYOND_FLOAT16 if narrowed else 'not finite'} for the cases {named}"
            found.setdefault(fault, []).append(name)
    return "; ".join(f"{', '.join(names)} are {fault}" for fault, names in found.items())


def _on_host(outputs: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[torch.cuda.Event]]:
    """Start copying tensors to the host; the copies are complete once the events have happened."""
    copies = {name: tensor.detach().to("cpu", non_blocking=True) for name, tensor in outputs.items()}
    devices = {tensor.device for tensor in outputs.values() if tensor.is_cuda}
    return copies, [torch.cuda.current_stream(device).record_event() for device in devices]


def thumbnails(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return small pictures of a batch.

    Args:
        images: (N, channels, H, W) float in [0, 1]; one channel is grey, the first three of more are RGB.
        size: maximum of the longer side, in pixels; smaller images are not enlarged.

    Returns:
        (N, h, w) or (N, h, w, 3) uint8, on the device of the images.

    Examples:
        >>> import torch
        >>> from monai_sf.handlers import thumbnails
        >>> pictures = thumbnails(torch.rand(2, 3, 100, 200), size=64)
        >>> tuple(pictures.shape), pictures.dtype
        ((2, 32, 64, 3), torch.uint8)
    """
    pictures = images.detach().float()[:, : 3 if images.shape[1] >= 3 else 1]
    scale = size / max(pictures.shape[2:])
    if scale < 1:
        shape = [max(1, round(side * scale)) for side in pictures.shape[2:]]
        pictures = nn.functional.interpolate(pictures, shape, mode="area")
    grey_levels = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
    return grey_levels[..., 0] if grey_levels.shape[-1] == 1 else grey_levels.contiguous()
