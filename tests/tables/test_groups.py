"""Which scores are shown, and the groups of rows by what a score needs."""

import re

import pandas as pd
import pytest

from monai_sf.results import ResultsError
from monai_sf.scores import CSFS, GROUPS, PAPER_CSFS, group_of, in_groups, is_chosen
from monai_sf.tables import write_tables


def test_the_papers_scores_are_the_first_nine_rows_then_groups_in_order():
    rows = in_groups(["MyScore", *reversed(list(CSFS))])
    assert rows[:9] == list(PAPER_CSFS)
    order = [list(GROUPS).index(group_of(name)) for name in rows]
    assert order == sorted(order)
    assert rows[-1] == "MyScore"
    assert in_groups(["Mine", "PE", "A.Coin", "MSR", "Mine"]) == ["MSR", "PE", "Mine", "A.Coin"]
    assert {group_of(name) for name in ("MaxLogit", "Energy")} == {"outputs"}
    assert {group_of(name) for name in ("MCD-MI", "MCD-SV")} == {"samples"}


def test_a_choice_is_by_name_or_all_and_given_scores_are_usual():
    assert is_chosen("MSR", None)
    assert is_chosen("MyScore", None)
    assert not is_chosen("MaxLogit", None)
    assert is_chosen("MaxLogit", ["all"])
    assert is_chosen("MaxLogit", ["MaxLogit"])
    assert not is_chosen("MSR", ["MaxLogit"])


@pytest.fixture
def written(runs, tmp_path):
    runs.add()
    return lambda **given: write_tables([runs.root], tmp_path / "tables", n_resamples=5, **given)


def headings_in(files):
    text = files["text"].read_text(encoding="utf-8").split("Each shift by itself")[0]
    page = files["html"].read_text(encoding="utf-8").split("<h2>")[0]
    latex = files["tex"].read_text(encoding="utf-8")
    return (
        re.findall(r"^\[(.+)\]$", text, re.MULTILINE),
        re.findall(r'<tr class="group"><th[^>]*>([^<]+)</th>', page),
        re.findall(r"\\multicolumn\{\d+\}\{l\}\{\\textit\{([^}]+)\}\}", latex),
    )


def test_all_scores_on_request_with_a_heading_for_each_group(written):
    files = written(csfs=["all"])
    table = pd.read_csv(files["csv"])
    assert len(table["csf"].unique()) > 9
    needs = dict(zip(table["csf"], table["needs"], strict=True))
    assert (needs["MSR"], needs["MaxLogit"], needs["MCD-MI"]) == tuple(list(GROUPS.values())[:3])
    expected = list(dict.fromkeys(needs.values()))
    assert len(expected) > 1
    for found in headings_in(files):
        assert found == expected


def test_scores_of_one_group_have_no_heading(written):
    assert headings_in(written()) == ([], [], [])
    assert list(pd.read_csv(written(csfs=["Energy", "MaxLogit"])["csv"])["csf"].unique()) == [
        "MaxLogit",
        "Energy",
    ]


def test_too_many_scores_for_all_pairs_are_compared_with_msr(runs, tmp_path):
    runs.add()

    def compared(**given):
        files = write_tables(
            [runs.root], tmp_path / "tables", csfs=["MSR", "PE", "Energy", "MaxLogit"], **given
        )
        return set(pd.read_csv(files["significance"])["second"]), files["html"].read_text(encoding="utf-8")

    seconds, _ = compared(n_resamples=300)  # 6 pairs need 240, 3 comparisons 120
    assert len(seconds) > 1
    seconds, page = compared(n_resamples=200)
    assert seconds == {"MSR"}
    assert "refer to MSR" in page
    assert len(compared(n_resamples=100)[0]) > 1


@pytest.mark.parametrize("csfs", [["DG-RES", "DeVries"], []])
def test_scores_that_no_run_has_are_named(written, csfs):
    named = ", ".join(csfs) or "(none)"
    with pytest.raises(ResultsError, match=f"the scores {re.escape(named)}$"):
        written(csfs=csfs)
