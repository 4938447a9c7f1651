import numpy as np
import pytest

from monai_sf.report import sweep as sweep_module
from monai_sf.report.concepts import concepts, typical
from monai_sf.report.maps import with_maps
from monai_sf.report.packing import Packer
from monai_sf.report.privacy import Privacy
from monai_sf.report.runs import evaluate
from monai_sf.report.sweep import chosen_cases, sweep
from monai_sf.report.thumbnails import Sheets
from monai_sf.results import Results, TestSet


@pytest.fixture(scope="module")
def run(make_run):
    (mapped,) = with_maps([evaluate(make_run("texture", n=60, severities=(2, 5)), 150, 0)], 0, [None])
    return mapped


def test_followed_images_are_right_when_clean_and_confidently_wrong_when_corrupted(run):
    rows = chosen_cases(run, seed=0)
    assert len(rows) == len(set(rows)) == sweep_module.CASES
    labels = run.results.cases["label"].to_numpy()
    iid = run.shown["iid", run.csfs[0]].detection
    corrupted = [run.shown[s.name, run.csfs[0]].detection for s in run.sets if s.corruption]
    worst = {
        row: max(d.confidence[row] for d in corrupted if d.error[row])
        for row in range(60)
        if iid.prediction[row] == labels[row] and any(d.error[row] for d in corrupted)
    }
    expected = sorted(worst, key=lambda row: -worst[row])[: sweep_module.CASES - sweep_module.CASES // 5]
    assert list(rows[: len(expected)]) == expected


def test_without_corruptions_there_is_nothing_to_follow(make_run):
    plain = evaluate(make_run(n=20, corruptions=()), 20, 0)
    assert sweep(plain, Packer(), Sheets(16), 0, True, str) is None


def test_sweep_numbers_are_those_of_the_cases_in_any_order_of_rows(make_run):
    given = make_run(n=30, severities=(5,))
    name = "corruption-gaussian_noise-5"
    order = np.random.default_rng(1).permutation(30)
    s = given.test_sets[name]
    arrays = {key: values[order] for key, values in s.arrays.items()}
    shuffled = TestSet(name, s.kind, s.rows[order], arrays, s.corruption, s.severity)
    results = Results(given.run, given.cases, {**given.test_sets, name: shuffled})
    rows = []
    for r in (given, results):
        packer = Packer()
        out = sweep(evaluate(r, 40, 0), packer, Sheets(16), 0, True, str)
        rows.append((out, packer.base64()))
    assert rows[0] == rows[1]


def test_a_second_set_of_ordinary_cases_is_no_severity(make_run):
    run = make_run(n=30)
    first = run.test_sets["iid"]
    half = {name: array[:15] for name, array in first.arrays.items()}
    two = Results(
        run.run, run.cases, {**run.test_sets, "more": TestSet("more", "iid", first.rows[:15], half)}
    )
    found = evaluate(two, 60, 0)
    assert [found.sets[i].name for i in sweep(found, Packer(), Sheets(16), 0, True, str)["sets"]] == [
        "iid", "corruption-gaussian_noise-1", "corruption-gaussian_noise-5",
    ]  # fmt: skip
    assert any("working point is set on iid" in note.text for note in found.notes)


def test_typical_points_are_nearest_to_the_centres_of_their_clusters():
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(9, 3))
    points = np.concatenate([centres + 0.01 * rng.normal(size=(9, 3)) for _ in range(6)] + [centres])
    chosen = typical(points.astype(np.float32), seed=0)
    assert len(chosen) == 9
    found = points[chosen][:, None] - centres[None]
    assert sorted(np.linalg.norm(found, axis=2).argmin(axis=1)) == list(range(9))
    for cluster in range(9):
        members = points[cluster::9]
        nearest = np.linalg.norm(members - members.mean(axis=0), axis=1).min()
        shown = points[chosen][np.linalg.norm(found, axis=2).argmin(axis=1) == cluster][0]
        assert np.linalg.norm(shown - members.mean(axis=0)) == pytest.approx(nearest, abs=1e-5)


@pytest.mark.parametrize("n", [1, 4])
def test_fewer_points_than_clusters(n):
    points = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    assert sorted(typical(points, 0)) == list(range(n))


def test_points_in_one_place():
    assert len(typical(np.zeros((20, 3), np.float32), 0)) == 1


def test_concepts_are_classes_and_columns_by_domain(run):
    found = {c["column"]: c["groups"] for c in concepts(run, 0, Privacy.of([run.results], False, None))}
    assert list(found) == ["class", "source", "texture"]
    rows = run.rows()
    labels = run.results.cases["label_name"].to_numpy()[rows]
    kinds = np.array([s.kind for s in run.sets])[run.sample.test_set]
    for group in found["class"]:
        assert 1 <= len(set(group["points"])) == len(group["points"]) <= 9
        assert (labels[group["points"]] == group["value"]).all()
        wanted = {"source": "iid", "target: texture": "manifestation", "gaussian noise": "corruption"}
        assert (kinds[group["points"]] == wanted[group["domain"]]).all()
        members = (labels == group["value"]) & (kinds == wanted[group["domain"]])
        assert group["count"] == members.sum()
    assert [g["domain"] for g in found["class"]][:3] == ["source", "target: texture", "gaussian noise"]
