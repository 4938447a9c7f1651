"""New classes in tables: judged together with the ordinary cases, and counted alone."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sf.results import Results
from monai_sf.tables import benchmark_table, write_tables
from monai_sf.tables.aggregate import table_of
from monai_sf.tables.cases import CasesOfRun
from monai_sf.tables.cells import Collection, collect, judge_run
from monai_sf.tables.format import columns_mean
from monai_sf.tables.measures import measure
from monai_sf.tables.paper import compare_with_paper


def run_of(rng, ordinary=40, new=15, seed=0, study="rash", groups=None, ties=False, dataset="skin"):
    """A run whose new cases are scattered like the ordinary ones; ``ties`` rounds the confidences."""
    n = ordinary + new
    labels = rng.integers(0, 3, n)
    logits = np.eye(3)[labels] * 1.3 + rng.normal(0, 1, (n, 3))
    labels[ordinary:] = -1
    columns = {} if groups is None else {"group": groups}
    return Results.from_arrays(
        np.round(logits) if ties else logits,
        labels,
        domains=["iid"] * ordinary + ["target"] * new,
        case_ids=[f"c{i}" for i in range(n)],
        kinds={"target": "new_class"} if new else None,
        study=study,
        seed=seed,
        columns=columns,
        dataset=dataset,
    )


def slow(results):
    """Return AURC and AUGRC of MSR over all cases by their definition, case by case in float64."""
    logits = np.concatenate([s.arrays["logits"] for s in results.test_sets.values()]).astype(np.float64)
    labels = np.concatenate([results.labels_of(name) for name in results.test_sets])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # equal logits in another order may differ in the last bit, and are ties
    confidence = np.round(softmax.max(axis=1), 12)
    wrong = logits.argmax(axis=1) != labels
    points = [(0.0, None, 0.0)]
    for t in sorted(set(confidence), reverse=True):
        kept = confidence >= t
        points.append((kept.mean(), wrong[kept].mean(), wrong[kept].sum() / len(wrong)))
    points[0] = (0.0, points[1][1], 0.0)
    coverage, risk, joint = (np.array(column, float) for column in zip(*points, strict=True))
    return np.trapezoid(risk, coverage), np.trapezoid(joint, coverage)


def all_cells(results, csf="MSR"):
    judged = judge_run(results, CasesOfRun(results, {}), [csf], results.test_sets.values(), {})
    return pd.DataFrame([cell for one in judged for cell in one.cells("real")])


def cells_of(results):
    rows = all_cells(results)
    return rows[rows["kind"] == "new_class"].set_index("metric")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30), st.booleans())
def test_curve_and_metrics_are_those_of_new_and_ordinary_cases_together(seed, ordinary, new, ties):
    results = run_of(np.random.default_rng(seed), ordinary, new, ties=ties)
    found = cells_of(results)
    assert [found["value"]["aurc"], found["value"]["augrc"]] == pytest.approx(slow(results), abs=1e-9)


def test_counts_are_those_of_the_new_cases_alone():
    found = cells_of(run_of(np.random.default_rng(1)))
    assert (found["cases"] == 15).all()
    assert (found["errors"] == 15).all()
    assert np.isnan(found["value"]["accuracy"])
    assert found["undefined"]["accuracy"] == "every answer on new classes is wrong"
    assert found["value"].drop("accuracy").notna().all()


def test_detection_is_that_of_the_test_set_and_every_new_case_fails():
    results = run_of(np.random.default_rng(1))
    *_, last = judge_run(results, CasesOfRun(results, {}), ["MSR"], results.test_sets.values(), {})
    assert len(last.detection.confidence) == 15
    assert last.detection.failed.all()
    assert len(last.ranked.confidence) == 55
    assert last.cases.rows.tolist() == [*range(40, 55), *range(40)]


def test_without_ordinary_cases_they_are_undefined_and_it_says_why():
    results = run_of(np.random.default_rng(1))
    alone = dataclasses.replace(results, test_sets={"target": results.test_sets["target"]})
    found = cells_of(alone)
    assert found["value"].isna().all()
    assert set(found["undefined"]) == {"no ordinary (iid) case, and every case of a new class is a failure"}
    assert (found["errors"] == 15).all()


def test_a_table_has_the_column_new_after_all_others():
    rng = np.random.default_rng(2)
    runs = [run_of(rng, new=0, study="iid"), run_of(rng)]
    table = benchmark_table(runs)
    assert list(table.columns) == ["iid", "new"]
    assert table.loc["MSR", "new"] == pytest.approx(slow(runs[1])[0])


def test_the_paper_has_no_such_column():
    rng = np.random.default_rng(2)
    runs = [run_of(rng, new=0, study="iid", dataset="dermoscopy"), run_of(rng, dataset="dermoscopy")]
    cells = pd.concat([all_cells(run) for run in runs])
    table = table_of(Collection(cells, measure("aurc"), {}))
    assert table.columns == [("dermoscopy", "iid"), ("dermoscopy", "new")]
    assert set(compare_with_paper(table).columns.get_level_values("group")) == {"iid"}


def test_the_caption_explains_the_columns_that_are_there():
    rng = np.random.default_rng(2)
    for new, names in ((0, ["iid"]), (15, ["iid", "new"])):
        table = table_of(Collection(all_cells(run_of(rng, new=new)), measure("aurc"), {}))
        assert re.findall(r"(\w+): ", columns_mean(table)) == names
        assert columns_mean(table).startswith("iid: no shift.")


def test_scores_are_compared_on_the_union_and_the_files_say_so(tmp_path):
    rng = np.random.default_rng(3)
    groups = [f"p{i // 2}" for i in range(55)]
    for seed in (0, 1):
        run_of(rng, seed=seed, groups=groups).save(tmp_path / "runs" / f"{seed}")
    collection = collect([tmp_path / "runs"], n_resamples=200)
    own = {key: values for key, values in collection.resampled.items() if key.test_set == "target"}
    assert own
    assert all(np.isfinite(values).all() and values.std() > 0 for values in own.values())
    files = write_tables([tmp_path / "runs"], tmp_path / "tables", n_resamples=200)
    compared = pd.read_csv(files["significance"])
    assert compared[compared["group"] == "new"]["p_value"].notna().any()
    for kind in ("text", "html", "tex"):
        assert "together with the iid cases" in files[kind].read_text(encoding="utf-8")


def test_a_run_without_groups_takes_those_of_another_for_both_sets(tmp_path):
    groups = [f"p{i // 5}" for i in range(55)]
    run_of(np.random.default_rng(4), seed=0, groups=groups).save(tmp_path / "with")
    run_of(np.random.default_rng(4), seed=1).save(tmp_path / "without")
    cells = collect([tmp_path], n_resamples=0).cells
    assert list(cells["group_fingerprint"][cells["seed"] == 0]) == list(
        cells["group_fingerprint"][cells["seed"] == 1]
    )
