"""Who is affected: what the page is told, what it must not tell, and what a press opens."""

import dataclasses

import numpy as np
import pytest

from helpers.pages import payload
from monai_sf.report import build_report
from monai_sf.report.groups import NO_GROUP, affected
from monai_sf.report.privacy import Privacy, cleaned
from monai_sf.report.runs import evaluate
from monai_sf.tables import by_group, failure_detection
from monai_sf.tables.subgroups import marked_together, unmarked_by_group

N = 360


def with_hospitals(run, share=0.5):
    """The run with three hospitals; of B's cases a share has the opposite answer, just as surely."""
    rng = np.random.default_rng(3)
    where = rng.integers(0, 3, len(run.cases))
    cases = run.cases.assign(zentrum=[f"{'ABC'[w]}-secretly" for w in where])
    cases["age"] = rng.integers(20, 90, len(cases))
    cases["group"] = [f"patient{i // 2}" for i in range(len(cases))]
    sets = {}
    for name, s in run.test_sets.items():
        logits = s.arrays["logits"].copy()
        turned = (where[s.rows] == 1) & (rng.random(len(s)) < share)
        logits[turned] = logits[turned, ::-1]
        sets[name] = dataclasses.replace(s, arrays={**s.arrays, "logits": logits})
    return dataclasses.replace(run, cases=cases, test_sets=sets)


@pytest.fixture(scope="module")
def run(make_run):
    return with_hospitals(make_run("texture", n=N, width=0, pictures=None))


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("groups") / "r.html"
    return build_report(run, path, csfs=["MSR"], max_points=N * 4)


class Kept:
    """A packer that keeps arrays as they are."""

    def add(self, array, dtype, block="points"):
        values = np.asarray(array)
        np.testing.assert_array_equal(values.astype(dtype), values)
        return values


def told(run, columns=None, anonymous=False, csfs=("MSR",)):
    hide = Privacy.of([run], anonymous, columns)
    (clean,) = cleaned([run], anonymous, columns)
    evaluated = evaluate(clean, 10_000, 0)
    return evaluated, affected(evaluated, Kept(), hide, csfs, 0)


def promising(run, threshold):
    entry = {
        "threshold": threshold,
        "coverage": 0.5,
        "risk": 0.0,
        "bound": 0.05,
        "delta": 0.05,
        "needed": None,
    }
    about = {"target_risk": 0.05, "delta": 0.05, "cases": 100, "groups": 50}
    return dataclasses.replace(run, run={**run.run, "thresholds": {**about, "csfs": {"MSR": entry}}})


def surest_failure(run):
    """A threshold that a wrong case has exactly: it is trusted."""
    found = failure_detection(run, "iid", "MSR")
    return float(found.confidence[found.failed].max())


@pytest.mark.parametrize("promised", [None, lambda run: -0.1, surest_failure])
def test_the_numbers_are_those_of_the_tables(run, promised):
    run = promising(run, promised(run)) if promised else run
    shown, found = told(run)
    score = found["csfs"]["MSR"]
    assert (score["promised"], score["step"]) == ((True, 101) if promised else (False, 80))
    level = by_group(run, "iid", "MSR").attrs
    assert level["promised"] == bool(promised)
    tables = marked_together([unmarked_by_group(run, name, "MSR", None, 0) for name in ("iid", "target")])
    for part, table in zip(score["sets"], tables, strict=True):
        keyed = {(r["column"], r["group"]): r for r in table.to_dict("records")}
        assert len(part["rows"]) == len(keyed)
        for row in part["rows"]:
            column = found["columns"][row["column"]]
            own = keyed[column["name"], column["groups"][row["group"]]]
            for key in ("cases", "clusters", "errors", "worse"):
                assert row[key] == own[key]
            assert row["silent"] == own["silent_failures"]
            assert row["tooSmall"] == own["too_small"]
            rates = ("silent_failure_rate", "coverage", "augrc")
            for values, of in zip((row["rate"], row["coverage"], row["augrc"]), rates, strict=True):
                np.testing.assert_allclose(
                    np.array(values, float), [own[of], own[f"{of}_low"], own[f"{of}_high"]]
                )
            rest = np.nan if row["rest"] is None else row["rate"][0] - row["rest"]
            np.testing.assert_allclose(rest, own["difference"], atol=1e-12)
            # the cases behind the number are among the shown ones, since all are shown
            points = shown.sample.test_set == part["set"]
            silent = score["silent"] & points & (column["codes"] == row["group"])
            assert silent.sum() == row["silent"]
    if promised is surest_failure:
        assert sum(r["silent"] for r in score["sets"][0]["rows"] if r["column"] == 0) == 1
    else:
        assert any(r["worse"] for r in score["sets"][0]["rows"])


def test_disturbed_cases_are_in_no_group_and_not_judged(run):
    shown, found = told(run)
    disturbed = np.array([s.corruption is not None for s in shown.sets])[shown.sample.test_set]
    for column in found["columns"]:
        np.testing.assert_array_equal(column["codes"] == NO_GROUP, disturbed)


