"""A precision is in force within a block of code, for all threads inside, and what was before is restored."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.backends import cuda, cudnn

from helpers.saved_models import IMAGES, densenet
from monai_sf.inferers import EnsembleInferer, MCDropoutInferer
from monai_sf.networks import GivenClassifier, check_network, computing_in, training_precision

CPU = torch.device("cpu")
SETTINGS = [cudnn, cuda.matmul]


@pytest.fixture(autouse=True)
def _as_before():
    before = [setting.allow_tf32 for setting in SETTINGS]
    yield
    for setting, value in zip(SETTINGS, before, strict=True):
        setting.allow_tf32 = value


@pytest.fixture
def network():
    """A model that notes the setting of each of its passes."""
    model, seen = densenet(), []
    model.register_forward_hook(lambda *_: seen.append(cudnn.allow_tf32))
    return GivenClassifier(model, 3), seen


@pytest.mark.parametrize("chosen", [True, False])
@pytest.mark.parametrize("passes", ["samples", "ensemble", "checks"])
def test_passes_are_in_float32_and_the_setting_stays(passes, chosen, network):
    given, seen = network
    cudnn.allow_tf32 = chosen
    given(IMAGES)
    assert seen == [chosen]
    if passes == "samples":
        MCDropoutInferer(2, views=["horizontal_flip"])(IMAGES, given)
    elif passes == "ensemble":
        EnsembleInferer()(IMAGES, torch.nn.ModuleList([given]))
    else:
        check_network(given, IMAGES)
    assert set(seen[1:]) == {False}
    assert cudnn.allow_tf32 == chosen


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True)])
@pytest.mark.parametrize("chosen", [True, False])
def test_convolutions_and_products_are_alike(setting, precision, allowed, chosen):
    setting.allow_tf32 = chosen
    with computing_in(precision, CPU):
        assert setting.allow_tf32 == allowed
    assert setting.allow_tf32 == chosen


def test_float32_stays_in_force_until_the_last_thread_has_left():
    cudnn.allow_tf32 = True
    both, one_left = Barrier(2), Barrier(2)

    def first():
        with computing_in("float32", CPU):
            both.wait()
        one_left.wait()

    def second():
        with computing_in("float32", CPU):
            both.wait()
            one_left.wait()
            return cudnn.allow_tf32

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(first), pool.submit(second)]
        assert results[1].result(10) is False
    assert cudnn.allow_tf32 is True


def test_float32_of_one_thread_forbids_what_another_allows():
    cudnn.allow_tf32 = False
    inside, seen, left = Barrier(2), Barrier(2), Barrier(2)

    def exact():
        with computing_in("float32", CPU):
            inside.wait()
            seen.wait()
        left.wait()

    def fast():
        with computing_in("tf32", CPU):
            before = cudnn.allow_tf32
            inside.wait()
            during = cudnn.allow_tf32
            seen.wait()
            left.wait()
            return before, during, cudnn.allow_tf32

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(fast)
        pool.submit(exact)
        assert one.result(10)[1:] == (False, True)
    assert cudnn.allow_tf32 is False


def test_it_is_restored_after_an_error():
    cudnn.allow_tf32 = True
    with pytest.raises(ZeroDivisionError), computing_in("float32", CPU):
        raise ZeroDivisionError
    assert cudnn.allow_tf32 is True


def test_a_choice_by_the_newer_setting_is_left_alone():
    before = cudnn.conv.fp32_precision
    try:
        cudnn.conv.fp32_precision = "ieee" if before == "tf32" else "tf32"
        with computing_in("float32", CPU):
            assert cudnn.conv.fp32_precision != before
        assert cudnn.conv.fp32_precision != before
    finally:
        cudnn.conv.fp32_precision = before


def _product():
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_products_are_in_16_bits_where_it_is_asked_for_and_in_this_thread_only():
    with computing_in("bfloat16", CPU), ThreadPoolExecutor(1) as pool:
        assert _product() == torch.bfloat16
        assert pool.submit(_product).result(10) == torch.float32
    assert _product() == torch.float32


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_what_a_caller_has_activated_is_off_within(precision):
    with torch.autocast("cpu", torch.bfloat16):
        with computing_in(precision, CPU):
            assert _product() == torch.float32
        assert _product() == torch.bfloat16


def test_float32_needs_no_autocast_of_the_device():
    with computing_in("float32", torch.device("meta")):
        assert cudnn.allow_tf32 is False


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("float16", "cpu", "device cpu is not computed in float16: take float32"),
        ("bfloat16", "meta", "device meta is not computed in bfloat16"),
        ("half", "cpu", "one of float32, tf32, bfloat16, float16, got 'half'"),
    ],
)
def test_what_is_not_computed_is_refused(precision, device, message):
    with pytest.raises(ValueError, match=message), computing_in(precision, torch.device(device)):
        pass


def test_training_on_a_cpu_is_in_float32():
    assert training_precision(CPU) == "float32"


def test_weights_that_change_between_two_blocks_are_seen_within_an_outer_one():
    layer, outputs = torch.nn.Linear(2, 1), []
    with computing_in("tf32", CPU):  # as a training is, around all its steps
        for value in (1.0, 2.0):
            torch.nn.init.constant_(layer.weight, value)
            torch.nn.init.zeros_(layer.bias)
            with computing_in("bfloat16", CPU):
                outputs.append(layer(torch.ones(1, 2)).item())
    assert outputs == [2.0, 4.0]
