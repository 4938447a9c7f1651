"""Small models that stand for those that users have, and the files that they are saved in."""

import torch
from monai.networks.nets import DenseNet
from torch import nn

#: The model of :func:`densenet` as users name it.
FACTORY = "helpers.saved_models:densenet"
#: Five different images (5, 1, 32, 32) in [0, 1].
IMAGES = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def densenet(classes=3, dropout=0.3, channels=1):
    torch.manual_seed(0)
    return DenseNet(
        2, channels, classes, init_features=8, growth_rate=4, block_config=(1, 1), dropout_prob=dropout
    ).eval()


class Ending(nn.Module):
    """A network, and what follows it."""

    def __init__(self, ending, classes=3):
        super().__init__()
        self.net, self.ending = densenet(classes), ending
        self.eval()

    def forward(self, x):
        return self.ending(self.net(x))


def of_two_classes(kind):
    """Make a model of the classes bright and dark, in this order, or one whose only number is for dark."""
    if kind in ("logit", "sigmoid"):
        return Ending(nn.Sigmoid() if kind == "sigmoid" else nn.Flatten(0), classes=1)
    ending = {"softmax": nn.Softmax(1), "scaled": lambda x: 3 * x}.get(kind, nn.Identity())
    return Ending(ending, classes=2)


def saved(model, how, folder, mode="eval", batch=torch.export.Dim.DYNAMIC):
    """Save a model ("scripted", "traced", "frozen" or "exported") in evaluation or training mode."""
    model.train(mode == "train")
    file = folder / ("model.pt2" if how == "exported" else "model.ts")
    if how == "exported":
        torch.export.save(torch.export.export(model, (IMAGES,), dynamic_shapes=({0: batch},)), file)
        return file
    traced = how == "traced"
    script = torch.jit.trace(model, IMAGES, check_trace=False) if traced else torch.jit.script(model)
    torch.jit.save(torch.jit.freeze(script) if how == "frozen" else script, file)
    return file


def outputs(network, images=IMAGES):
    """Return all outputs of a classifier for some images."""
    with torch.no_grad():
        return network.outputs(images)


def features_of(model, x):
    """Return what the last layer of a model with a :func:`densenet` as its ``net`` gets."""
    with torch.no_grad():
        return nn.functional.adaptive_avg_pool2d(model.net.features(x).relu(), 1).flatten(1)
