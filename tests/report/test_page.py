import base64
import hashlib
import json
import os
import re

import numpy as np
import pytest

from helpers.promises import promised
from monai_sf.files import write_json
from monai_sf.metrics import aurc, bootstrap_ci
from monai_sf.report import build_report
from monai_sf.report.__main__ import main
from monai_sf.results import Results, ResultsError, TestSet, load_results
from monai_sf.results.format import seal
from monai_sf.tables.aggregate import benchmark_table
from monai_sf.tables.judge import failure_detection


def element(html, name):
    return re.search(rf'id="{name}">(.*?)</script>', html, re.DOTALL).group(1)


def read(path):
    """The page's data, arrays in place."""
    html = path.read_text(encoding="utf-8")
    blocks = [base64.b64decode(element(html, f"sf-arrays-{i}")) for i in range(2)]

    def revive(entry):
        if "$array" not in entry:
            return entry
        name, offset, count, block = entry["$array"]
        dtype = np.dtype(name.removesuffix("Array").lower()).newbyteorder("<")
        return np.frombuffer(blocks[block], dtype, count, offset)

    return json.loads(element(html, "sf-data"), object_hook=revive), html


def only(run, **changes):
    """A copy of a run whose test sets lack some arrays (value None) or have other ones."""
    sets = {}
    for name, s in run.test_sets.items():
        arrays = {k: changes.get(k, v) for k, v in s.arrays.items() if changes.get(k, v) is not None}
        sets[name] = TestSet(s.name, s.kind, s.rows, arrays, s.corruption, s.severity)
    return Results(run.run, run.cases, sets)


@pytest.fixture(scope="module")
def runs(make_run):
    return [make_run(s, n=60) for s in ("iid", "texture")]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    return build_report(runs, tmp_path_factory.mktemp("page") / "report.html", max_points=120)


def test_numbers_on_the_page_are_those_of_the_metrics(page, runs):
    data, _ = read(page)
    table = benchmark_table(runs)
    assert data["table"]["rows"] == list(table.index)
    assert data["table"]["columns"] == list(table.columns)
    np.testing.assert_array_equal(np.array(data["table"]["values"], float), table.to_numpy())
    for run, shown in zip(runs, data["runs"], strict=True):
        for csf in shown["csfs"]:
            for about, numbers in zip(shown["sets"], csf["sets"], strict=True):
                found = failure_detection(run, about["name"], csf["name"])
                assert about["count"] == len(found.error)
                assert numbers["errors"] == found.error.sum()
                if about["kind"] == "corruption":
                    assert numbers["aurcInterval"] is None
                else:
                    low, high = bootstrap_ci(
                        aurc, found.confidence, found.error, groups=run.cases_of(about["name"])["group"]
                    )
                    assert numbers["aurcInterval"] == pytest.approx([low, high], rel=0.15, abs=0.01)
                    assert numbers["aurcInterval"][0] < numbers["aurc"] < numbers["aurcInterval"][1]
                for step in (1, 50, 80, 100):
                    sure = found.confidence >= csf["thresholds"][step - 1]
                    assert numbers["trusted"][step - 1] == sure.sum()
                    assert numbers["silent"][step - 1] == found.error[sure].sum()


def test_points_are_their_cases(page, runs):
    data, _ = read(page)
    for run, shown in zip(runs, data["runs"], strict=True):
        points = shown["points"]
        assert points["count"] <= 120
        assert points["total"] == sum(len(s) for s in run.test_sets.values())
        ids = [shown["cases"]["id"][c] for c in points["case"]]
        labels = run.cases.set_index("case_id")["label"]
        np.testing.assert_array_equal(points["label"], labels[ids])
        assert len({*zip(points["set"], ids, strict=True)}) == points["count"]
        assert sum(part[1] for part in points["parts"]) == points["count"]
        assert sum(part[2] for part in points["parts"]) == points["total"]
        msr = next(c for c in shown["csfs"] if c["name"] == "MSR")
        for i, (s, case) in enumerate(zip(points["set"], ids, strict=True)):
            name = shown["sets"][s]["name"]
            (row,) = np.flatnonzero(run.cases_of(name)["case_id"] == case)
            found = failure_detection(run, name, "MSR")
            assert msr["confidence"][i] == np.float32(found.confidence[row])
            assert msr["prediction"][i] == found.prediction[row]


def test_policy_allows_exactly_the_scripts_of_the_page(page):
    html = page.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html).group(1)
    policy = policy.replace("&#39;", "'")
    scripts = [*re.findall(r"<script>(.*?)</script>", html, re.DOTALL), element(html, "sf-library")]
    assert len(scripts) == 2
    hashes = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert hashes == set(re.findall(r"'sha256-([^']+)'", policy))
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    for word in ("unsafe-eval", "http:", "https:", "script-src 'unsafe-inline'"):
        assert word not in policy


