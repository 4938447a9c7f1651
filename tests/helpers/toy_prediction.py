"""A run with thresholds, of an untrained network with ConfidNet, and a predictor that applies them."""

from monai.data import DataLoader, Dataset
from monai.transforms import Compose, ToTensord

from helpers.toy_engines import CPU, RUN, make_evaluator
from helpers.toy_fits import TOLERANT
from helpers.toy_problem import tiny_network, toy_cases, toy_dataset, toy_records
from monai_sf.inferers import MCDropoutInferer
from monai_sf.networks.heads import ConfidNetHead
from monai_sf.prediction.engine import ImagePredictor


def network(seed=0):
    return tiny_network(seed, confidence=ConfidNetHead)


def evaluator(folder, *, seed=RUN["seed"], **changes):
    splits = ["calibration"] * 10 + ["iid"] * 8 + ["val"] * 4 + ["calibration"] * 10 + ["target"] * 8
    cases = toy_cases().assign(split=splits)
    dataset = toy_dataset(cases, "iid")
    for record, split in zip(dataset.data, cases["split"], strict=True):
        record["split"] = split
    changes = {"network": network(1), "sweep": None, **TOLERANT, **changes}
    about = {**RUN, "method": "confidnet", "seed": seed}
    return make_evaluator(folder, dataset=dataset, cases=cases, run_description=about, **changes)


def predictor(run_dir, csf="MSR", *, batch_size=64, **changes):
    records = [{k: r[k] for k in ("image", "case_id")} for r in toy_records(toy_cases(), "")]
    dataset = Dataset(records, Compose([ToTensord("image", track_meta=False)]))
    arguments = {
        "device": CPU,
        "network": network(2),
        "checkpoint": run_dir / "best.pt",
        "val_data_loader": DataLoader(dataset, batch_size=batch_size),
        "inferer": MCDropoutInferer(2),
        "method": "confidnet",
        "csf": csf,
        "evaluation": run_dir / "results" / "run.json",
        "class_names": ["dark", "bright"],
        "output": run_dir / "predictions.csv",
        **changes,
    }
    return ImagePredictor(**arguments)
