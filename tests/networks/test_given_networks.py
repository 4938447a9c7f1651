"""Classifiers from elsewhere: logits as a direct call gives them, and the features of the last layer."""

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from scipy.special import log_softmax
from torch import nn

from monai_sf.networks import GivenClassifier, check_network, given_network, model_files


def densenet(classes=3, dropout=0.3, channels=1):
    torch.manual_seed(0)
    return DenseNet(
        2, channels, classes, init_features=8, growth_rate=4, block_config=(1, 1), dropout_prob=dropout
    )


class Ending(nn.Module):
    """A network, and what follows it."""

    def __init__(self, ending, classes=3):
        super().__init__()
        self.net, self.ending = densenet(classes), ending

    def forward(self, x):
        return self.ending(self.net(x))


IMAGES = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def saved(model, how, folder):
    model.eval()
    if how == "exported":
        dynamic = ({0: torch.export.Dim.DYNAMIC},)
        torch.export.save(torch.export.export(model, (IMAGES,), dynamic_shapes=dynamic), folder / "m.pt2")
        return folder / "m.pt2"
    script = torch.jit.trace(model, IMAGES) if how == "traced" else torch.jit.script(model)
    torch.jit.save(torch.jit.freeze(script) if how == "frozen" else script, folder / "m.ts")
    return folder / "m.ts"


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
        found = network.outputs(IMAGES)
        x = (IMAGES - 0.3) / 0.5
        direct = model.eval()(x)
        features = torch.nn.functional.adaptive_avg_pool2d(model.net.features(x).relu(), 1).flatten(1)
    expected = direct if kind == "logits" else direct.double().log()
    torch.testing.assert_close(found.logits, expected[:, [2, 0, 1]].float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-5)
    assert network.features_missing == ""
    if kind == "softmax":
        assert network.log_probabilities
        assert network.last_layer() is None
    else:
        weight, bias = network.last_layer()
        torch.testing.assert_close(found.features @ weight.T + bias, found.logits, rtol=1e-4, atol=1e-5)


def test_probabilities_near_one_stay_different():
    logits = np.array([[30.0, 0, 0], [25.0, 1, 0], [20.0, 5, 1], [0, 0, 25]])
    shares = torch.tensor(logits).float().softmax(1)
    assert len(set(shares.amax(1).tolist())) == 2  # float32 rounds three of them to 1
    with torch.no_grad():
        found = GivenClassifier(nn.Identity(), 3, outputs="softmax").outputs(shares).logits
    np.testing.assert_allclose(found.numpy(), log_softmax(logits, axis=1), rtol=2e-3)  # SciPy rounds, too