def test_nothing_on_the_page_points_elsewhere(page):
    html = re.sub(r"<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.findall(r"\b(?:src|href)=(?![\"']#)", html)
    assert "@import" not in html
    assert "url(" not in html


def test_no_path_of_the_machine(page, tmp_path):
    html = page.read_text(encoding="utf-8")
    assert "/home/" not in html
    assert str(tmp_path.parent) not in html


def test_case_ids_that_are_paths(make_run, tmp_path):
    run = make_run(n=12)
    ids = [f"/home/jdoe/scans/{i}.png" for i in range(10)] + ["/home/jdoe/a/x.png", "/home/jdoe/b/x.png"]
    cases = run.cases.assign(case_id=ids)
    data, html = read(build_report(Results(run.run, cases, run.test_sets), tmp_path / "r.html"))
    alike = ["x.png (case 11)", "x.png (case 12)"]
    assert data["runs"][0]["cases"]["id"] == [f"{i}.png" for i in range(10)] + alike
    assert "jdoe" not in html


def test_anonymous_pages_hold_no_id_and_no_group(make_run, tmp_path):
    run = make_run(n=30)
    data, html = read(build_report(run, tmp_path / "r.html", anonymous=True, max_points=20))
    assert "LIDC-" not in html
    assert "patient0" not in html
    assert set(data["runs"][0]["cases"]["id"]) <= {f"case {i}" for i in range(1, 31)}
    assert data["runs"][0]["cases"]["columns"] == []
    data, html = read(
        build_report(run, tmp_path / "r.html", anonymous=True, columns=["texture"], max_points=20)
    )
    assert [c["name"] for c in data["runs"][0]["cases"]["columns"]] == ["texture"]
    assert [c["column"] for c in data["runs"][0]["concepts"]] == ["class", "texture"]
    assert "site A" not in html


def test_one_case_has_one_number_in_all_runs(make_run, tmp_path):
    runs = [make_run(n=12, seed=s) for s in (0, 1)]
    data, _ = read(build_report(runs, tmp_path / "r.html", anonymous=True, max_points=1000))
    assert data["runs"][0]["cases"]["id"] == data["runs"][1]["cases"]["id"]


def test_hostile_text_does_not_reach_the_markup(make_run, tmp_path):
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"
    run = make_run(n=20, hostile=bad, dataset=f"d{bad}", study=f"s{bad}", method=f"m{bad}")
    _, html = read(build_report(run, tmp_path / "r.html", title=f"t{bad}"))
    assert "<img" not in html
    assert "alert(1)</script>" not in html
    assert "49" not in re.search(r"<title>(.*?)</title>", html).group(1)


def test_thumbnails_beyond_the_budget_are_left_out_failures_first(make_run, tmp_path):
    data, _ = read(build_report(make_run(n=60), tmp_path / "r.html", max_points=100, max_images=50))
    (run,) = data["runs"]
    has = run["points"]["thumb"] >= 0
    assert has.sum() == run["points"]["images"] == 50
    wrong = np.any([c["prediction"] != run["points"]["label"] for c in run["csfs"]], axis=0)
    assert has[wrong].all() or not has[~wrong].any()


def notes(results, tmp_path, **options):
    data, _ = read(build_report(results, tmp_path / "r.html", **options))
    return data["runs"][0], " ".join(note["text"] for note in data["runs"][0]["notes"])


def test_without_features(make_run, tmp_path):
    run, text = notes(only(make_run(n=20), features=None), tmp_path)
    assert run["points"]["xyz"] is None
    assert "No features are stored" in text


def test_without_images(make_run, tmp_path):
    run, text = notes(only(make_run(n=20), images=None), tmp_path)
    assert (run["points"]["thumb"] == -1).all()
    assert "No images are stored for the test sets" in text


def test_nan_features_leave_their_case_off_the_map(make_run, tmp_path):
    run = make_run(n=20, corruptions=())
    run.test_sets["iid"].arrays["features"][3, 1] = np.nan
    shown, text = notes(run, tmp_path)
    xyz = shown["points"]["xyz"].reshape(-1, 3)
    assert (xyz == -32768).all(axis=1).sum() == 1
    assert "1 shown case has NaN" in text


def test_nan_features_everywhere(make_run, tmp_path):
    run = make_run(n=20, corruptions=())
    run.test_sets["iid"].arrays["features"][:] = np.nan
    shown, text = notes(run, tmp_path)
    assert shown["points"]["xyz"] is None
    assert "no map" in text


def test_the_same_features_everywhere(make_run, tmp_path):
    run = make_run(n=20, corruptions=())
    run.test_sets["iid"].arrays["features"][:] = 1
    assert "on the map they are one point" in notes(run, tmp_path)[1]


def test_two_cases(make_run, tmp_path):
    shown, text = notes(make_run(n=2, corruptions=()), tmp_path)
    assert shown["points"]["count"] == 2
    assert "Fewer than 5 cases" in text


def test_one_class_only(make_run, tmp_path):
    run = make_run(n=20)
    run = Results(run.run, run.cases.assign(label=1), run.test_sets)
    assert "All cases are of one class (malignant)" in notes(run, tmp_path)[1]


def test_no_failure_at_all(make_run, tmp_path):
    run = make_run(n=20, corruptions=())
    perfect = 5 * np.eye(2)[run.labels_of("iid")].astype(np.float32)
    run = only(run, logits=perfect, mcd_log_softmax=None, mcd_entropy=None)
    shown, text = notes(run, tmp_path)
    assert "made no mistake" in text
    assert all(c["sets"][0]["silent"].sum() == 0 for c in shown["csfs"])


def test_1139_classes(make_run, tmp_path):
    shown, _ = notes(make_run(n=30, classes=1139, corruptions=()), tmp_path)
    assert len(shown["classes"]) == 1139


def test_without_an_iid_set_the_first_one_sets_the_working_point(make_run, tmp_path):
    run = make_run("texture", n=20, corruptions=())
    run = Results(run.run, run.cases, {"target": run.test_sets["target"]})
    assert "working point is set on target" in notes(run, tmp_path)[1]


def test_an_empty_test_set_is_named(make_run, tmp_path):
    run = make_run("texture", n=20, corruptions=())
    s = run.test_sets["target"]
    empty = TestSet("target", s.kind, s.rows[:0], {k: v[:0] for k, v in s.arrays.items()})
    run = Results(run.run, run.cases, {**run.test_sets, "target": empty})
    assert "Test sets without a case are left out: target" in notes(run, tmp_path)[1]


def test_no_results():
    with pytest.raises(ResultsError, match="results is empty"):
        build_report([], "x.html")


def test_no_test_set(make_run, tmp_path):
    run = make_run(n=5)
    with pytest.raises(ResultsError, match=r"study iid.* has no test set with a case"):
        build_report(Results(run.run, run.cases, {}), tmp_path / "r.html")


def test_two_datasets(make_run, tmp_path):
    with pytest.raises(ResultsError, match="one dataset"):
        build_report([make_run(n=9), make_run(n=9, dataset="other")], tmp_path / "r.html")


@pytest.mark.parametrize("coverage", [0, 101])
def test_coverage_is_in_per_cent(make_run, tmp_path, coverage):
    with pytest.raises(ValueError, match=f"coverage must be 1 to 100 .* got {coverage}"):
        build_report(make_run(n=5), tmp_path / "r.html", coverage=coverage)


def test_the_shell_command_reads_folders_and_keeps_the_embedding(make_run, tmp_path, capsys):
    make_run(n=12).save(tmp_path / "run")
    assert main([str(tmp_path / "run"), "-o", str(tmp_path / "r.html"), "--max-points", "15"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r.html")
    assert len(list((tmp_path / "run").glob("embedding-*.npz"))) == 1
    data, _ = read(tmp_path / "r.html")
    assert data["runs"][0]["points"]["count"] == 15


def test_of_a_folder_of_runs_the_study_of_ordinary_cases_opens_the_page(make_run, tmp_path):
    for study in ("barcelona", "iid", "mskcc"):
        make_run(study, n=12, corruptions=()).save(tmp_path / "runs" / study)
    data, _ = read(build_report(tmp_path / "runs", tmp_path / "r.html", csfs=["MSR"]))
    assert [run["study"] for run in data["runs"]] == ["iid", "barcelona", "mskcc"]


def test_the_shell_command_says_what_is_wrong(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "-o", str(tmp_path / "r.html")]) == 1
    assert "no results" in capsys.readouterr().err


@pytest.fixture
def started(make_run, tmp_path):
    """A folder of three runs as a bundle leaves it: finished, without results yet, and interrupted."""
    for name in ("a-done", "b-trained", "c-killed"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "train.config.json").write_text("{}")
        (tmp_path / "runs" / name / "validation").mkdir()
    make_run(n=12, corruptions=()).save(tmp_path / "runs" / "a-done" / "results")
    make_run("texture", n=12, corruptions=()).save(tmp_path / "runs" / "c-killed" / "results")
    (tmp_path / "runs" / "c-killed" / "results" / "run.json").unlink()
    return tmp_path / "runs"


def test_unfinished_runs_are_named_and_the_rest_is_shown(started, tmp_path):
    data, _ = read(build_report(started, tmp_path / "r.html"))
    assert [run["study"] for run in data["runs"]] == ["iid"]
    assert data["notes"] == [
        {"about": "report", "text": f"Left out: {name}, because its evaluation has not finished."}
        for name in ("b-trained", "c-killed")
    ]
    data, _ = read(build_report(started / "a-done", tmp_path / "r.html"))
    assert data["notes"] == []
    (started / "c-killed" / "results" / "run.json").write_text("{")
    data, html = read(build_report(started, tmp_path / "r.html"))
    said = "Left out: c-killed, because its results cannot be read: run.json "
    assert data["notes"][1]["text"].startswith(said)
    data, html = read(build_report(started, tmp_path / "r.html", anonymous=True))
    assert data["notes"][1]["text"] == "Left out: a run, because its results cannot be read."
    assert "c-killed" not in html


def test_runs_at_any_depth_are_shown_without_their_validation_results(started, make_run, tmp_path):
    make_run("texture", n=12, corruptions=()).save(started / "a-done" / "validation")
    run = json.loads((started / "a-done" / "validation" / "run.json").read_text())
    write_json(started / "a-done" / "validation" / "run.json", seal({**run, "role": "validation"}))
    data, _ = read(build_report(tmp_path, tmp_path / "r.html"))
    assert [run["study"] for run in data["runs"]] == ["iid"]
    data, _ = read(build_report(started / "a-done" / "validation", tmp_path / "r.html"))  # when asked for
    assert [run["study"] for run in data["runs"]] == ["texture"]


def test_an_unreadable_folder_is_named_and_the_rest_is_shown(started, tmp_path, monkeypatch):
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("c-killed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (started / "c-killed" / "train.config.json").unlink()
    monkeypatch.setattr("os.scandir", refused)
    data, _ = read(build_report(started, tmp_path / "r.html"))
    assert [run["study"] for run in data["runs"]] == ["iid"]
    assert any(note["text"].startswith("Left out: c-killed, because its results") for note in data["notes"])


def test_nothing_but_unfinished_runs(started, tmp_path):
    (started / "a-done" / "results" / "run.json").unlink()
    with pytest.raises(ResultsError, match=r"(?s)no results can be read:.*a-done.*b-trained.*c-killed"):
        build_report(started, tmp_path / "r.html")
    with pytest.raises(FileNotFoundError, match="an evaluation that has not finished"):
        build_report(started / "a-done", tmp_path / "r.html")


@pytest.mark.parametrize("name", ["thesis.tex", "folder", "results/run.json"])
def test_an_output_that_is_no_report_is_refused_before_the_work(make_run, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "thesis.tex").write_text("years")
    make_run(n=12, corruptions=()).save(tmp_path / "results")
    with pytest.raises(OSError, match="cannot write|will not replace"):
        build_report(tmp_path / "nowhere", tmp_path / name)
    assert (tmp_path / "thesis.tex").read_text() == "years"
    load_results(tmp_path / "results")


def test_an_earlier_report_is_replaced(make_run, tmp_path):
    for title in ("first", "second"):
        page = build_report(make_run(n=12, corruptions=()), tmp_path / "r.html", title=title).read_text()
        assert title in page


def test_the_promised_threshold_counts_what_its_own_confidence_says(make_run, tmp_path):
    run = promised(make_run("texture", n=60), make_run(n=300, seed=5, corruptions=()), target_risk=0.3)
    stored = run.run["thresholds"]
    for anonymous in (False, True):
        data, _ = read(build_report(run, tmp_path / "r.html", max_points=50, anonymous=anonymous))
        (shown,) = data["runs"]
        assert shown["promise"] == {"targetRisk": 0.3, "delta": 0.05, "cases": 300, "groups": 60}
        assert any(csf["promise"]["threshold"] is not None for csf in shown["csfs"])
        for csf in shown["csfs"]:
            threshold = stored["csfs"][csf["name"]]["threshold"]
            assert csf["promise"] == {
                "threshold": threshold,
                "needed": stored["csfs"][csf["name"]]["needed"],
            }
            level = np.inf if threshold is None else threshold
            assert csf["thresholds"][100] == level
            for about, numbers in zip(shown["sets"], csf["sets"], strict=True):
                found = failure_detection(run, [*run.test_sets][shown["sets"].index(about)], csf["name"])
                sure = found.confidence >= level
                assert numbers["trusted"][100] == sure.sum()
                assert numbers["silent"][100] == found.error[sure].sum()


def test_thresholds_of_another_format_are_refused(make_run, tmp_path):
    run = make_run(n=12, corruptions=())
    old = Results({**run.run, "thresholds": {"target_risk": 0.05, "csfs": {}}}, run.cases, run.test_sets)
    with pytest.raises(ResultsError, match=r"thresholds in run.json must have .*evaluate the run again"):
        build_report(old, tmp_path / "r.html")
