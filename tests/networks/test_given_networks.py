"""Classifiers from elsewhere: logits as a direct call gives them, and the features of the last layer."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from helpers.saved_models import IMAGES, Ending, densenet, features_of, outputs, saved
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks import (
    GivenClassifier,
    check_network,
    dropout_layers,
    given_network,
    has_dropout,
    model_files,
    to_device,
)
from monai_sf.networks.given_outputs import selected

FILES = ["scripted", "traced", "frozen", "exported"]


@pytest.mark.parametrize("how", FILES)
@pytest.mark.parametrize("ending", [nn.Identity(), nn.Softmax(1)], ids=["logits", "softmax"])
def test_a_file_has_the_outputs_and_features_of_the_model_that_was_saved(how, ending, tmp_path):
    model = Ending(ending)
    kind = "logits" if isinstance(ending, nn.Identity) else "softmax"
    file = saved(model, how, tmp_path)
    network = given_network(file, num_classes=3, outputs=kind, class_order=[2, 0, 1], mean=0.3, std=0.5)
    assert model_files(file) == [file]
    assert not network.train().training
    with torch.no_grad():
        check_network(network, IMAGES)
        x = (IMAGES - 0.3) / 0.5
        direct = model(x)
    found = outputs(network)
    expected = direct if kind == "logits" else direct.double().log()
    torch.testing.assert_close(found.logits, expected[:, [2, 0, 1]].float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.features, features_of(model, x), rtol=1e-4, atol=1e-5)
    assert network.features_missing == ""
    assert not has_dropout(network)
    if kind == "softmax":
        assert network.log_probabilities
        assert network.last_layer() is None
    else:
        weight, bias = network.last_layer()
        torch.testing.assert_close(found.features @ weight.T + bias, found.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("column", [True, False])
def test_a_single_number_speaks_for_the_second_class(column):
    logit = torch.tensor([-2.0, 0.5, 3.0, 40.0])
    given = logit[:, None] if column else logit
    found = outputs(GivenClassifier(nn.Identity(), 2, outputs="logit"), given).logits
    torch.testing.assert_close(found, torch.stack([-logit / 2, logit / 2], 1))
    found = outputs(GivenClassifier(nn.Identity(), 2, outputs="sigmoid"), given.sigmoid()).logits.double()
    share = given.sigmoid().double().reshape(-1)
    torch.testing.assert_close(found.exp(), torch.stack([1 - share, share], 1), rtol=1e-6, atol=1e-12)
    assert found.isfinite().all()
    turned = GivenClassifier(nn.Identity(), 2, outputs="logit", class_order=[1, 0])
    torch.testing.assert_close(outputs(turned, given).logits, torch.stack([logit / 2, -logit / 2], 1))


def test_the_last_layer_of_a_single_logit_gives_both_logits():
    model = Ending(nn.Flatten(0), classes=1)
    network = GivenClassifier(model, 2, outputs="logit", class_order=[1, 0])
    found, (weight, bias) = outputs(network), network.last_layer()
    torch.testing.assert_close(found.features @ weight.T + bias, found.logits)
    torch.testing.assert_close(found.logits[:, 0] - found.logits[:, 1], model(IMAGES).detach())


def test_probabilities_near_one_stay_different():
    logits = np.array([[30.0, 0, 0], [25.0, 1, 0], [20.0, 5, 1], [0, 0, 25]])
    shares = torch.tensor(logits).float().softmax(1)
    assert len(set(shares.amax(1).tolist())) == 2  # float32 rounds three of them to 1
    found = outputs(GivenClassifier(nn.Identity(), 3, outputs="softmax"), shares).logits
    np.testing.assert_allclose(found.numpy(), log_softmax(logits, axis=1), rtol=2e-3)  # SciPy rounds, too
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert outputs(GivenClassifier(nn.Identity(), 2, outputs="softmax"), certain).logits.isfinite().all()


class Returning(nn.Module):
    """Returns its linear layers' outputs as ``pack`` wants them."""

    def __init__(self, pack, *, first=3):
        super().__init__()
        self.pack, self.one, self.other = pack, nn.Linear(8, first), nn.Linear(8, 3)

    def forward(self, x):
        flat = x.flatten(1)[:, :8]
        return self.pack(self.one(flat), self.other(flat))


