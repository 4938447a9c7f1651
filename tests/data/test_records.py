"""The records of a case table."""

import pytest

from helpers.toy_problem import toy_cases
from monai_sf.data import case_records


def test_case_records():
    cases = toy_cases(4).assign(split=["train", "val", "train", "iid"])
    records = case_records(cases, "train", "/data")
    assert list(records) == [
        {"image": "/data/0.npy", "label": 0, "case_id": "case00", "split": "train"},
        {"image": "/data/2.npy", "label": 0, "case_id": "case02", "split": "train"},
    ]
    assert [r["split"] for r in case_records(cases, ["iid", "val"], "/data")] == ["val", "iid"]
    several = cases.assign(image=[["a.png", "b.png"]] * 4)
    assert case_records(several, "val", "/d")[0]["image"] == ["/d/a.png", "/d/b.png"]
    with pytest.raises(ValueError, match=r"no case is in \['target'\]; the splits are"):
        case_records(cases, "target", "/data")
    for path in ("../x.npy", "/etc/passwd", "a/../../x.npy"):
        with pytest.raises(ValueError, match=r"1 images lie outside of dataset_dir: cases \['case01'\]"):
            case_records(cases.assign(image=["a", path, "b", "c"]), ["train", "val"], "/data")
