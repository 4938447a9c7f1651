"""In the hot loop of an evaluation nobody asks the device for a value, and no two devices meet."""

import pytest
import torch
from monai_sf.transforms import CORRUPTIONS, CorruptionSweep, sweep

from helpers.no_waiting import META, NobodyWaits, WaitingError
from helpers.toy_engines import HEADS
from helpers.toy_problem import tiny_network
from monai_sf import scores
from monai_sf.handlers import thumbnails
from monai_sf.inferers import VIEWS, EnsembleInferer, MCDropoutInferer
from monai_sf.networks import BACKBONES, ConfidenceClassifier, backbone
from monai_sf.scores import CSFS, functions

IDS = ["a", "b", "c"]


def on_device(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device=META)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("method", HEADS)
def test_all_passes_of_every_method(method, plain):
    network = tiny_network(confidence=HEADS[method]).to(META).eval()
    inferer = MCDropoutInferer(3, views=list(VIEWS), max_batch=6)
    with NobodyWaits(META):
        for _ in range(2):  # the masks of the second batch are made together
            outputs = inferer(on_device(3, 1, 16, 16), network, IDS, plain=plain)
    assert {array.device for array in outputs.values()} == {META}
    assert ("mcd_waic" in outputs) != plain


@pytest.mark.parametrize("name", sorted({*BACKBONES} - {"densenet161"}))  # more of densenet121's layers
def test_all_passes_of_every_backbone(name):
    with META:  # costs neither memory nor time
        network = ConfidenceClassifier(backbone(name, in_channels=1, num_classes=3, dropout=0.2), 3).eval()
    with NobodyWaits(META):
        one = MCDropoutInferer(2, views=["rotate_90"])(on_device(3, 1, 32, 32), network, IDS)
        both = EnsembleInferer()(on_device(3, 1, 32, 32), torch.nn.ModuleList([network, network]))
    assert {array.device for array in (*one.values(), *both.values())} == {META}


def test_a_layer_that_waits_is_found():
    network = tiny_network().to(META).eval()
    network.backbone.features.norm0.register_forward_hook(lambda m, args, x: x * float(x.max()))
    with NobodyWaits(META), pytest.raises(WaitingError, match="asks for a value"):
        MCDropoutInferer(2)(on_device(3, 1, 16, 16), network, IDS)
    network = tiny_network().to(META).eval()
    network.backbone.features.norm0.register_forward_hook(lambda m, args, x: x + torch.ones(4, 1, 1))
    with NobodyWaits(META), pytest.raises((WaitingError, RuntimeError), match="device"):
        MCDropoutInferer(2)(on_device(3, 1, 16, 16), network, IDS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corruptions_ask_for_the_range_of_each_batch_once(monkeypatch, dtype):
    asked = []
    monkeypatch.setattr(sweep, "check_images", lambda images: asked.append(1) or images)
    batch = {"image": on_device(3, 2, 40, 32, dtype=dtype), "case_id": IDS}
    with NobodyWaits(META):
        copies = list(CorruptionSweep()(batch))
        shown = [thumbnails(copy["image"], 16) for _, _, copy in copies]
    assert len(copies) == 5 * len(CORRUPTIONS)
    assert {copy["image"].dtype for _, _, copy in copies} == {dtype}
    assert {one.device for one in (*(copy["image"] for _, _, copy in copies), *shown)} == {META}
    assert asked == [1]


@pytest.fixture
def unchecked(monkeypatch):
    """Scores whose arguments are not looked at: that has to read values, once per array."""
    asked = []
    for name in ("class_logits", "refuse_what_is_no_log_probability"):
        monkeypatch.setattr(functions, name, lambda values, *args: asked.append(1) or values)
    return asked


FUNCTIONS = {
    **{
        name: lambda function, x=None: function(on_device(4, 3))
        for name in (
            *("log_softmax", "maximum_softmax_response", "predictive_entropy", "max_logit", "energy"),
            *("logit_margin", "max_logit_p_norm"),
        )
    },
    **{
        name: lambda function: function(on_device(5, 4, 3))
        for name in (
            *("expected_entropy", "mean_log_softmax", "mutual_information", "softmax_variance", "waic"),
            *("dropout_arrays", "view_arrays"),
        )
    },
    "deep_gamblers_confidence": lambda function: function(on_device(4, 3), on_device(4)),
    "learned_confidence": lambda function: function(on_device(4)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_outputs_stay_on_their_device(name, unchecked):
    with NobodyWaits(META):
        found = FUNCTIONS[name](getattr(scores, name))
    for array in found.values() if isinstance(found, dict) else [found]:
        assert (array.device, len(array)) == (META, 4)
    assert len(unchecked) <= 1


def shape_of(array):
    return (4, 3) if array == "logits" or array.endswith("log_softmax") else (4,)


@pytest.mark.parametrize("name", [name for name, csf in CSFS.items() if csf.fit is None])
def test_scores_of_a_case_s_own_outputs_stay_on_their_device(name, unchecked):
    csf = CSFS[name]
    arrays = {need: on_device(*shape_of(need)) for need in csf.needs}
    with NobodyWaits(META):
        confidence = csf(arrays)
    assert (confidence.device, confidence.shape) == (META, (4,))
    assert len(unchecked) <= len(arrays)