@pytest.mark.parametrize(
    ("pack", "first", "layer"),
    [
        (lambda one, other: (one, other), 3, "one"),
        (lambda one, other: [one, other], 5, "other"),
        (lambda one, other: {"aux": one, "logits": other}, 3, "other"),
        (lambda one, other: {"embedding": one, "out": other}, 5, "other"),
    ],
)
def test_the_output_among_several_follows_a_rule(pack, first, layer):
    model = Returning(pack, first=first)
    network = GivenClassifier(model, 3)
    expected = getattr(model, layer)(IMAGES.flatten(1)[:, :8]).detach()
    torch.testing.assert_close(outputs(network).logits, expected)
    assert network.features_layer == layer


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_outputs_that_are_no_real_numbers_are_refused(dtype):
    with pytest.raises(ValueError, match=r"gives \(4, 2\) of (int64|complex64) for 4 images"):
        selected(torch.ones(4, 2, dtype=dtype), 4, 2, "logits")


def test_outputs_of_another_width_and_ambiguous_ones_are_refused():
    with pytest.raises(
        ValueError, match=r"gives \(5, 3\) for 5 images, expected \(5, 4\): one real number for each"
    ):
        outputs(GivenClassifier(Ending(nn.Identity()), 4))
    with pytest.raises(
        ValueError, match=r"gives \(5, 3\) for 5 images, expected \(5, 1\): one real number per image"
    ):
        outputs(GivenClassifier(Ending(nn.Identity()), 2, outputs="sigmoid"))
    with pytest.raises(ValueError, match=r"several entries of shape \(5, 3\): a, b\. .* names it 'logits'"):
        outputs(GivenClassifier(Returning(lambda one, other: {"a": one, "b": other}), 3))
    with pytest.raises(ValueError, match=r"gives 0 \(5, 3\), 1 a str"):
        outputs(GivenClassifier(Returning(lambda one, other: (one, "no")), 2))


def test_dropout_layers_of_a_module_give_samples():
    model = Ending(nn.Identity())
    network = GivenClassifier(model, 3)
    assert has_dropout(network)
    found = MCDropoutInferer(40, views=["horizontal_flip"])(IMAGES, network, list("abcde"))
    assert set(found) == {
        *("logits", "features", "mcd_log_softmax", "mcd_entropy", "mcd_softmax_variance", "mcd_waic"),
        *("tta_log_softmax", "tta_entropy"),
    }
    torch.testing.assert_close(found["logits"], model(IMAGES).detach())
    assert (found["mcd_softmax_variance"] > 0).all()
    one = MCDropoutInferer(40)(IMAGES[:1], network, ["a"])
    torch.testing.assert_close(one["mcd_log_softmax"], found["mcd_log_softmax"][:1], rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)  # an independent definition: PyTorch's own masks
    for layer in dropout_layers(model):
        layer.train()
    with torch.no_grad():
        direct = torch.stack([model(IMAGES).softmax(1) for _ in range(400)])
    torch.testing.assert_close(found["mcd_log_softmax"].exp(), direct.mean(0), rtol=0, atol=0.05)


def test_dropout_that_cannot_be_sampled_is_said():
    alpha = GivenClassifier(nn.Sequential(densenet(dropout=0.0), nn.AlphaDropout(0.5)), 3)
    assert not has_dropout(alpha)
    unused = Ending(nn.Identity())
    unused.net = densenet(dropout=0.0)
    unused.extra = nn.Dropout(0.5)
    with pytest.raises(
        ValueError, match="no dropout layer of the network is used in a pass: set samples to 0"
    ):
        MCDropoutInferer(2)(IMAGES, GivenClassifier(unused, 3))

    class Turned(Ending):
        def forward(self, x):
            return self.ending(self.net(x).T).T

    with pytest.raises(ValueError, match="gets 3 rows for 10 images"):
        MCDropoutInferer(2)(IMAGES, GivenClassifier(Turned(nn.Dropout(0.5)), 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes must be a whole number of at least 2, got 1"),
        ({"outputs": "probabilities"}, "outputs must be one of logits, softmax, logit, sigmoid, got 'prob"),
        ({"outputs": "sigmoid"}, r"Several independent numbers \(multi-label"),
        ({"outputs": "logit"}, r"Several independent numbers \(multi-label"),
        ({"class_order": [0, 1, 1]}, r"each of the positions 0\.\.2 once, got \[0, 1, 1\]"),
        ({"class_order": [0, 1]}, r"each of the positions 0\.\.2 once, got \[0, 1\]"),
        ({"class_order": "012"}, "once, got '012'"),
        ({"mean": "grey"}, "mean must be a number or one per channel, got 'grey'"),
        ({"std": [0.2, 0.0]}, r"std must be a positive number or one per channel, got \[0\.2, 0\.0\]"),
        ({"mean": [0.1, 0.2, 0.3], "std": [1, 1]}, "mean and std must have equally many channels"),
    ],
)
def test_arguments_that_do_not_fit_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        GivenClassifier(nn.Identity(), **{"num_classes": 3, **arguments})


