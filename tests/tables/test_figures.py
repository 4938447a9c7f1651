"""What the figures draw, read back from their axes."""

import numpy as np
import pytest

from monai_sf.scores import PAPER_CSFS
from monai_sf.tables import figures
from monai_sf.tables.aggregate import table_of
from monai_sf.tables.cells import COVERAGES, RunKey
from monai_sf.tables.figures import (
    FIRST_COVERAGE,
    named_rows,
    rank_figure,
    risk_coverage_figure,
    save_figure,
    svg_of,
)
from monai_sf.vocabulary.colours import look


def drawn(collection, dataset="chest_xray"):
    return risk_coverage_figure(collection, table_of(collection, per_shift=True), dataset)


def test_curves_are_means_over_seeds_and_severities(runs):
    runs.matrix(("iid",), seeds=(0, 1))
    collection = runs.collect()
    figure = drawn(collection)
    panel = next(a for a in figure.axes if a.get_title(loc="left") == "blur (cor)")
    line = panel.get_lines()[0]
    own = [v for k, v in collection.curves.items() if k.csf == "ConfidNet" and "blur" in k.test_set]
    assert line.get_color() == look(5)[0]  # ConfidNet is sixth, and first by name
    np.testing.assert_allclose(line.get_xdata(), 100 * COVERAGES[FIRST_COVERAGE:])
    np.testing.assert_allclose(line.get_ydata(), 100 * np.mean(own, axis=0)[FIRST_COVERAGE:])
    assert len(panel.collections) == 6  # a band for each score, none for ensembles, which have one value
    assert len(panel.get_lines()) == 10


def test_one_panel_a_shift_with_all_scores(runs):
    runs.matrix(seeds=(0,))
    figure = drawn(runs.collect())
    titles = [a.get_title(loc="left") for a in figure.axes if a.get_title(loc="left")]
    assert titles == ["no shift (iid)", "blur (cor)", "noise (cor)", "NIH14 (acq)"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "MSR", "PE", "MCD-MSR", "MCD-PE", "MCD-EE", "ConfidNet",
    ]  # fmt: skip


def test_a_line_of_less_than_its_neighbours_is_marked(runs):
    runs.matrix(("iid",), ("confidnet", "devries"), (0, 1))
    (legend,) = drawn(runs.collect(csfs=["MSR", "DeVries"])).legends
    assert [t.get_text() for t in legend.get_texts()] == ["MSR", "DeVries"]
    assert legend.get_title().get_text() == ""
    runs.matrix(("nih14",), seeds=(0, 1)).add(study="nih14", method="devries", seed=0)
    (legend,) = drawn(runs.collect(csfs=["MSR", "DeVries"])).legends
    assert [t.get_text() for t in legend.get_texts()] == ["MSR", "DeVries *"]
    assert "missing" in legend.get_title().get_text()


def test_a_line_of_less_than_was_expected_is_marked(runs):
    collection = runs.matrix(("iid",), seeds=(0,)).collect(csfs=["MSR"])
    wanted = table_of(
        collection, per_shift=True, expected={RunKey("chest_xray", "iid", "confidnet", 1): "iid"}
    )
    (legend,) = risk_coverage_figure(collection, wanted, "chest_xray").legends
    assert [t.get_text() for t in legend.get_texts()] == ["MSR *"]


def test_ranks_are_drawn_with_gaps_for_what_is_missing(runs):
    runs.matrix(("iid", "nih14"), ("confidnet",), (0, 1)).matrix(("iid",), ("devries",), (0, 1))
    table = table_of(runs.collect())
    (panel,) = rank_figure(table).axes
    lines = [line for line in panel.get_lines() if len(line.get_ydata()) == 3]
    drawn = {(line.get_color(), line.get_marker()): line.get_ydata() for line in lines}
    rows = list(table.mean.index)
    for row in rows:
        expected = table.ranks().loc[row].to_numpy()
        np.testing.assert_array_equal(drawn[look(rows.index(row))[::2]], expected)
    assert "no rank" in [label.get_text() for label in panel.get_yticklabels()]
    hollow = [line for line in panel.get_lines() if line.get_markerfacecolor() == "none"]
    assert len(hollow) == 1


def test_ranks_that_are_all_there_have_no_row_for_missing_ones(runs):
    runs.matrix(seeds=(0,))
    (panel,) = rank_figure(table_of(runs.collect())).axes
    assert "no rank" not in [label.get_text() for label in panel.get_yticklabels()]


def test_equal_ranks_stand_side_by_side(runs):
    runs.matrix(("iid",), seeds=(0,), classes=2)
    (panel,) = rank_figure(table_of(runs.collect(csfs=["MSR", "PE"]))).axes
    one, other = (line.get_xdata() for line in panel.get_lines()[:2])
    assert (np.abs(one - other) > 0.05).all()


def test_ranks_of_the_papers_thirteen_columns_fit_a_page(runs):
    for dataset in ("a", "b", "c", "d"):
        runs.matrix(("iid", "nih14"), seeds=(0,), dataset=dataset, n=8)
        runs.add(study="texture", kind="manifestation", dataset=dataset, n=8)
    assert (
        rank_figure(table_of(runs.collect(csfs=["MSR"]))).get_size_inches()[0] < 10
    )  # was 13: 4 pt on paper


def test_ranks_per_shift_have_a_panel_for_each_dataset(runs):
    runs.matrix(("iid",), seeds=(0,)).matrix(("iid",), seeds=(0,), dataset="dermoscopy")
    assert len(rank_figure(table_of(runs.collect(), per_shift=True)).axes) == 2


def test_files_are_the_same_each_time_and_have_no_date(runs, tmp_path):
    runs.add()
    collection = runs.collect(csfs=["MSR", "PE"])
    for name in "ab":
        for kind in ("svg", "pdf"):
            save_figure(drawn(collection), tmp_path / f"{name}.{kind}")
    for kind in ("svg", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert "<dc:date>" not in (tmp_path / "a.svg").read_text()


def test_unknown_dataset(runs):
    runs.add()
    with pytest.raises(ValueError, match="dataset must be one of chest_xray, got 'chest'"):
        drawn(runs.collect(), "chest")


def test_dollars_in_names_are_dollars(runs):
    runs.add(dataset="a$\\frac$")
    assert "svg" in svg_of(drawn(runs.collect(), "a$\\frac$"))


def test_of_many_scores_only_those_that_can_be_told_apart_are_named(runs, monkeypatch):
    monkeypatch.setattr(figures, "MOST_NAMED", 10)
    runs.add()
    collection = runs.collect(csfs=["all"])
    table = table_of(collection, per_shift=True)
    named = named_rows(table)
    paper = [row for row in table.mean.index if row in PAPER_CSFS]
    assert len(table.mean.index) > len(named) == 10
    assert named[: len(paper)] == paper
    ranks = table.ranks().mean(axis=1).drop(paper)
    assert set(named[len(paper) :]) <= set(ranks[ranks <= ranks.sort_values().iloc[9 - len(paper)]].index)
    for figure in (drawn(collection), rank_figure(table)):
        (legend,) = figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        assert texts[:-1] == named
        assert texts[-1] == f"{len(table.mean.index) - 10} others: see the table"
        styles = [(h.get_color(), str(h._dash_pattern)) for h in legend.get_lines()]
        assert len(set(styles)) == len(styles)
        figure.draw_without_rendering()
        assert legend.get_window_extent().x1 <= figure.bbox.x1
