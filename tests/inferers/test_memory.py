"""A pass has as many images as fit into the memory of its device."""

import pytest
import torch

from monai_sf.inferers import MCDropoutInferer, memory
from monai_sf.inferers.memory import BatchLimit
from monai_sf.networks import GivenClassifier

DEVICE = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    """Memory of a device as it is said to be; a pass of n groups takes 10 n bytes per image."""
    state = {"free": 1000, "works up to": 10**9, "passes": []}

    def measured(device, call):
        result = call()
        return result, 10 * state["passes"][-1]

    monkeypatch.setattr(memory, "has_limit", lambda device: True)
    monkeypatch.setattr(memory, "free_bytes", lambda device: state["free"])
    monkeypatch.setattr(memory, "peak_bytes", measured)
    return state


def passes(limit, gpu, groups, rows, kind="an image"):
    """Return the numbers of images of all passes that were tried."""
    gpu["passes"].clear()

    def call(count):
        gpu["passes"].append(count * rows)
        if count * rows > gpu["works up to"]:
            raise torch.OutOfMemoryError
        return count

    done = 0
    while done < groups:
        count, result = limit.run(kind, DEVICE, groups - done, rows, call)
        assert result == count
        done += count
    assert done == groups
    return list(gpu["passes"])


def test_the_first_pass_is_small_and_says_how_many_fit(gpu):
    limit = BatchLimit()
    assert passes(limit, gpu, 50, 4) == [4, 68, 68, 60]  # 0.7 of 1000 bytes are 70 images of 10
    assert passes(limit, gpu, 50, 4) == [68, 68, 64]
    assert passes(limit, gpu, 3, 4) == [12]
    assert passes(limit, gpu, 3, 100) == [100, 100, 100]  # at least one group
    assert passes(limit, gpu, 3, 4, kind="a larger one") == [4, 8]


def test_what_does_not_fit_in_spite_of_that_is_halved(gpu):
    limit = BatchLimit()
    gpu["works up to"] = 20
    assert passes(limit, gpu, 20, 4) == [4, 68, 32, 16, 16, 16, 16, 12]
    assert passes(limit, gpu, 4, 4) == [16]


def test_a_given_number_that_does_not_fit_is_halved_once(gpu):
    limit = BatchLimit(80)
    gpu["works up to"] = 20
    assert passes(limit, gpu, 20, 4) == [80, 40, 20, 20, 20, 20]
    assert passes(limit, gpu, 6, 4) == [20, 4]


def test_one_group_that_does_not_fit_is_an_error(gpu):
    gpu["works up to"] = 3
    for limit in (BatchLimit(), BatchLimit(100)):
        with pytest.raises(torch.OutOfMemoryError):
            passes(limit, gpu, 2, 4)


def test_no_tensor_has_more_values_than_cudnn_counts(gpu):
    gpu["free"] = 10**12
    limit = BatchLimit()
    assert passes(limit, gpu, 2**30, 1)[1] == 2**32 // 10


def test_a_given_number_and_that_of_a_cpu(gpu, monkeypatch):
    assert passes(BatchLimit(8), gpu, 5, 4) == [8, 8, 4]
    monkeypatch.undo()
    assert passes(BatchLimit(), gpu, 100, 4) == [256, 144]


def test_samples_do_not_depend_on_what_fits(gpu):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Dropout(0.3), torch.nn.Flatten())
    network = GivenClassifier(torch.nn.Sequential(model, torch.nn.Linear(4 * 36, 3)), 3)
    images = torch.rand(4, 1, 8, 8)
    sizes = []

    def full(module, inputs):
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 8:
            raise torch.OutOfMemoryError

    expected = MCDropoutInferer(7, max_batch=4)(images, network, list("abcd"))
    network.tapped.model.register_forward_pre_hook(full)
    gpu["passes"] = [4]  # the cost of one image is 10 bytes
    found = MCDropoutInferer(7)(images, network, list("abcd"))
    assert sizes == [4, 4, 24, 12, 4, 4, 4, 4, 4, 4]
    for name, array in expected.items():
        torch.testing.assert_close(found[name], array, rtol=1e-5, atol=1e-6)
