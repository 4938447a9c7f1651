"""What every case table has in common, whatever it was made from."""

import pandas as pd

TEXTS = (
    "case_id",
    "image",
    "label_name",
    "group",
    "source",
    "data_kind",
    "split",
    "view",
    "diagnosis",
    "plate",
)


def check_types(cases: pd.DataFrame) -> None:
    """Assert that texts are pandas' texts, labels are int64, and images with several files are lists."""
    text = pd.Series(["a"], dtype="str").dtype
    several = isinstance(cases["image"].iloc[0], list)
    expected = {name: "object" if name == "image" and several else text for name in TEXTS if name in cases}
    assert {name: cases[name].dtype for name in expected} == expected
    assert cases["label"].dtype == "int64"
