"""Nothing that names a machine, a user or, when asked, a person is anywhere in the file."""

import base64
import re

import numpy as np
import pytest

from monai_sf.report import build_report
from monai_sf.results import Results
from monai_sf.tables import redaction

SECRET = "jdoe4711"
PRIVATE = [
    f"/home/{SECRET}/a_b-c/x",
    f"{SECRET}-pc:/export/x",
    f"{SECRET}@pc7:/x",
    f"a-b_{SECRET}@pc7",
    f"http://user:{SECRET}@pc7/x",
    rf"\\{SECRET}\share",
    rf"C:\Users\{SECRET}\x",
    f"file:///{SECRET}/x",
    f"s3://{SECRET}/x",
    f"~/{SECRET}/x",
    f"../{SECRET}/x",
]


def changed(value, **changes):
    """What names of test sets may be is decided elsewhere: here they are set whatever they are."""
    for name, change in changes.items():
        object.__setattr__(value, name, change)
    return value


def whole(path):
    """All text of a page, what is coded in it too."""
    html = path.read_text(encoding="utf-8")
    coded = re.findall(
        r'<script type="text/plain" id="sf-(?:arrays|sheet)-\d+">(.*?)</script>', html, re.DOTALL
    )
    assert len(coded) >= 2
    return "\n".join([html, *(base64.b64decode(c).decode("latin-1") for c in coded)])


def filled(make_run, texts, study="texture"):
    """A run in whose every field stands one of the texts, given by the field's name."""
    run = make_run(study, n=24)
    cases = run.cases.drop(columns="image")
    cases["case_id"] = [f"{texts('case_id')}{i}" for i in range(len(cases))]
    cases["label_name"] = texts("label_name")
    cases["group"] = [f"{texts('group')}{i // 5}" for i in range(len(cases))]
    cases["source"] = texts("source")
    cases["image"] = texts("image")
    cases[texts("column name")] = texts("cell")
    cases["view"] = [f"{texts('view')}{i % 2}" for i in range(len(cases))]
    about = {
        **run.run, "dataset": texts("dataset"), "study": texts("study"), "method": texts("method"),
        "class_names": [f"{texts('class')} 0", f"{texts('class')} 1"],
        "versions": {"torch": texts("version"), texts("package"): "1"},
        "config": {texts("key"): 1, "note": texts("value"), "deep": [{"x": (texts("deep"),)}]},
        "study_description": f"Text {texts('study description')}", "command": texts("command"),
        "user": SECRET, "root": texts("root"),
        "test_set_descriptions": {texts("set"): f"Text {texts('set description')}"},
        "excluded": [texts("excluded")],
    }  # fmt: skip
    sets = {}
    for s in run.test_sets.values():
        if s.name == "target":
            sets[texts("set")] = changed(s, name=texts("set"))
        elif s.corruption:
            name = f"{texts('corruption')}-{s.severity}"
            sets[name] = changed(s, name=name, corruption=texts("corruption"))
        else:
            sets[s.name] = s
    return changed(Results(about, cases, {}), test_sets=sets)


@pytest.mark.parametrize("text", PRIVATE)
def test_no_path_host_or_user_is_in_any_field(make_run, tmp_path, text):
    runs = [filled(make_run, lambda field: text), make_run("texture", n=24, dataset=text)]
    folder = tmp_path / "runs" / f"{SECRET}@pc7"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    page = build_report([runs[0], tmp_path / "runs"], tmp_path / "r.html", title=text)
    assert SECRET not in whole(page)
    page = build_report(runs[::-1], tmp_path / "r.html")
    assert SECRET not in whole(page)


def test_names_that_differ_still_differ_on_the_page(make_run, tmp_path):
    runs = [
        changed(make_run(n=24), run={**make_run(n=24).run, "study": f"/home/{SECRET}/{i}"}) for i in range(2)
    ]
    html = whole(build_report(runs, tmp_path / "r.html"))
    assert '"study":"[path]"' in html
    assert '"study":"[path] 2"' in html


#: Fields whose text an anonymous page may have: whoever evaluates says there what was done, not to whom.
TOLD = {"dataset", "study", "method", "class", "corruption"}


def test_no_field_of_an_anonymous_page_tells_of_a_person(make_run, tmp_path):
    run = filled(make_run, lambda field: f"Jane {field.title()}")
    html = whole(build_report(run, tmp_path / "r.html", anonymous=True))
    assert {field.lower() for field in re.findall(r"Jane ([A-Za-z]+)", html)} == TOLD
    page = build_report(run, tmp_path / "r.html", anonymous=True, columns=["view", "source"])
    told = {field.lower() for field in re.findall(r"Jane ([A-Za-z]+)", whole(page))}
    assert told == TOLD | {"view", "source", "set"}


