import zlib

import numpy as np
import pandas as pd
import pytest

from monai_sf.results import Results, TestSet
from monai_sf.tables.cells import collect

OWN = {"confidnet": "confidence_logit", "devries": "confidence_logit", "deepgamblers": "reservation_logit"}


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def outputs(rng, labels, classes, method, wrong):
    z = np.eye(classes)[labels] * 1.4 + rng.normal(0, 0.8, (len(labels), classes))
    if wrong is not None:
        z = np.eye(classes)[(labels + 1) % classes if wrong else labels] * 3 + rng.normal(0, 0.3, z.shape)
    mean = log_softmax(z + rng.normal(0, 0.15, z.shape))
    arrays = {
        "logits": z.astype(np.float32),
        "mcd_log_softmax": mean.astype(np.float32),
        "mcd_entropy": -(np.exp(mean) * mean).sum(axis=1).astype(np.float32),
    }
    if method in OWN:
        arrays[OWN[method]] = rng.normal(0, 1, len(labels)).astype(np.float32)
    return arrays


def make(
    study="iid",
    method="confidnet",
    seed=0,
    dataset="chest_xray",
    kind="acquisition",
    corruptions=(),
    severities=(1, 2),
    n=24,
    classes=3,
    wrong=None,
    first=0,
    drop=(),
    data_kind="real",
    versions=None,
):
    """A run of n cases in groups of two; ``wrong`` makes all predictions right (False) or wrong (True)."""
    rng = np.random.default_rng(zlib.crc32(f"{dataset}{study}{method}{seed}".encode()))
    labels = np.random.default_rng(5).integers(0, classes, 200)[first : first + n]
    cases = pd.DataFrame(
        {
            "case_id": [f"c{first + i}" for i in range(n)],
            "label": labels,
            "label_name": [f"class {c}" for c in labels],
            "group": [f"p{(first + i) // 2}" for i in range(n)],
            "source": "here",
        }
    )
    rows = np.arange(n)

    def test_set(name, kind, corruption=None, severity=0):
        return TestSet(name, kind, rows, outputs(rng, labels, classes, method, wrong), corruption, severity)

    sets = [test_set("iid", "iid")]
    if study != "iid":
        sets.append(test_set("target", kind))
    for c in corruptions:
        sets += [test_set(f"corruption-{c}-{s}", "corruption", c, s) for s in severities]
    run = {
        "dataset": dataset,
        "study": study,
        "method": method,
        "seed": seed,
        "class_names": [f"class {c}" for c in range(classes)],
        "data_kind": data_kind,
    }
    if versions is not None:
        run["versions"] = versions
    return Results(run, cases, {s.name: s for s in sets if s.name not in drop})


class Runs:
    """Results folders in a temporary folder."""

    def __init__(self, root):
        self.root = root
        self.results = []

    def add(self, **about):
        run = make(**about)
        self.results.append(run)
        run.save(self.root / "{dataset}/{study}-{method}-{seed}/results".format(**run.run))
        return run

    def matrix(self, studies=("iid", "nih14"), methods=("confidnet",), seeds=(0, 1), **about):
        for study in studies:
            for method in methods:
                for seed in seeds:
                    shape = {"corruptions": ("noise", "blur")} if study == "iid" else {}
                    self.add(**{"study": study, "method": method, "seed": seed, **shape, **about})
        return self

    def collect(self, **options):
        return collect([self.root], **{"n_resamples": 0, **options})


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory):
    """Two datasets, three methods, two seeds; one run has no neighbours."""
    runs = Runs(tmp_path_factory.mktemp("shared") / "runs")
    runs.matrix(("iid", "nih14"), ("confidnet", "deepgamblers", "devries"), (0, 1))
    runs.add(study="texture", kind="manifestation", method="devries", seed=0, dataset="lung_nodule_ct")
    return runs
