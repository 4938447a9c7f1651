"""A pass has as many images as fit into the memory of its device."""

import pytest
import torch

from monai_sf.inferers import MCDropoutInferer, memory
from monai_sf.inferers.memory import BatchLimit
from monai_sf.networks import GivenClassifier

DEVICE = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    """Memory of a device as it is said to be; a pass takes 10 bytes per image."""
    state = {"free": 1000, "works up to": 10**9, "values": 1, "passes": []}

    def measured(device, call):
        call()
        return 10 * state["passes"][-1]

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
        torch.empty(count * rows, gpu["values"], device="meta")
        return count

    done = 0
    while done < groups:
        count, result = limit.run(kind, DEVICE, groups - done, rows, call)
        assert result == count
        done += count
    assert done == groups
    return list(gpu["passes"])


def test_a_first_pass_is_small_and_says_how_many_fit(gpu):
    limit = BatchLimit()
    # 0.7 of 1000 bytes are 70 images of 10, or 17 groups: 16; what the first two passes give is not used
    assert passes(limit, gpu, 50, 4) == [4, 4, 64, 64, 64, 8]
    assert passes(limit, gpu, 50, 4) == [64, 64, 64, 8]
    assert passes(limit, gpu, 3, 4) == [12]
    assert passes(limit, gpu, 3, 100) == [100, 100, 100]  # at least one group
    assert passes(limit, gpu, 3, 4, kind="a larger one") == [4, 4, 12]


@pytest.mark.parametrize(("free", "first"), [(1000, 3), (1100, 4), (930, 5)])
def test_what_is_resumed_has_passes_as_large_as_before(gpu, free, first):
    """With somewhat other memory free, and though another batch, maybe the smaller last one, comes first."""
    limit = BatchLimit()
    gpu["free"] = free
    passes(limit, gpu, 50, first)
    assert passes(limit, gpu, 50, 4) == [64, 64, 64, 8]


def test_what_does_not_fit_in_spite_of_that_is_halved(gpu):
    limit = BatchLimit()
    gpu["works up to"] = 20
    assert passes(limit, gpu, 20, 4) == [4, 4, 64, 32, 16, 16, 16, 16, 16]
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


def test_no_tensor_has_more_values_than_kernels_count(gpu):
    gpu["free"] = 10**12
    gpu["values"] = 2**22
    assert passes(BatchLimit(), gpu, 2**11, 1)[2] == 2**8  # 2^9 images have one value too many
    gpu["values"] -= 2**13
    assert passes(BatchLimit(), gpu, 2**11, 1)[2] == 2**9
    gpu["values"] = 1
    assert passes(BatchLimit(), gpu, 2**33, 2)[2] == 2**30  # memory alone does not limit it


@pytest.mark.parametrize("made", [lambda model: model, torch.jit.script])
def test_the_largest_tensor_is_found_within_a_network(made):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    with torch.no_grad(), memory._LargestTensor() as largest:
        made(model)(torch.zeros(7, 1, 8, 8))
    assert largest.values == 7 * 4 * 6 * 6


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
    assert sizes == [4, 4, 4, 28, 12, 4, 4, 4, 4, 4, 4, 4]
    for name, array in expected.items():
        torch.testing.assert_close(found[name], array, rtol=1e-5, atol=1e-6)
