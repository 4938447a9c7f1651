"""Convolutions are exact in evaluation and inference, whatever the process has chosen, and only there."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.backends import cudnn

from helpers.saved_models import IMAGES, densenet
from monai_sf.inferers import EnsembleInferer, MCDropoutInferer
from monai_sf.networks import GivenClassifier, check_network
from monai_sf.networks.precision import full_precision


@pytest.fixture(autouse=True)
def _as_before():
    before = cudnn.allow_tf32
    yield
    cudnn.allow_tf32 = before


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


def test_it_stays_in_force_until_the_last_thread_has_left():
    cudnn.allow_tf32 = True
    both, one_left = Barrier(2), Barrier(2)

    def first():
        with full_precision():
            both.wait()
        one_left.wait()

    def second():
        with full_precision():
            both.wait()
            one_left.wait()
            return cudnn.allow_tf32

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(first), pool.submit(second)]
        assert results[1].result(10) is False
    assert cudnn.allow_tf32 is True


def test_it_is_restored_after_an_error():
    cudnn.allow_tf32 = True
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert cudnn.allow_tf32 is True


def test_a_choice_by_the_newer_setting_is_left_alone():
    before = cudnn.conv.fp32_precision
    try:
        cudnn.conv.fp32_precision = "ieee" if before == "tf32" else "tf32"
        with full_precision():
            assert cudnn.conv.fp32_precision != before
        assert cudnn.conv.fp32_precision != before
    finally:
        cudnn.conv.fp32_precision = before
