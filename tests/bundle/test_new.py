"""A bundle for one's own images, from a table, folders or a MedMNIST file; and the published ones."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata
from PIL import Image

from helpers.forks import fork, status_of
from helpers.metadata_of import disagreements
from helpers.own_images import CONFIGS, HOSPITALS, new, parsed
from helpers.process_state import untouched
from monai_sf.benchmark import run_benchmark
from monai_sf.bundle import composing
from monai_sf.bundle.__main__ import main
from monai_sf.results import load_results

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "$__import__('pathlib').Path('evaluated').touch()",
    "nan",
    "iid",
    "@seed",
    "%configs/data.yaml#table",
    "null",
    "a#b::c",
)


def test_a_table_becomes_a_bundle_and_what_was_understood_is_said(study, capsys):
    assert new(study, "--target", f"hospital={HOSPITALS[1]}", "--target", "old:age=30") == 1
    assert "one class only" in capsys.readouterr().err
    assert not (study / "study").exists()
    assert new(study, "--target", f"hospital={HOSPITALS[1]}") == 0
    said = capsys.readouterr().out
    for words in (
        *(
            "120 cases in 60 groups",
            "normal: 60",
            "study iid ",
            "looked at all 120 images",
            "40 x 40",
            "120 grey uint8",
        ),
        *(
            "study hospital_hospital_clínic_2 (target: hospital is Hospital Clínic / 2): train ",
            "densenet-small",
        ),
        *("epochs 40", "intensity {range: type}", "study/configs/benchmark.yaml", "report.html"),
    ):
        assert words in said
    bundle = study / "study"
    assert {path.name for path in (bundle / "configs").iterdir()} == CONFIGS
    data = yaml.safe_load((bundle / "configs" / "data.yaml").read_text())
    assert data == {
        "dataset_name": "study",
        "dataset_dir": str(study / "images"),
        "table": str(study / "cases.csv"),
        "columns": {"image": "path", "label": "finding", "group": "patient"},
        "missing": "raise",
        "classes": ["lesion", "normal"],
        "studies": {
            "hospital_hospital_clínic_2": {"kind": "acquisition", "target": {"hospital": HOSPITALS[1]}}
        },
        "image_modes": ["grey uint8"],
        "picture_mode": "L",
        "intensity": {"range": "type"},
        "smallest_image": 32,
    }
    (cases,) = parsed(bundle, "cases")
    assert len(cases) == 120
    verify_metadata(
        meta_file=str(bundle / "configs" / "metadata.json"),
        filepath=str(ROOT / "docs" / "metadata.schema.json"),
    )
    assert disagreements(bundle) == {}


def test_files_that_all_bundles_have_alike_are_alike_here_too(study):
    assert new(study) == 0
    for name in ("logging.conf", "multi_gpu.yaml", "prepare.yaml", "report.yaml"):
        ours, published = (
            folder / "configs" / name for folder in (study / "study", ROOT / "bundles" / "chest_xray")
        )
        assert ours.read_bytes() == published.read_bytes()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_of_classes_and_values_stay_what_they_are(study, hostile, capsys):
    table = pd.read_csv(study / "cases.csv")
    table = table.replace({"finding": {"lesion": hostile}, "hospital": {HOSPITALS[1]: hostile}})
    table.to_csv(study / "cases.csv", index=False)
    assert new(study, "--target", f"other:hospital={hostile}") == 0, capsys.readouterr().err
    classes, studies, cases = parsed(study / "study", "classes", "studies", "cases")
    assert set(classes) == {"normal", hostile}
    assert studies == {"other": {"kind": "acquisition", "target": {"hospital": hostile}}}
    assert set(cases["label_name"]) == {"normal", hostile}
    assert parsed(study / "study", "class_names", file="inference.json") == [classes]
    assert not list(study.rglob("evaluated"))


@pytest.mark.parametrize(
    "column", ["<img src=x onerror=alert(1)>", "nan", "iid", "split", "Hôpital: no / yes"]
)
def test_odd_names_of_columns_work(study, column, capsys):
    table = pd.read_csv(study / "cases.csv").rename(columns={"hospital": column, "finding": f"{column} 2"})
    table.to_csv(study / "cases.csv", index=False)
    columns = ("--image", "path", "--label", f"{column} 2", "--group", "patient")
    kept = "table_split" if column == "split" else column
    assert new(study, "--target", f"{kept}={HOSPITALS[1]}", columns=columns) == 0, capsys.readouterr().err
    ((found,),) = (one["target"].items() for one in parsed(study / "study", "studies")[0].values())
    assert found == (kept, HOSPITALS[1])


@pytest.mark.parametrize("column", ["a#b", "$x", "_target_", "x::y"])
def test_columns_with_a_meaning_to_monai_are_refused(study, column, capsys):
    table = pd.read_csv(study / "cases.csv").rename(columns={"hospital": column})
    table.to_csv(study / "cases.csv", index=False)
    assert new(study, "--target", f"{column}={HOSPITALS[1]}") == 1
    assert f"the name {column!r} has a meaning in configs" in capsys.readouterr().err
    assert not (study / "study").exists()
    assert list(study.glob(".*")) == []


def test_everything_wrong_with_images_and_studies_is_said_at_once_and_nothing_written(study, capsys):
    (study / "images" / "003.png").write_bytes(b"\x89PNG broken")
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(study / "images" / "005.png")
    Image.fromarray(np.zeros((4, 40), np.uint8)).save(study / "images" / "007.png")
    for copy in ("001.png", "050.png"):  # of the same patient, and of another one
        shutil.copy(study / "images" / "000.png", study / "images" / copy)
    targets = ("hospital=C", "scanner=x", "hospital", "iid:hospital=A")
    assert new(study, *(word for target in targets for word in ("--target", target))) == 1
    said = capsys.readouterr().err
    for words in (
        *("2 of 120 images cannot be used", "003.png (row 5): cannot be read"),
        "007.png (row 9): is 4 x 40 px, too small",
        *("1 images are copies", "050.png (row 52) is a copy of 000.png (row 2)"),
        *("2 kinds", "1 picture uint16 (first: 005.png (row 7))"),
        *(
            "study 'hospital_c'",
            "no case has 'C'",
            "study 'scanner_x'",
            "no column 'scanner'; there are 'source', 'hospital', 'age'",
        ),
        *("--target 'hospital' is neither column=value", "a study 'iid'"),
    ):
        assert words in said
    assert "Traceback" not in said
    assert not (study / "study").exists()


def test_the_same_pixels_in_other_bytes_and_with_another_label_are_found(study, capsys):
    image = Image.open(study / "images" / "000.png")
    for name in ("001.png", "050.png"):  # of the same patient, and of another one
        image.save(study / "images" / name, compress_level=0)
    table = pd.read_csv(study / "cases.csv")
    table.loc[1, "finding"] = "lesion"
    table.to_csv(study / "cases.csv", index=False)
    assert new(study) == 1
    said = capsys.readouterr().err
    assert "050.png (row 52) is a copy of 000.png (row 2)" in said
    assert "001.png (row 3) is a copy of 000.png (row 2), and is 'lesion', not 'normal'" in said


def test_images_that_show_nothing_are_named_and_the_row_is_right_where_rows_are_left_out(study, capsys):
    for name in ("010.png", "020.png"):
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(study / "images" / name)
    (study / "images" / "005.png").unlink()
    assert new(study, "--missing", "drop") == 0
    said = capsys.readouterr().out
    assert "warning: 2 images have one value only" in said
    assert "010.png (row 12)" in said
    assert "020.png (row 22)" in said


def test_a_misspelt_class_is_named_with_its_rows(study, capsys):
    table = pd.read_csv(study / "cases.csv")
    table.loc[[2, 3], "finding"] = "leison"
    table.to_csv(study / "cases.csv", index=False)
    new(study)  # whether it is an error depends on the split that the two are in
    said = capsys.readouterr().out
    assert "warning: is the class 'leison' (2 cases: row 4, row 5) a misspelt 'lesion' (58 cases)?" in said
    assert "--classes CLASS CLASS ..." in said


def test_a_class_that_no_training_case_has_is_an_error(study, capsys):
    table = pd.read_csv(study / "cases.csv")
    table["split"] = ["train", "train", "train", "train", "val", "val", "val", "val", "iid", "iid"] * 12
    table["patient"] = table["path"]
    table.loc[[4, 14, 24, 34, 44], "finding"] = "effusion"
    table.to_csv(study / "cases.csv", index=False)
    assert new(study, "--split", "split") == 1
    assert "classes without a training case: ['effusion']" in capsys.readouterr().err
    assert not (study / "study").exists()


def test_messages_name_the_options_of_the_command_line(study, capsys):
    assert new(study, columns=("--image", "path", "--label", "finding")) == 0
    assert "--group COLUMN" in capsys.readouterr().out
    shutil.rmtree(study / "study")
    (study / "images" / "005.png").unlink()
    assert new(study) == 1
    assert "--missing drop" in capsys.readouterr().err
    assert main(["new", "other", "--folders", "--dataset_dir", "imagse"]) == 1
    assert "--dataset_dir imagse is not there: name the folder" in capsys.readouterr().err
    text = (study / "cases.csv").read_text("utf-8")
    (study / "cases.csv").write_bytes(text.encode("cp1252"))
    assert new(study) == 1
    assert "--encoding cp1252" in capsys.readouterr().err
    (study / "cases.csv").write_text(text.splitlines()[0] + "\n", "utf-8")
    assert new(study) == 1
    said = capsys.readouterr().err
    assert "holds no row" in said
    assert "ownload" not in said
    with pd.ExcelWriter(study / "cases.xlsx") as book:
        for sheet in ("a", "b"):
            pd.DataFrame({"path": ["x"]}).to_excel(book, sheet_name=sheet)
    table = ("--table", "cases.xlsx", "--dataset_dir", "images", "--image", "path", "--label", "path")
    assert main(["new", "other", *table]) == 1
    assert "name one with --sheet SHEET, of a, b" in capsys.readouterr().err


def test_a_folder_with_files_and_impossible_names_are_refused_before_anything_is_looked_at(study, capsys):
    (study / "study").mkdir()
    (study / "study" / "thesis.txt").write_text("")
    assert new(study) == 1
    caught = capsys.readouterr()
    assert "thesis.txt" in caught.err
    assert "looked at" not in caught.out
    assert [path.name for path in (study / "study").iterdir()] == ["thesis.txt"]
    for name, words in (
        ("my study", "cannot be one"),
        ("chest_xray", "--dataset chest_xray"),
        ("null", "cannot be"),
        ("tables", "of the benchmark's own"),
        ("set_aside", "of the benchmark's own"),
    ):
        assert main(["new", name, "--folders", "--dataset_dir", "images"]) == 1
        assert words in capsys.readouterr().err
        assert not (study / name).exists()


def test_an_empty_folder_is_filled(study):
    (study / "study").mkdir()
    assert new(study) == 0


def test_a_failure_while_writing_leaves_nothing(study, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(composing, "_check_read_back", fail)
    with pytest.raises(KeyboardInterrupt):
        new(study)
    assert sorted(path.name for path in study.iterdir()) == ["cases.csv", "images"]


def test_a_kill_while_writing_leaves_no_bundle_and_the_next_call_works(study):
    def killed():
        composing._check_read_back = lambda *arguments: os._exit(9)
        new(study)

    assert status_of(fork(killed)) == 9
    assert not (study / "study").exists()
    assert new(study) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--folders", "--image", "path"], "--folders needs --dataset_dir; --folders does not read --image"),
        (["--table", "cases.csv"], "--table needs --image and --label; --table needs --dataset_dir"),
        (["--dataset", "chest_xray", "--target", "a=b"], "--dataset does not read --target"),
        (["--folders", "--dataset_dir", "images", "--lable", "x"], "unknown arguments: --lable x"),
        ([], "one of the arguments --table --folders --medmnist --dataset is required"),
    ],
)
def test_arguments_that_nothing_reads_are_errors(study, arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["new", "study", *arguments])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_folders_of_classes(study):
    for k, row in enumerate(pd.read_csv(study / "cases.csv").itertuples()):
        place = study / "sorted" / row.finding / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        (study / "images" / row.path).rename(place)
    assert (
        main(["new", "study", "--folders", "--dataset_dir", "sorted", "--classes", "normal", "lesion"]) == 0
    )
    classes, cases = parsed(study / "study", "classes", "cases")
    assert classes == ["normal", "lesion"]
    assert len(cases) == 120


TINY = """
epochs: 1
confidnet_epochs: 1
mc_samples: 2
corruptions: [brightness_up]
severities: [3]
image_size: [32, 32]
"""


def run_untouched(bundle, *files, **overrides):
    """Make each part of a config by itself, as other tools do, then run it, in a process that goes on."""
    with untouched(f"{files}"):
        workflow = ConfigWorkflow(
            [str(bundle / "configs" / file) for file in files], logging_file=False, **overrides
        )
        workflow.initialize()
        for key in workflow.parser.get().keys() - {"_meta_", "run"}:
            with suppress(RuntimeError):  # what the run makes is missing
                workflow.parser.get_parsed_content(key)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        del workflow


@pytest.mark.e2e
def test_from_the_table_to_the_report(study, capsys):
    hostile = HOSTILE[0]
    table = pd.read_csv(study / "cases.csv").replace({"finding": {"lesion": hostile}})
    table.to_csv(study / "cases.csv", index=False)
    assert new(study, "--target", f"other:hospital={HOSPITALS[1]}") == 0
    bundle = study / "study"
    (study / "tiny.yaml").write_text(TINY)
    tiny = str(study / "tiny.yaml")
    run_untouched(bundle, "prepare.yaml", tiny)
    for files in (["train.yaml"], ["train.yaml", "evaluate.yaml"]):
        for name in ("iid", "other"):
            run_untouched(bundle, *files, tiny, study=name)
    run_dir, images = str(bundle / "runs" / "iid-confidnet-0"), str(study / "images")
    run_untouched(bundle, "inference.json", tiny, run_dir=run_dir, dataset_dir=images)
    results = load_results(bundle / "runs" / "other-confidnet-0" / "results")
    assert results.run["study_description"] == f"target: hospital is {HOSPITALS[1]}"
    assert set(results.cases_of("target")["hospital"]) == {HOSPITALS[1]}
    assert HOSPITALS[1] not in set(results.cases_of("iid")["hospital"])
    run_untouched(bundle, "report.yaml")
    page = (bundle / "runs" / "report.html").read_text()
    assert hostile not in page
    assert "hospital is Hospital Cl" in page
    assert set(pd.read_csv(bundle / "runs" / "tables" / "table.csv")["group"]) == {"iid", "cor", "acq"}


def test_the_benchmark_knows_the_studies_and_the_images(study, capsys):
    assert new(study, "--target", f"other:hospital={HOSPITALS[1]}") == 0
    states = run_benchmark([study / "study"], study / "out", dry_run=True, seeds=[0])
    assert {name.split("/")[1] for name in states} == {
        *("prepare", "table", "report"),
        *(
            f"{one}-{method}-0"
            for one in ("iid", "other")
            for method in ("confidnet", "deepgamblers", "devries")
        ),
    }
    benchmark = ConfigParser.load_config_file(str(study / "study" / "configs" / "benchmark.yaml"))
    assert benchmark["dataset_name"] == "study"
    assert parsed(study / "study", "dataset_dir", "dataset_name", file="benchmark.yaml") == [None, "study"]
