"""Where labels are a coin toss, and only there, each learned confidence must be low."""

from functools import partial

import numpy as np
import pytest
import torch
from monai.data import Dataset
from monai.networks.nets import FullyConnectedNet
from monai.transforms import Compose, ToTensord

from helpers.toy_engines import make_trainer, weights
from monai_sf.engines.stages import Stage
from monai_sf.inferers import MCDropoutInferer
from monai_sf.losses import ClassificationLoss, DeepGamblersLoss, DeVriesLoss, TrueClassProbabilityLoss
from monai_sf.metrics import failure_auroc
from monai_sf.networks import ConfidenceClassifier
from monai_sf.networks.heads import ConfidNetHead, DeVriesHead, ReservationHead
from monai_sf.scores import CSFS

ALL = ("backbone", "head", "confidence")
METHODS = {
    "ConfidNet": (
        partial(ConfidNetHead, width=32),
        [
            Stage("classifier", 12, ClassificationLoss(), {"lr": 0.01}),
            Stage(
                "confidnet",
                12,
                TrueClassProbabilityLoss(),
                {"lr": 0.01},
                trains=("confidence",),
                select="loss",
            ),
            Stage(
                "finetuning",
                2,
                TrueClassProbabilityLoss(),
                {"lr": 0.0001},
                trains=("encoder", "confidence"),
                select="loss",
            ),
        ],
    ),
    "DG-RES": (
        ReservationHead,
        [
            Stage("pretraining", 6, ClassificationLoss(), {"lr": 0.01}, trains=ALL),
            Stage("gambling", 12, DeepGamblersLoss(1.5), continues=True, trains=ALL),
        ],
    ),
    "DeVries": (DeVriesHead, [Stage("classifier", 12, DeVriesLoss(0.1, 0.3), {"lr": 0.01}, trains=ALL)]),
}


def make_cases(n, seed):
    """Two numbers in [0, 1]: the first decides on the class, unless the second is above a half."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 2)).astype(np.float32)
    noisy = x[:, 1] > 0.5
    label = np.where(noisy, rng.integers(0, 2, n), x[:, 0] > 0.5).astype(np.int64)
    return x, label, noisy


def make_dataset(n, seed):
    x, label, _ = make_cases(n, seed)
    records = [{"image": x[i], "label": int(label[i]), "case_id": f"{i}"} for i in range(n)]
    return Dataset(records, Compose([ToTensord("image", track_meta=False)]))


def make_network(confidence):
    torch.manual_seed(0)
    backbone = FullyConnectedNet(2, 2, [32, 32], dropout=0.1)
    return ConfidenceClassifier(backbone, 2, confidence=confidence)


@pytest.mark.parametrize("csf", METHODS)
def test_confidence_is_lower_where_the_labels_are_random(tmp_path, csf):
    head, stages = METHODS[csf]
    make_trainer(
        tmp_path,
        network=make_network(head),
        stages=stages,
        dataset=make_dataset(800, seed=1),
        validation_dataset=make_dataset(200, seed=2),
        batch_size=40,
        augmentation=(),  # cases are no images
    ).run()
    network = make_network(head).eval()
    network.load_state_dict(weights(tmp_path / "best.pt"))
    x, label, noisy = make_cases(2000, seed=3)
    outputs = MCDropoutInferer(0)(torch.from_numpy(x), network)
    confidence = CSFS[csf].confidence(outputs).numpy()
    error = (outputs["logits"].argmax(1).numpy() != label).astype(np.float64)
    assert error[~noisy].mean() < 0.15
    assert error[noisy].mean() > 0.4
    # of two cases, one from each region, the noisy one has the lower confidence nine times in ten
    assert failure_auroc(confidence, noisy.astype(np.float64)) > 0.9
    assert np.median(confidence[noisy]) < np.median(confidence[~noisy])