def test_what_becomes_wider_is_told_before_and_after(make_run):
    """Of hospital B all mistakes are sure ones, of the others none is: handing over helps the others only."""
    n = 1200
    run = make_run("iid", n=n, width=0, pictures=None, corruptions=())
    labels, rng = run.cases["label"].to_numpy(), np.random.default_rng(0)
    hospital = np.arange(n) % 2
    wrong = rng.random(n) < 0.2
    sure = np.where(wrong & (hospital == 0), 0.2, 3.0) + rng.random(n)
    logits = np.where(np.eye(2)[labels ^ wrong], sure[:, None], 0).astype(np.float32)
    run.test_sets["iid"].arrays["logits"][:] = logits
    run = dataclasses.replace(
        run, cases=run.cases.assign(hospital=["AB"[h] for h in hospital], group=run.cases["case_id"])
    )
    _, found = told(run, columns=["hospital"])
    (part,) = found["csfs"]["MSR"]["sets"]
    gaps = {found["columns"][r["column"]]["groups"][r["group"]]: r["gap"] for r in part["rows"]}
    before, rest_before, after, rest_after = gaps["B"]
    assert before == pytest.approx(wrong[hospital == 1].mean())
    assert rest_before == pytest.approx(wrong[hospital == 0].mean())
    assert rest_after < 0.1 < after
    assert gaps["A"] is None


@pytest.mark.parametrize("how", [{"anonymous": True}, {"columns": ["age"]}])
def test_a_hidden_column_is_nowhere_on_the_page(run, tmp_path, how):
    path = build_report(run, tmp_path / "r.html", csfs=["MSR"], **how)
    html = path.read_text(encoding="utf-8")
    assert "zentrum" not in html
    assert "secretly" not in html
    names = [c["name"] for c in payload(path)["runs"][0]["affected"]["columns"]]
    assert names == (["class", "age"] if "columns" in how else ["class"])


def test_a_column_of_paths_is_left_out_and_named(run):
    places = [f"/home/someone/{'ab'[i % 2]}" for i in range(len(run.cases))]
    _, found = told(dataclasses.replace(run, cases=run.cases.assign(place=places)), columns=["place", "age"])
    assert [c["name"] for c in found["columns"]] == ["class", "age"]
    assert found["leftOut"] == [["place", "paths, addresses or hosts"]]


def test_a_column_that_divides_any_test_set_is_not_among_those_left_out(run):
    side = np.where(np.arange(len(run.cases)) % 2, "left", "right")
    side[N:] = "left"
    _, found = told(dataclasses.replace(run, cases=run.cases.assign(side=side)), columns=["side"])
    assert [c["name"] for c in found["columns"]] == ["class", "side"]
    assert found["leftOut"] == []


def test_cases_of_new_classes_are_not_compared(run):
    cases = run.cases.copy()
    cases.loc[N:, "label"] = -1
    cases.loc[N:, "label_name"] = ["rare", "seldom"] * ((len(cases) - N) // 2)
    sets = {**run.test_sets, "target": dataclasses.replace(run.test_sets["target"], kind="new_class")}
    shown, found = told(dataclasses.replace(run, cases=cases, test_sets=sets))
    (known,) = [column for column in found["columns"] if column["name"] == "class"]
    assert known["groups"] == ["benign", "malignant"]
    assert [shown.sets[part["set"]].name for part in found["csfs"]["MSR"]["sets"]] == ["iid"]


def test_only_scores_that_are_offered_at_first(run):
    shown, found = told(run, csfs=None)
    assert set(found["csfs"]) < set(shown.csfs)
    assert "MSR" in found["csfs"]


def test_with_very_many_cases_only_the_first_scores_are_judged(run, monkeypatch):
    _, found = told(run, csfs=None)
    usual = list(found["csfs"])
    judged = sum(row["cases"] for part in found["csfs"]["MSR"]["sets"] for row in part["rows"])
    for most, expected in ((3 * judged, usual[:3]), (3 * judged - 1, usual[:2]), (1, usual[:1])):
        monkeypatch.setattr("monai_sf.report.groups.MOST_JUDGED", most)
        assert list(told(run, csfs=None)[1]["csfs"]) == expected


@pytest.mark.browser
def test_a_press_opens_the_cases_behind_a_number(run, page, open_page):
    watched = open_page(page)
    part = watched.page.locator(".affected-set").first
    row = part.locator(".affected-row").first
    assert row.locator(".affected-name").inner_text().endswith("B-secretly")
    assert "worse than the rest" in row.inner_text()
    risk = watched.page.locator("#at-risk")
    assert risk.inner_text().startswith("Most at risk: zentrum B-secretly")
    assert risk.locator("a").get_attribute("href") == "#affected"
    row.locator("summary").focus()
    watched.page.keyboard.press("Enter")
    found = failure_detection(run, "iid", "MSR")
    level = np.sort(found.confidence)[::-1][int(np.ceil(0.8 * N)) - 1]
    silent = (found.error == 1) & (found.confidence >= level) & (run.cases["zentrum"][:N] == "B-secretly")
    row.locator(".case").first.wait_for()
    while (more := row.locator("button.more")).is_visible():
        more.click()
    shown = row.locator(".case .id").all_inner_texts()
    assert sorted(shown) == sorted(run.cases["case_id"][:N][silent])
    assert set(row.locator(".case .badge").all_inner_texts()) == {"Silent failure"}
    watched.page.locator("#coverage").fill("5")
    assert set(row.locator(".case .badge").all_inner_texts()) == {"Silent failure"}
    watched.check()


@pytest.mark.browser
def test_no_group_stands_out(make_run, open_page, tmp_path):
    calm = make_run("iid", n=200, width=0, pictures=None, corruptions=())
    watched = open_page(build_report(calm, tmp_path / "r.html", csfs=["MSR"]))
    assert not watched.page.locator("#at-risk").is_visible()
    assert "No group stands out among" in watched.page.locator("#affected-sets").inner_text()
    watched.check()
