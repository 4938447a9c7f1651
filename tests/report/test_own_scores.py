"""A run's own scores on the page."""

import numpy as np
import pytest

from helpers.pages import payload
from monai_sf.report import build_report
from monai_sf.results import Results
from monai_sf.scores import PAPER_CSFS

N = 40


def make(seed, *names):
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 2
    logits = np.eye(2)[labels] + rng.normal(0, 0.8, (N, 2))
    scores = {name: rng.random(N) for name in names}
    return Results.from_arrays(logits, labels, scores=scores, seed=seed, method="my-net")


@pytest.mark.parametrize("anonymous", [False, True])
def test_they_are_rows_after_the_registered_ones_and_offered_at_once(tmp_path, anonymous):
    # redaction must not take these names for secrets or paths
    runs = [make(0, "TokenEntropy", "Profile"), make(1, "Other", "TokenEntropy")]
    content = payload(build_report(runs, tmp_path / "r.html", anonymous=anonymous))
    own = ["TokenEntropy", "Profile", "Other"]
    assert list(content["csfs"])[-3:] == own
    assert all(content["csfs"][name]["usual"] for name in own)
    assert content["csfs"]["Other"]["description"] == "Given with the results."
    assert [c["name"] for c in content["runs"][1]["csfs"]][-2:] == ["Other", "TokenEntropy"]
    assert content["table"]["rows"][-3:] == own
    assert list(content["studies"]["rows"])[-3:] == own
    assert content["studies"]["columns"][0]["methods"]["Profile"] == "my-net"
    usual = [name for name, score in content["csfs"].items() if score["usual"]]
    assert usual[0] == PAPER_CSFS[0]
    assert usual[-3:] == own


@pytest.mark.parametrize("csfs", [["MSR", "Profil"], "MSR"])
def test_a_chosen_score_that_does_not_exist_is_named(tmp_path, csfs):
    run = make(0, "Profile")
    build_report(run, tmp_path / "r.html", csfs=["MSR", "Profile"])
    with pytest.raises(
        ValueError, match=r"csfs must be among MSR, .*, Profile or all, got (Profil|M, S, R)$"
    ):
        build_report(run, tmp_path / "r.html", csfs=csfs)
