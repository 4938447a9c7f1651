"""A trainer and an evaluator of the toy problem, and the methods as short stages."""

from functools import partial

import torch
from monai_sf.transforms import BatchRandFlip, BatchRandScaleIntensity, CorruptionSweep

from helpers.toy_problem import tiny_network, toy_cases, toy_dataset
from monai_sf.engines import ClassifierTrainer, TestSetEvaluator
from monai_sf.engines.stages import Stage
from monai_sf.inferers import MCDropoutInferer
from monai_sf.losses import ClassificationLoss, DeepGamblersLoss, DeVriesLoss, TrueClassProbabilityLoss
from monai_sf.networks.heads import ConfidNetHead, DeVriesHead, ReservationHead
from monai_sf.tables import failure_metrics, thresholds

CPU = torch.device("cpu")
ALL = ("backbone", "head", "confidence")
HEADS = {
    "confidnet": partial(ConfidNetHead, width=8),
    "deepgamblers": ReservationHead,
    "devries": DeVriesHead,
}
RUN = {
    "dataset": "toy",
    "study": "iid",
    "method": "classifier",
    "seed": 3,
    "class_names": ["dark", "bright"],
    "data_kind": "phantom",
}
AUGMENTATION = (BatchRandFlip(prob=0.5, spatial_axis=1), BatchRandScaleIntensity(factors=0.1, prob=0.5))
KINDS = ("brightness_down", "gaussian_noise")


def make_trainer(run_dir, epochs=3, network=None, dataset=None, stages=None, **changes):
    cases = toy_cases()
    stages = stages or [Stage("classifier", epochs, ClassificationLoss(), {"lr": 0.01})]
    arguments = {
        "device": CPU,
        "max_epochs": sum(stage.epochs for stage in stages),
        "stages": stages,
        "optimizer": torch.optim.Adam,
        "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR,
        "network": network or tiny_network(),
        "dataset": toy_dataset(cases[:28], "train") if dataset is None else dataset,
        "validation_dataset": toy_dataset(cases[28:], "val"),
        "batch_size": 9,
        "run_dir": run_dir,
        "seed": 3,
        "augmentation": AUGMENTATION,
        **changes,
    }
    return ClassifierTrainer(**arguments)


def weights(path):
    return torch.load(path, weights_only=True)["network"]


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def make_evaluator(run_dir, network=None, records_changed=None, samples=2, **changes):
    cases = toy_cases()[28:].assign(split=["iid"] * 7 + ["target"] * 5)
    dataset = toy_dataset(cases, "iid")
    for record, split in zip(dataset.data, cases["split"], strict=True):
        record["split"] = split
    if records_changed:
        records_changed(dataset.data)
    arguments = {
        "device": CPU,
        "network": network or tiny_network(seed=5),
        "dataset": dataset,
        "cases": cases,
        "run_dir": run_dir,
        "target_kind": "manifestation",
        "sweep": CorruptionSweep(KINDS, (1, 3)),
        "inferer": MCDropoutInferer(samples),
        "thresholds": thresholds,
        "failure_metrics": failure_metrics,
        "target_risk": 0.1,
        "delta": 0.1,
        "run_description": RUN,
        "batch_size": 4,
        **changes,
    }
    return TestSetEvaluator(**arguments)


def stages_of(method):
    if method == "confidnet":
        tcp = TrueClassProbabilityLoss
        return [
            Stage("classifier", 2, ClassificationLoss(), {"lr": 0.01}),
            Stage("confidnet", 2, tcp(), {"lr": 0.01}, trains=("confidence",), select="loss"),
            Stage("finetuning", 2, tcp(), {"lr": 0.001}, trains=("encoder", "confidence"), select="loss"),
        ]
    if method == "deepgamblers":
        return [
            Stage("pretraining", 2, ClassificationLoss(), {"lr": 0.01}, trains=ALL),
            Stage("gambling", 2, DeepGamblersLoss(2.0), continues=True, trains=ALL),
        ]
    return [Stage("classifier", 3, DeVriesLoss(), {"lr": 0.01}, trains=ALL)]


def trainer_of(method, folder, seed=0, **changes):
    network = tiny_network(seed, confidence=HEADS[method])
    return make_trainer(folder, network=network, stages=stages_of(method), **changes)


class StopError(Exception):
    """Ends a training from within."""


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(bytes(data))
