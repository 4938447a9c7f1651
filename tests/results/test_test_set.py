"""A test set has a name, a kind and arrays that fit, or it is none."""

import re

import numpy as np
import pytest

from helpers.toy_results import RUN, make_arrays, make_cases
from monai_sf.results import (
    Results,
    ResultsError,
    TestSet,
    load_results,
)
from monai_sf.results.format import slug


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {**a, "../extra": a["logits"]}, r"an array must be one of .*, got '../extra'"),
        (lambda a: {**a, "rows": a["logits"]}, r"an array must be one of .*, got 'rows'"),
        (lambda a: {**a, "extra": a["logits"].astype(str)}, "extra has dtype <U"),
        (lambda a: {**a, "extra": a["logits"][:2]}, "extra has 2 entries, rows has 3"),
        (lambda a: {k: v for k, v in a.items() if k != "logits"}, "no logits"),
        (lambda a: {**a, "logits": a["logits"][:2]}, "logits has 2 entries, rows has 3"),
        (lambda a: {**a, "mcd_entropy": a["logits"]}, "mcd_entropy has shape"),
        (lambda a: {**a, "images": a["images"].astype(float)}, "images has shape .* float64"),
    ],
)
def test_test_set_refuses(change, message):
    rows = np.array([0, 1, 2])
    with pytest.raises(ResultsError, match=message):
        TestSet("iid", "iid", rows, change(make_arrays(rows)))


def test_kind_and_corruption_must_fit():
    with pytest.raises(ResultsError, match="kind must be one of"):
        TestSet("iid", "ood", np.array([0]), make_arrays([0]))
    for kind, corruption, severity in (
        ("corruption", None, 3),
        ("corruption", None, 0),
        ("corruption", "noise", 0),
        ("iid", "noise", 2),
    ):
        with pytest.raises(ResultsError, match="do not fit together"):
            TestSet("x", kind, np.array([0]), make_arrays([0]), corruption, severity)


NAMES = [
    "Site A / 2",
    "(A)",
    "#1",
    "..",
    ".",
    "run.json",
    "cases.csv",
    "CON",
    "con",
    "Site",
    "site",
    "x " * 200,
]
NAMES += ["a\nb", "\0", "Hospital Clínic", "診療所", "<b>", "C:\\x", "val", ".part-1", "-", "a-0123456789"]


def test_any_text_names_a_test_set(tmp_path):
    sets = {name: TestSet(name, "acquisition", np.array([0, 1]), make_arrays([0, 1])) for name in NAMES}
    folders = [slug(name) for name in NAMES]
    assert len(set(folders)) == len(NAMES)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", folder) and len(folder) < 90 for folder in folders)
    Results(RUN, make_cases(), sets).save(tmp_path / "r")
    assert sorted(load_results(tmp_path / "r").test_sets) == sorted(NAMES)
    assert {slug(name) for name in ("iid", "target", "corruption-gaussian_noise-3")} == {
        "iid",
        "target",
        "corruption-gaussian_noise-3",
    }
    for name in ("", " ", "\ud800", 3):
        with pytest.raises(ResultsError, match="name of a test set must be a text"):
            TestSet(name, "iid", np.array([0]), make_arrays([0]))