def test_domains_are_numbered_and_the_study_that_is_called_after_one_too(tmp_path, caplog):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    logits = np.eye(2)[labels] + rng.normal(0, 1, (40, 2))
    domains = ["iid"] * 20 + ["Doctor Millerova"] * 20
    run = Results.from_arrays(logits, labels, domains=domains)
    with caplog.at_level("INFO"):
        html = whole(build_report(run, tmp_path / "r.html", anonymous=True))
    assert "Millerova" not in html
    assert "test set 1 is Doctor Millerova" in caplog.text
    assert "Millerova" in whole(build_report(run, tmp_path / "r.html"))


STRANGE = {
    "markup": "</script><script>x</script><!--",
    "line separators": "a\u2028b\u2029c",
    "prototype": "__proto__",
    "constructor": "constructor",
    "mark of arrays": "$array",
    "surrogate": "a\udc80",
    "NUL": "a\0b",
    "long": "x" * 100_000,
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_texts_in_every_field_still_make_a_page(make_run, open_page, tmp_path, kind):
    in_cells = ("case_id", "group", "label_name", "source", "image", "column name", "cell", "view")
    plain = (*in_cells, "class") if kind == "surrogate" else ()  # refused there
    run = filled(make_run, lambda field: field if field in plain else STRANGE[kind])
    run.run["config"] |= {"$array": ["Uint8Array", 0, 9, 0], "nan": float("nan"), "inf": float("inf")}
    watched = open_page(build_report(run, tmp_path / "r.html"))
    for summary in watched.page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    text = watched.page.locator("#provenance pre").text_content()
    assert '"$array": [' in text
    assert '"nan": NaN' in text
    assert watched.page.locator("#cards article").count() >= 3
    watched.check()


def test_a_text_in_many_rows_and_places_is_searched_once(make_run, tmp_path, monkeypatch):
    remark, searched = "a remark of the reader " * 100, []

    class Counted:
        def search(self, text, position):
            searched.append(text)
            return found.search(text, position)

    found = redaction._FOUND
    monkeypatch.setattr(redaction, "_FOUND", Counted())
    run = make_run(n=40)
    cases = run.cases.assign(remark=remark, other=remark)
    build_report(Results({**run.run, "command": remark}, cases, run.test_sets), tmp_path / "r.html")
    assert searched.count(remark) == 1


def test_one_bad_run_is_left_out_and_named_with_the_reason(make_run, tmp_path):
    def bad(name, damage):
        folder = tmp_path / "runs" / name
        make_run(n=12, seed=len(list((tmp_path / "runs").iterdir())), corruptions=()).save(folder)
        damage(folder)

    (tmp_path / "runs").mkdir()
    bad("a good", lambda f: None)
    bad("b empty array", lambda f: (f / "iid/logits.npy").write_bytes(b""))
    bad("c no hash", lambda f: _edit(f, '"files"', '"other"'))
    bad(
        "d no names",
        lambda f: _edit(f, '["benign", "malignant"]', "null", r'\[\s*"benign",\s*"malignant"\s*\]'),
    )
    bad("e no seed", lambda f: _edit(f, '"seed": 4', '"seed": NaN'))
    bad("f text", lambda f: (f / "run.json").write_text("no JSON"))
    bad("g deep", lambda f: (f / "run.json").write_text("[" * 100_000))
    bad("h torn table", lambda f: (f / "cases.csv").write_bytes(b'"'))
    no_score = make_run(n=12, corruptions=())
    empty = Results(no_score.run, no_score.cases, {})
    html = whole(build_report([tmp_path / "runs", empty], tmp_path / "r.html"))
    for name in ("b empty array", "c no hash", "d no names", "e no seed", "f text", "g deep", "h torn table"):
        assert f"Left out: {name}, because its results cannot be read: " in html
    assert "Left out: iid, confidnet, seed 0, because its results cannot be read: run " in html
    assert "a good" not in html
    assert str(tmp_path) not in html


def _edit(folder, old, new, pattern=None):
    file = folder / "run.json"
    text = file.read_text()
    changed_text = re.sub(pattern or re.escape(old), new, text)
    assert changed_text != text
    file.write_text(changed_text)
