"""The batches of all test sets of an evaluation."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader
from numpy.typing import NDArray
from torch.utils.data import Dataset

from monai_sf.data.ahead import ahead
from monai_sf.data.batches import collate_cases, end_reading, reuse_memory
from monai_sf.data.unit import as_unit
from monai_sf.transforms import CorruptionSweep
from monai_sf.vocabulary.shifts import corruption_name


@dataclass(frozen=True)
class TestPass:
    """One pass over the cases of a split, and the test sets that it fills.

    Attributes:
        name: the test set of the clean images.
        indices: (n,) positions of the cases in the dataset.
        sweep: corruptions to evaluate beside the clean images, or None.
        plain: whether its batches ask for the pass without dropout only.

    Examples:
        >>> import numpy as np
        >>> from monai_sf.data import TestPass
        >>> calibration = TestPass(
        ...     "calibration", np.array([3, 7, 9]), sweep=None, plain=True
        ... )
        >>> calibration.indices.size
        3
    """

    __test__ = False  # not a pytest class

    name: str
    indices: NDArray[np.int64]
    sweep: CorruptionSweep | None
    plain: bool = False


class TestBatches:
    """All batches of an evaluation: each image is read once, and yielded clean and in every corruption.

    On a GPU the next batch is read and corrupted while the network works on the last one, so that one more is
    in memory. On a CPU both want the same cores, and a thread more only costs.

    Args:
        dataset: of dictionaries with ``image`` (channels, H, W), bytes or in [0, 1], ``label`` and
            ``case_id``.
        passes: the cases, with the names of their test sets and their corruptions.
        batch_size: cases per batch.
        num_workers: processes that decode; 0 for this one.
        device: device on which the images are corrupted.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> from monai.data import Dataset
        >>> from monai_sf.data import TestBatches, TestPass
        >>> from monai_sf.transforms import CorruptionSweep
        >>> cases = [
        ...     {"image": torch.rand(1, 8, 8), "label": 0, "case_id": str(k)}
        ...     for k in range(3)
        ... ]
        >>> noise = CorruptionSweep(kinds=["gaussian_noise"], severities=[1, 5])
        >>> passes = [
        ...     TestPass("iid", np.array([0, 1]), noise),
        ...     TestPass("hospital_b", np.array([2]), None),
        ... ]
        >>> device = torch.device("cpu")
        >>> batches = TestBatches(
        ...     Dataset(cases), passes, batch_size=2, num_workers=0, device=device
        ... )
        >>> [(batch["test_set"], batch["case_id"]) for batch in batches]
        [('iid', ['0', '1']), ('corruption-gaussian_noise-1', ['0', '1']),
         ('corruption-gaussian_noise-5', ['0', '1']), ('hospital_b', ['2'])]
    """

    __test__ = False  # not a pytest class

    def __init__(
        self,
        dataset: Dataset[Any],
        passes: Sequence[TestPass],
        *,
        batch_size: int,
        num_workers: int,
        device: torch.device,
    ) -> None:
        self.device = device
        on_gpu = device.type == "cuda"
        self._parts = [
            (test, test.indices[first : first + batch_size].tolist())
            for test in passes
            for first in range(0, len(test.indices), batch_size)
        ]
        self._loader = DataLoader(
            dataset,
            batch_sampler=[positions for _, positions in self._parts],
            num_workers=num_workers,
            collate_fn=collate_cases,
            worker_init_fn=reuse_memory,
            pin_memory=on_gpu,
        )
        self._ahead = on_gpu
        self._running: Generator[Mapping[Any, Any]] | None = None
        self._read: Iterator[Mapping[Any, Any]] = iter(())

    def __len__(self) -> int:
        return sum(1 + (len(test.sweep) if test.sweep else 0) for test, _ in self._parts)

    def __iter__(self) -> Iterator[Mapping[Any, Any]]:
        self.close()
        self._read = iter(self._loader)  # here, as processes are not to be forked off a thread
        made = self._made(self._read)
        self._running = ahead(made) if self._ahead else made
        return self._running

    def close(self) -> None:
        """Stop reading, and end the processes that read; an iteration that is not complete ends."""
        if self._running is not None:
            self._running.close()
            self._running = None
        end_reading(self._read)

    def _made(self, read: Iterator[Mapping[Any, Any]]) -> Generator[Mapping[Any, Any]]:
        for (test, _), batch in zip(self._parts, read, strict=True):
            images = as_unit(batch["image"].to(self.device, non_blocking=True))
            clean = {**batch, "image": images, "plain": test.plain}
            yield {**clean, "test_set": test.name}
            for kind, severity, corrupted in test.sweep(clean) if test.sweep else ():
                yield {**corrupted, "test_set": corruption_name(kind, severity)}
