"""What all tests share."""

import pytest
import torch
from monai.data import set_track_meta
from monai.utils import set_determinism


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other


@pytest.fixture(autouse=True)
def _leave_determinism_and_metadata_as_they_were():
    deterministic = torch.are_deterministic_algorithms_enabled()
    set_track_meta(True)  # fixtures of a whole module may have run a bundle before
    yield
    set_determinism(None)
    torch.use_deterministic_algorithms(deterministic)
    set_track_meta(True)
