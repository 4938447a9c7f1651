"""Promises for made-up runs: thresholds as run.json has them after an evaluation with calibration cases."""

from monai_sf.results import Results
from monai_sf.tables import thresholds


def promise(threshold=None, needed=None, coverage=0.0):
    """The entry of one score."""
    return {
        "threshold": threshold,
        "coverage": coverage,
        "risk": None if threshold is None else 0.01,
        "bound": None if threshold is None else 0.045,
        "delta": 0.025,
        "needed": needed,
    }


def with_promise(run, csfs, *, target_risk=0.05, cases=812, groups=240):
    """The run with thresholds: the entry of every score by name."""
    thresholds = {"target_risk": target_risk, "delta": 0.05, "cases": cases, "groups": groups, "csfs": csfs}
    return Results({**run.run, "thresholds": thresholds}, run.cases, run.test_sets)


def promised(run, calibration, target_risk=0.05):
    """The run with the thresholds that another run's ordinary cases, as calibration cases, can promise."""
    about = {**run.run, "thresholds": thresholds(calibration, "iid", target_risk, 0.05)}
    return Results(about, run.cases, run.test_sets)