def test_normalisation_per_channel_is_that_of_the_images():
    network = GivenClassifier(densenet(channels=3), 3, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    images = IMAGES.repeat(1, 3, 1, 1)
    x = torch.stack([(images[:, c] - (c + 1) / 10) / (0.5 + c / 10) for c in range(3)], 1)
    torch.testing.assert_close(network.stem(images), x)
    with pytest.raises(ValueError, match="mean and std have 3 channels, the images 1"):
        network.stem(IMAGES)


class Headed(nn.Module):
    """Ends in a sequence with dropout, as EfficientNet and VGG do; counts the passes of what comes before."""

    def __init__(self, ending=None):
        super().__init__()
        self.body, self.calls, self.ending = nn.Conv2d(1, 4, 3), [], ending or nn.Identity()
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.ReLU(), nn.Linear(4, 3)))

    def forward(self, x):
        self.calls.append(len(x))
        return self.ending(self.classifier(self.body(x).mean((2, 3))))


def test_dropout_samples_share_what_comes_before_the_dropout():
    names, model = list("abcde"), Headed()
    network = GivenClassifier(model, 3, mean=0.5, class_order=[2, 1, 0])
    whole = MCDropoutInferer(7)(IMAGES, network, names)
    assert len(model.calls) == 2  # one, and seven samples of five images in one batch
    check_network(network, IMAGES)
    model.calls.clear()
    found = MCDropoutInferer(7)(IMAGES, network, names)
    assert model.calls == [5]
    assert network.shared == "classifier"
    assert whole.keys() == found.keys()
    for name, array in whole.items():
        torch.testing.assert_close(found[name], array)
    weight, bias = network.last_layer()
    torch.testing.assert_close(found["features"] @ weight.T + bias, found["logits"])


def test_what_cannot_be_shared_is_not():
    for model, features, shared in (
        (Headed(lambda x: 1 * x), "classifier.1.1", None),  # something follows the sequence
        (Headed(), "body", None),  # features from before it
        (Headed(), None, "classifier"),
        (Ending(nn.Identity()), "auto", None),  # dropout in the blocks of a DenseNet
    ):
        if features == "body":
            model.body = nn.Sequential(nn.Flatten(), nn.Linear(1024, 36), nn.Unflatten(1, (4, 3, 3)))
            features = "body.1"
        network = GivenClassifier(model, 3, features=features)
        check_network(network, IMAGES)
        assert network.shared == shared
        assert "mcd_waic" in MCDropoutInferer(2)(IMAGES, network)


class Placing(nn.Module):
    """Makes tensors on the device of the images, and has one of its own."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1024, 3)

    def forward(self, x):
        x = x.float() + torch.arange(x.shape[-1], device=x.device) * torch.tensor([0.5])
        with torch.no_grad():
            x = x + torch.zeros(x.shape[-1], device=x.device)
        return self.fc(x.to(x.device).flatten(1))


def test_an_exported_program_is_moved_with_the_devices_that_its_graph_names(tmp_path):
    network = given_network(saved(Placing(), "exported", tmp_path), num_classes=3)
    before = outputs(network)
    same = copy.deepcopy(network)
    to_device(network, torch.device("meta"))  # as to a GPU: tensors of another device are refused
    found = outputs(network, IMAGES.to("meta"))
    assert found.logits.device.type == found.features.device.type == "meta"
    torch.testing.assert_close(outputs(to_device(same, torch.device("cpu"))).logits, before.logits)


@pytest.mark.parametrize("features", ["auto", None])
def test_a_frozen_graph_is_loaded_again_on_the_device_as_it_holds_its_weights(
    features, tmp_path, monkeypatch
):
    file = saved(densenet(), "frozen", tmp_path)
    network = given_network(file, num_classes=3, features=features)
    expected = network.tapped(IMAGES)
    asked, load = [], torch.jit.load

    def on_the_cpu(content, map_location):  # torch cannot load a graph without the values of its tensors
        asked.append(map_location)
        return load(content, map_location="cpu")

    monkeypatch.setattr(torch.jit, "load", on_the_cpu)
    to_device(network, torch.device("cpu"))
    assert asked == []
    to_device(network, torch.device("meta"))  # as to a GPU
    assert asked == [torch.device("meta")]
    torch.testing.assert_close(network.tapped(IMAGES), expected)


def test_a_traced_model_that_keeps_a_device_is_to_be_evaluated_there(tmp_path):
    network = given_network(saved(Placing(), "traced", tmp_path), num_classes=3)
    check_network(network, IMAGES)
    with pytest.raises(ValueError, match="it fails on the device meta: .* evaluate it with --device cpu"):
        check_network(network, IMAGES.to("meta"))  # TorchScript itself cannot be moved there
