"""Scores that are fitted, simple enough to be computed again by a test, and runs that have them."""

from contextlib import contextmanager

import pytest
import torch

from helpers.toy_engines import RUN, make_evaluator
from helpers.toy_problem import tiny_network, toy_cases, toy_dataset
from monai_sf.networks.heads import ConfidNetHead
from monai_sf.scores import CSF, CSFS, Fit, as_float64

#: Numbers of cases by split, in the order of the case table: splits are no blocks of it.
SPLITS = ["val"] * 5 + ["train"] * 11 + ["iid"] * 9 + ["train"] * 6 + ["val"] * 6 + ["target"] * 3
SPLITS += ["calibration"] * 20
#: So tolerant that a few cases of a network which guesses have a threshold.
TOLERANT = {"target_risk": 0.7, "delta": 0.9}


def _centre(reference):
    """The mean features of the training cases of class 0, and what else a fit may read."""
    total, count, labels = 0.0, 0, reference.labels()
    first = 0
    for (features,) in reference.blocks("training_features"):
        ours = labels[first : first + len(features)] == 0
        total, count, first = total + features[ours].sum(0), count + int(ours.sum()), first + len(features)
    weight, bias = (reference.float64(f"last_layer_{name}") for name in ("weight", "bias"))
    return {
        "centre": total / count,
        "last_layer": torch.cat([weight, bias[:, None]], dim=1),
        "validation": reference.float64("validation_logits").mean(0),
    }


def _distance(arrays, fitted):
    away = as_float64(arrays["features"], "features") - as_float64(fitted["centre"], "centre")
    return {"toy_distance": away.norm(dim=1)}


DISTANCE = Fit(
    "toy_distance",
    needs=(
        "training_features",
        "training_labels",
        "validation_logits",
        "last_layer_weight",
        "last_layer_bias",
    ),
    reads=("features",),
    gives=("toy_distance",),
    fit=_centre,
    derive=_distance,
)


def _refuse(reference):
    raise ValueError("the training cases are too few: add some")


IMPOSSIBLE = Fit("toy_impossible", ("training_logits",), ("logits",), ("toy_nothing",), _refuse, _distance)

TOYS = (
    CSF("Toy-Distance", ("toy_distance",), lambda arrays: -arrays["toy_distance"], fit=DISTANCE),
    CSF("Toy-Impossible", ("toy_nothing",), lambda arrays: arrays["toy_nothing"], fit=IMPOSSIBLE),
)


@contextmanager
def toy_scores(*csfs):
    """Have no other fitted scores than these, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        others = {name: csf for name, csf in CSFS._entries.items() if csf.fit is None}
        patch.setattr(CSFS, "_entries", others | {csf.name: csf for csf in csfs or TOYS})
        yield


def network(seed=0):
    return tiny_network(seed, confidence=ConfidNetHead)


def fitting_evaluator(folder, method="confidnet", splits=SPLITS, **changes):
    """An evaluator with training cases; ``folder`` gets an untrained network unless it has one."""
    if not (folder / "best.pt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"network": network().state_dict()}, folder / "best.pt")
    cases = toy_cases(len(splits)).assign(split=splits)
    dataset = toy_dataset(cases, "")
    for record, split in zip(dataset.data, splits, strict=True):
        record["split"] = split
    own = {"network": network(1), "sweep": None, "dataset": dataset, "cases": cases, **TOLERANT}
    return make_evaluator(folder, **{**own, "run_description": {**RUN, "method": method}, **changes})
