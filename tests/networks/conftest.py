import pytest
import torch

from helpers.saved_models import densenet


@pytest.fixture
def state():
    torch.manual_seed(7)
    network = densenet()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape) * 0.1)
    return network.state_dict()
