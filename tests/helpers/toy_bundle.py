"""A bundle of seconds: it trains and evaluates nothing, but writes what training and evaluation write."""

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd

from monai_sf.files import write_json, write_text
from monai_sf.results import Results, TestSet

TRAIN = """
imports:
- $import monai_sf
- $import monai_sf.bundle
- $import helpers
- $import helpers.toy_bundle
dataset_dir: unset
output_dir: unset
dataset_name: {dataset}
study: iid
method: confidnet
seed: 0
run_dir: unset
learning_rate: 0.001
weight_decay: 0.0
epochs: 3
pause: 0.0
fail: ''
nested: {{depth: 3}}
device: cpu
cases: "$helpers.toy_bundle.cases(@dataset_dir, @dataset_name)"
prepare: "$helpers.toy_bundle.note('prepare')"
run:
- $monai_sf.bundle.claim_run_dir(@run_dir, 'train')
- "$helpers.toy_bundle.train(@run_dir, '-'.join([@study, @method, str(@seed)]), @learning_rate, \
@weight_decay, @epochs, @pause, @fail)"
"""

EVALUATE = """
samples: 5
run:
- $monai_sf.bundle.claim_run_dir(@run_dir, 'evaluate')
- "$helpers.toy_bundle.evaluate(@run_dir, @dataset_name, @study, @method, @seed, @cases, @samples, @pause)"
"""


def write_bundle(folder, dataset="lung_nodule_ct"):
    """The bundle, with the methods confidnet and devries; its data are beside it."""
    configs = folder / "configs"
    configs.mkdir(parents=True)
    (configs / "train.yaml").write_text(TRAIN.format(dataset=dataset))
    (configs / "devries.yaml").write_text("method: devries\n")
    (configs / "evaluate.yaml").write_text(EVALUATE)
    (configs / "small.yaml").write_text("epochs: 2\nnested#depth: 1\n")  # as real ones set keys within keys
    (configs / "metadata.json").write_text("{}")
    data = folder / "data"
    data.mkdir()
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(8)], "label": np.arange(8) % 2})
    table["image"] = [f"{i}.npy" for i in range(8)]
    table["group"], table["source"], table["label_name"] = table["case_id"], "phantom", "x"
    table.to_csv(data / "cases.csv", index=False)
    for name in table["image"]:
        np.save(data / name, np.zeros(3))
    return folder


def note(what):
    """Count what is really run, across processes."""
    with open(os.environ["TOY_NOTES"], "a", encoding="utf-8") as file:
        file.write(f"{what}\n")


def append(path, line):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def cases(dataset_dir, dataset):
    table = pd.read_csv(Path(dataset_dir) / "cases.csv")
    if dataset == "dermoscopy":
        table.attrs["unavailable"] = {"mskcc": "no case of MSKCC (no attribution)"}
    return table


def train(run_dir, run, learning_rate, weight_decay, epochs, pause, fail):
    """Some epochs; a training that was begun goes on after its last one, and gives the same weights."""
    folder = Path(run_dir)
    last = folder / "last.pt"
    if (folder / "training.json").is_file():
        return
    state = json.loads(last.read_text()) if last.is_file() else {"epoch": 0, "weights": 1.0}
    if run == fail.partition(":")[0]:
        _fail(fail.partition(":")[2])
    while state["epoch"] < epochs:
        note(f"{run} epoch {state['epoch'] + 1}")
        try:
            time.sleep(pause)
        except KeyboardInterrupt:
            note("asked to stop")
            raise
        state["epoch"] += 1
        state["weights"] = (state["weights"] * 1.7 + learning_rate) % 3.1
        write_text(last, json.dumps(state))
    if learning_rate > 0.5:
        raise FloatingPointError("loss is nan in epoch 1")
    write_text(folder / "best.pt", json.dumps(state))
    accuracy = 0.9 - abs(np.log10(learning_rate) + 4) / 10 - weight_decay
    write_json(folder / "training.json", {"best": {"accuracy": accuracy}})


def _fail(how):
    print(f"about to fail: {how}")
    if how == "kill":
        os.kill(os.getpid(), 9)
    if how == "children":
        note(f"child {subprocess.Popen(['sleep', '100']).pid}")
        time.sleep(100)
    if how == "full":
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)
    raise ValueError("the images are upside down\nGet them anew")


def evaluate(run_dir, dataset, study, method, seed, cases, samples, pause):
    folder = Path(run_dir)
    if (folder / "results" / "run.json").is_file():
        return
    note(f"{study}-{method}-{seed} evaluate")
    time.sleep(pause)
    weights = json.loads((folder / "best.pt").read_text())["weights"]
    rng = np.random.default_rng([seed, samples, int(1e6 * weights), len(study), len(method)])
    rows = np.arange(len(cases))
    sets = {"iid": "iid"} if study == "iid" else {"iid": "iid", "target": "manifestation"}
    run = {
        "dataset": dataset,
        "study": study,
        "method": method,
        "seed": seed,
        "class_names": ["a", "b"],
        "data_kind": "phantom",
    }
    arrays = {
        name: {
            "logits": rng.normal(size=(len(cases), 2)).astype(np.float32),
            "confidence_logit": rng.normal(size=len(cases)).astype(np.float32),
        }
        for name in sets
    }
    test_sets = {name: TestSet(name, kind, rows, arrays[name]) for name, kind in sets.items()}
    Results(run, cases, test_sets).save(folder / "results")
