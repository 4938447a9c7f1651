"""What is written: text, CSV, LaTeX, HTML, and the command."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from monai_sf.tables.__main__ import main
from monai_sf.tables.aggregate import table_of
from monai_sf.tables.comparisons import significance
from monai_sf.tables.format import blocks, caption, decimals, lay_out, number
from monai_sf.tables.html import _figure
from monai_sf.tables.latex import escape, latex_of
from monai_sf.tables.paper import compare_with_paper, paper_table
from monai_sf.tables.text import text_of
from monai_sf.tables.write import with_warning, write_tables
from monai_sf.vocabulary.colours import LOOKS, STEPS, look, shade_rgb
from monai_sf.vocabulary.titles import title

HOSTILE = 'a&b_%$#{}~^\\<script>alert(1)</script>"'


@pytest.fixture(scope="module")
def written(shared_runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return write_tables([shared_runs.root], folder, compare_paper=True, n_resamples=60)


@pytest.fixture
def quick_figures(monkeypatch):
    """Drawing takes longer than all the rest; a file then holds the dataset that it is of."""
    where = "monai_sf.tables.figures."
    monkeypatch.setattr(where + "rank_figure", lambda table: "ranks")
    monkeypatch.setattr(where + "risk_coverage_figure", lambda collection, table, dataset: dataset)
    monkeypatch.setattr(where + "save_figure", lambda figure, path: path.write_text(figure))


def test_all_files_are_written(written):
    there = {p.name for p in written["html"].parent.iterdir()}
    assert there == {p.name for p in written.values()} | {"tables.json"}
    assert {p.name for p in written.values()} >= {
        "table.txt", "table.csv", "table.tex", "table.html", "per_shift.csv", "cells.csv",
        "significance.csv", "ranks.svg", "ranks.pdf", "risk_coverage_chest_xray.svg",
    }  # fmt: skip
    assert all(path.stat().st_size > 100 for path in written.values())


def test_equal_inputs_give_equal_bytes(written, shared_runs, tmp_path):
    again = write_tables([shared_runs.root], tmp_path / "again", compare_paper=True, n_resamples=60)
    assert written.keys() == again.keys()
    different = [key for key in written if written[key].read_bytes() != again[key].read_bytes()]
    assert different == []


@pytest.mark.usefixtures("quick_figures")
def test_no_file_of_an_earlier_call_is_left(runs, tmp_path):
    runs.add(dataset="first")
    write_tables([runs.root], tmp_path / "out", csfs=["MSR", "PE"], n_resamples=5)
    (tmp_path / "out/risk_coverage_notes.txt").write_text("mine")
    shutil.rmtree(runs.root)
    runs.add(dataset="second")
    written = write_tables([runs.root], tmp_path / "out", csfs=["MSR"], n_resamples=0)
    left = {p.name for p in (tmp_path / "out").iterdir()} - {p.name for p in written.values()}
    assert left == {"risk_coverage_notes.txt", "tables.json"}


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("name", ["table.csv", "ranks.svg", "risk_coverage_chest_xray.pdf"])
def test_files_of_others_are_not_replaced(runs, tmp_path, name):
    runs.add()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"will not replace {name}"):
        write_tables([runs.root], tmp_path / "out", csfs=["MSR"], n_resamples=0)
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("content", "error"),
    [("{}", FileExistsError), ('{\n  "format": "monai_sf.tables",\n  "files": 3}', ValueError)],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, content, error):
    (tmp_path / "tables.json").write_text(content)
    with pytest.raises(error, match=r"tables\.json"):
        write_tables([tmp_path / "nowhere"], tmp_path)


@pytest.mark.usefixtures("quick_figures")
def test_a_manifest_removes_nothing_elsewhere(runs, tmp_path):
    runs.add()
    (tmp_path / "thesis.tex").write_text("years")
    (tmp_path / "out").mkdir()
    manifest = {"format": "monai_sf.tables", "files": ["../thesis.tex", str(tmp_path / "thesis.tex")]}
    (tmp_path / "out" / "tables.json").write_text(json.dumps(manifest, indent=2))
    write_tables([runs.root], tmp_path / "out", csfs=["MSR"], n_resamples=0)
    assert (tmp_path / "thesis.tex").is_file()


@pytest.mark.usefixtures("quick_figures")
def test_datasets_whose_names_differ_in_a_blank_have_their_own_figures(runs, tmp_path):
    for dataset in ("a b", "a_b"):
        runs.add(dataset=dataset)
    written = write_tables([runs.root], tmp_path, csfs=["MSR"], n_resamples=0)
    assert {"risk_coverage_a_b.svg", "risk_coverage_a_b_.svg"} <= written.keys()
    assert [written[f"risk_coverage_a_b{end}.svg"].read_text() for end in ("", "_")] == ["a b", "a_b"]


def test_the_caption_names_the_seeds(runs):
    runs.add(seed=1)
    assert "Of seed 1 alone." in caption(table_of(runs.collect()))
    runs.add(seed=2)
    assert "Mean over seeds 1, 2 ± their standard deviation (n − 1)." in caption(table_of(runs.collect()))


@pytest.mark.usefixtures("quick_figures")
def test_scores_that_are_not_complete_are_hatched_where_they_are_compared_too(runs, tmp_path):
    runs.matrix(("iid",), seeds=(0, 1)).add(method="devries", seed=0)
    written = write_tables([runs.root], tmp_path, csfs=["MSR", "DeVries"], n_resamples=5)
    compared = written["html"].read_text().split("<h2>")[1]
    kinds = dict(re.findall(r'<th scope="row">([^<]+)</th>\s*<td class="(\w*)', compared))
    assert kinds == {"MSR": "", "DeVries": "apart"}


def test_csv_holds_every_digit(written, shared_runs):
    table = table_of(shared_runs.collect())
    read = pd.read_csv(written["csv"], keep_default_na=False, na_values={"mean": "", "sd": ""})
    for cell in read.itertuples():
        column = (cell.dataset, cell.group)
        np.testing.assert_allclose(cell.mean, table.mean.loc[cell.csf, column], rtol=1e-8)
        np.testing.assert_allclose(cell.sd, table.spread.loc[cell.csf, column], rtol=1e-8)
        note = table.cell_notes.get((cell.csf, column), table.column_notes.get(column, ""))
        assert cell.note == note
    assert set(pd.read_csv(written["per_shift"])["shift"]) == {"iid", "noise", "blur", "nih14", "texture"}
    cells = pd.read_csv(written["cells"])
    assert len(cells) == len(shared_runs.collect().cells)


def test_text_has_numbers_marks_and_notes(runs):
    runs.matrix(seeds=(0, 1)).matrix(methods=("devries",), seeds=(0,))
    table = table_of(runs.collect())
    text = text_of(table)
    line = next(line for line in text.splitlines() if line.startswith("DeVries"))
    assert f"{number(table.mean.loc['DeVries', ('chest_xray', 'iid')])}*1" in line
    assert "*1 seed 0 of 0, 1" in text
    assert "lower is better" in text
    assert "chest X-ray" in text


def test_numbers_have_three_significant_digits():
    values = {15.31: "15.3", 0.5443: "0.544", 6.694: "6.69", 99.96: "100", 9.999: "10.0", 0.01234: "0.012"}
    assert {value: number(value) for value in values} == values
    assert number(-1.234) == "-1.23"
    assert number(float("nan")) == "–"
    assert number(0.1234, like=15.3) == "0.1"
    assert decimals(0.0) == 3


def test_blocks_keep_datasets_together():
    columns = [("a", "iid"), ("a", "cor"), ("b", "iid"), ("b", "cor"), ("c", "iid")]
    assert [len(block) for block in blocks(columns, 3)] == [2, 3]
    assert [len(block) for block in blocks(columns, 1)] == [2, 2, 1]
    assert [column for block in blocks(columns, 4) for column in block] == columns


def test_titles():
    assert title("lung_nodule_ct") == "lung nodule CT"


# --- LaTeX


def test_latex_escapes_what_is_special():
    assert escape("a_b & 5 % {x}") == r"a\_b \& 5 \% \{x\}"
    assert escape("\\") == r"\textbackslash{}"
    assert escape("a|b<c") == r"a\textbar{}b\textless{}c"  # else a dash and an exclamation mark


def test_latex_is_coloured_and_balanced(runs):
    runs.matrix(("iid",), ("confidnet", "devries"), (0, 1), dataset=HOSTILE.replace("/", ""))
    text = latex_of(table_of(runs.collect()))
    bare = re.sub(r"(?m)(?<!\\)%.*$|\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    assert r"\cellcolor[RGB]{247,251,255}\textbf{" in text
    assert r"\cellcolor[RGB]{91,155,208}" in text
    rows = [line for line in text.splitlines() if line.startswith(("MSR", "DeVries"))]
    assert {line.count("&") for line in rows} == {2}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(runs, tmp_path):
    runs.matrix(("iid", "nih14"), ("confidnet",), (0, 1), dataset=HOSTILE.replace("/", ""))
    runs.add(method="devries", n=20)
    collection = runs.collect()
    both = "".join(latex_of(table_of(collection, per_shift=p)) for p in (False, True))
    packages = r"\usepackage{booktabs}\usepackage{graphicx}\usepackage[table]{xcolor}"
    (tmp_path / "t.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}{both}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-800:]


# --- HTML


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.cells = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_static_whole_and_closed(written):
    text = written["html"].read_text()
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name == "style" for _, attrs in page.tags for name in attrs)
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    (policy,) = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert all(attrs["alt"] for tag, attrs in page.tags if tag == "img")


def test_html_shows_the_table(written, shared_runs):
    text = written["html"].read_text()
    laid = lay_out(table_of(shared_runs.collect()))
    for (_, _), cell in laid.cells.items():
        assert cell.text in text
        if cell.shade is not None:
            assert f"s{round(cell.shade * STEPS)}" in text
    assert "Comparison with the paper" in text
    assert "Which differences are more than chance?" in text
    assert '<td class="empty' in text


def test_names_are_escaped(runs, tmp_path):
    runs.matrix(("iid",), ("confidnet", "x<b>&"), (0,), corruptions=(), dataset=HOSTILE.replace("/", ""))
    files = write_tables([runs.root], tmp_path / "out", n_resamples=0)
    text = files["html"].read_text()
    assert "<script>" not in text
    assert "x<b>" not in text
    assert "&lt;script&gt;" in text
    Page(text)
    assert all(file.parent == tmp_path / "out" for file in files.values())


@pytest.mark.parametrize(
    "secret", ["/home/jdoe/a-b/x", "jdoe-pc:/export/x", "a-jdoe@pc7", "http://u:jdoe@h/x"]
)
def test_no_path_host_or_user_is_in_any_file(runs, tmp_path, secret):
    root = tmp_path / "private"
    for seed in (0, 1):
        run = runs.add(seed=seed, corruptions=("x",))
        for s in run.test_sets.values():
            if s.corruption:  # what a name may be is decided elsewhere
                object.__setattr__(s, "corruption", secret)
        named = {"dataset": secret, "study": f"{secret}1", "method": secret}
        about = {**run.run, **named, "versions": {"torch": f"{secret}{seed}"}}
        type(run)(about, run.cases, run.test_sets).save(root / f"jdoe@pc7/{seed}/results")
    for name, file in (("killed", "cases.csv"), ("bad", "run.json")):
        (root / f"jdoe@pc7/{name}").mkdir()
        (root / f"jdoe@pc7/{name}/{file}").write_text("{")
    expected = {(secret, f"{secret}1", secret, 0): "iid", (secret, secret, "confidnet", 1): "iid"}
    files = write_tables([root], tmp_path / "out", n_resamples=20, expected=expected)
    assert len(files) > 10
    for file in files.values():
        text = file.read_bytes().decode("latin-1")
        coded = re.findall(r"base64,([A-Za-z0-9+/=]+)", text)
        text += "".join(base64.b64decode(c).decode("latin-1") for c in coded)
        assert "jdoe" not in text + file.name
        assert str(tmp_path) not in text
    notes = files["text"].read_text()
    assert "not finished: [removed]/killed" in notes
    assert "left out: [removed]/bad, its results cannot be read: " in notes
    missing = re.findall("missing run: (.*)", notes)  # and not the one that is there; below both tables
    assert [m.replace("removed", "path") for m in missing] == ["[path]/[path] 2/confidnet/seed 1"] * 2


def contrast(one, other):
    def luminance(rgb):
        parts = [c / 255 for c in rgb]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_shades_darken_and_stay_readable():
    ink = (14, 22, 32)
    ratios = [contrast(shade_rgb(step / STEPS), ink) for step in range(STEPS + 1)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] > 5.5
    assert shade_rgb(0) == (247, 251, 255)


def test_looks_differ_in_two_ways():
    assert len({colour for colour, _, _ in LOOKS}) == len({marker for _, _, marker in LOOKS}) == 9
    assert len({str(look(i)) for i in range(18)}) == 18


# --- the paper


def test_the_papers_table():
    paper = paper_table()
    assert paper.shape == (9, 13)
    assert paper.loc["MSR"].tolist() == [
        15.3, 18.6, 23.1, 0.544, 0.913, 0.799, 49.3, 13.3, 55.6, 32.4, 6.69, 8.18, 12.1,
    ]  # fmt: skip
    assert paper.loc["DeVries"].tolist() == [
        14.7, 18.4, 23.5, 0.801, 1.08, 0.882, 45.5, 12.9, 62.3, 51.4, 4.99, 9.41, 20.2,
    ]  # fmt: skip
    assert paper.loc["DG-RES", ("dermoscopy", "cor")] == 1.46
    assert paper.loc["MCD-EE", ("lung_nodule_ct", "man")] == 11.9
    assert list(paper.columns.names) == ["dataset", "group"]


def test_comparison_is_ours_minus_theirs(runs):
    runs.matrix(("iid",), seeds=(0,))
    table = table_of(runs.collect())
    found = compare_with_paper(table)
    ours = table.mean.loc["PE", ("chest_xray", "cor")]
    assert found.loc["PE", ("chest_xray", "cor")].tolist() == [ours, 18.9, ours - 18.9]
    assert list(found.index) == ["MSR", "PE", "MCD-MSR", "MCD-PE", "MCD-EE", "ConfidNet"]


def test_comparison_needs_the_metric_and_the_datasets(runs):
    runs.add(dataset="mine")
    with pytest.raises(ValueError, match="in aurc, got a table of augrc"):
        compare_with_paper(table_of(runs.collect(metric="augrc")))
    with pytest.raises(ValueError, match=r"the paper has the datasets chest_xray.*this table has mine"):
        compare_with_paper(table_of(runs.collect()))


# --- the command


def test_the_command(runs, tmp_path, capsys, caplog):
    runs.add()
    status = main([str(runs.root), "-o", str(tmp_path / "o"), "--metric", "auroc_f", "--resamples", "20",
                   "--reference", "MSR"])  # fmt: skip
    out = capsys.readouterr().out
    assert status == 0
    assert "1 of 1 runs: chest_xray/iid/confidnet/seed 0" in caplog.text  # with all runs it takes a while
    assert "AUROC_f in per cent" in out
    assert "higher is better" in out
    assert (tmp_path / "o/table.html").is_file()
    assert set(pd.read_csv(tmp_path / "o/significance.csv")["second"]) == {"MSR"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "AURC"], "metric must be one of aurc, eaurc"),
        (["--reference", "DeVries"], "reference must be one of MSR"),
        (["--metric", "augrc", "--compare-paper"], "the paper's Table 1 is in aurc"),
        (["--resamples", "-1"], "n_resamples must be 0 or more"),
    ],
)
def test_the_command_says_what_is_wrong(runs, tmp_path, capsys, options, message):
    runs.add()
    assert main([str(runs.root), "-o", str(tmp_path / "o"), "--resamples", "5", *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("wrong", [{"reference": "MRS"}, {"metric": "augrc", "compare_paper": True}])
def test_what_needs_no_results_is_said_before_they_are_read(tmp_path, wrong):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="MRS|cannot be compared with augrc"):
        write_tables([tmp_path / "nothing"], tmp_path / "out", **wrong)


def test_a_tall_figure_has_a_page_of_its_own():
    sizes = {"wide": "300 200", "tall": "200 300"}
    kinds = {key: _figure("Rank", f'<svg viewBox="0 0 {size}">')["kind"] for key, size in sizes.items()}
    assert kinds == {"wide": "small", "tall": "small tall"}


def test_too_few_resamples_for_the_correction_are_said(runs):
    runs.add()
    collection = runs.collect(n_resamples=100)
    table = table_of(collection)
    (note,) = with_warning(table, significance(collection), 100).notes
    assert "100 resamples cannot show any difference among 15 comparisons" in note
    assert "take 600 or more" in note
    assert with_warning(table, significance(collection), 600).notes == ()
    alone = significance(collection).iloc[:0]  # one score has nothing to be compared with
    assert with_warning(table, alone, 100).notes == ()
    (note,) = with_warning(table, significance(collection, reference="MSR"), 100).notes
    assert "among 5 comparisons" in note
