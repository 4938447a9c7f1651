"""A bundle for one's own images, from a table, folders or a MedMNIST file; and the published ones."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata
from PIL import Image

from helpers.own_images import HOSPITALS, write_study
from monai_sf.benchmark import run_benchmark
from monai_sf.bundle import composing, medmnist_file
from monai_sf.bundle.__main__ import main
from monai_sf.bundle.published import published_bundles
from monai_sf.results import load_results

ROOT = Path(__file__).parents[2]
CONFIGS = {
    *("benchmark.yaml", "data.yaml", "deepgamblers.yaml", "devries.yaml", "evaluate.yaml", "inference.json"),
    *(
        "logging.conf",
        "metadata.json",
        "multi_gpu.yaml",
        "prepare.yaml",
        "report.yaml",
        "small.yaml",
        "train.yaml",
    ),
}
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


def new(folder, *arguments, columns=("--image", "path", "--label", "finding", "--group", "patient")):
    table = ("--table", str(folder / "cases.csv"), "--dataset_dir", str(folder / "images"), *columns)
    return main(["new", str(folder / "study"), *table, *arguments])


def parsed(bundle, *keys, file="train.yaml"):
    workflow = ConfigWorkflow(str(bundle / "configs" / file), logging_file=False)
    workflow.initialize()
    return [workflow.parser.get_parsed_content(key) for key in keys]


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path)
    return tmp_path


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


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("hospital=A", "hospital=A (+)"), "both be the study 'hospital_a': give them names, such as one:"),
        (("hospital_a:hospital=A", "hospital=A"), "would both be the study 'hospital_a'"),
        (("hospital=+",), "--target 'hospital=+': the value has no letter or digit to name the study by"),
    ],
)
def test_targets_without_a_name_of_their_own_are_refused(study, targets, words, capsys):
    table = pd.read_csv(study / "cases.csv")
    table["hospital"] = table["hospital"].where(table.index % 8 > 3, "A (+)").where(table.index % 8 > 1, "+")
    table.to_csv(study / "cases.csv", index=False)
    assert new(study, *(word for target in targets for word in ("--target", target))) == 1
    assert words in capsys.readouterr().err


def test_a_target_that_is_given_twice_counts_once(study):
    assert new(study, *("--target", f"hospital={HOSPITALS[1]}") * 2) == 0
    ((found,),) = (one.values() for one in parsed(study / "study", "studies"))
    assert found["target"] == {"hospital": HOSPITALS[1]}


def test_a_hospital_in_several_spellings_is_refused_with_rows(study, capsys):
    table = pd.read_csv(study / "cases.csv")
    own = table.index[table["hospital"] == HOSPITALS[1]]
    table.loc[own[:2], "hospital"] = HOSPITALS[1].lower()
    table.to_csv(study / "cases.csv", index=False)
    assert new(study, "--target", f"hospital={HOSPITALS[1]}") == 1
    row = own[0] + 2
    assert f"{HOSPITALS[1].lower()!r} (2 cases: row {row} (case {own[0]:03d}.png)" in capsys.readouterr().err
    both = [
        word for name in (HOSPITALS[1], HOSPITALS[1].lower()) for word in ("--target", f"b:hospital={name}")
    ]
    assert new(study, *both) == 0


def test_ids_that_begin_anew_in_every_hospital_are_asked_about(study, capsys):
    table = pd.read_csv(study / "cases.csv")
    place = table.groupby("hospital").cumcount() // 2
    table.assign(patient=place + 1).to_csv(study / "cases.csv", index=False)
    assert new(study, "--target", f"b:hospital={HOSPITALS[1]}") == 0
    said = capsys.readouterr().out
    assert "study b: 40 of 80 source cases (50 %) of 20 groups are left out" in said
    assert "Does an id of a group mean the same patient in every hospital?" in said


def test_several_conditions_of_one_name_are_one_study(study):
    hospital = ("--target", "both:hospital=A", "--target", f"both:hospital={HOSPITALS[1]}")
    ages = [argument for age in range(20, 40) for argument in ("--target", f"both:age={age}")]
    assert new(study, *hospital, *ages) == 0
    assert parsed(study / "study", "studies") == [
        {"both": {"kind": "acquisition", "target": {"hospital": list(HOSPITALS), "age": [*range(20, 40)]}}}
    ]


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


KILLED = """
import os, sys
from monai_sf.bundle import composing
from monai_sf.bundle.__main__ import main
composing._check_read_back = lambda *arguments: os._exit(9)
main(sys.argv[1:])
"""


def test_a_kill_while_writing_leaves_no_bundle_and_the_next_call_works(study):
    arguments = ["new", "study", "--table", "cases.csv", "--dataset_dir", "images", "--image", "path"]
    command = [sys.executable, "-c", KILLED, *arguments, "--label", "finding"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 9, done.stderr
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


def test_a_medmnist_file_brings_its_images_into_the_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 20), ("val", 10), ("test", 10)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28, 3), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez("somemnist.npz", **arrays)
    assert main(["new", "study", "--medmnist", "somemnist.npz"]) == 0
    cases, dataset_dir, written = parsed(tmp_path / "study", "cases", "dataset_dir", "make_images")
    assert (len(cases), written) == (40, 40)
    assert Path(dataset_dir) == tmp_path / "study" / "data"
    assert parsed(tmp_path / "study", "picture_mode") == ["RGB"]


def test_a_medmnist_file_that_is_not_there_tells_where_it_is_published(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pneumoniamnist\.npz .*doi\.org/10\.5281/zenodo"):
        medmnist_file(tmp_path / "pneumoniamnist.npz", tmp_path / "images")
    assert list(tmp_path.iterdir()) == []


def test_a_medmnist_file_is_fetched_where_its_package_can(tmp_path, monkeypatch):
    class PneumoniaMNIST:
        def __init__(self, split, *, download, root, size):
            assert (split, download, size) == ("train", True, 64)
            Path(root, "pneumoniamnist_64.npz").touch()

    package = SimpleNamespace(
        INFO={"pneumoniamnist": {"python_class": "PneumoniaMNIST"}}, PneumoniaMNIST=PneumoniaMNIST
    )
    monkeypatch.setitem(sys.modules, "medmnist", package)
    archive = tmp_path / "new" / "pneumoniamnist_64.npz"
    assert medmnist_file(archive, tmp_path / "images") == archive
    assert (tmp_path / "images").is_dir()
    with pytest.raises(FileNotFoundError, match=r"mine\.npz is the name of no MedMNIST file"):
        medmnist_file(tmp_path / "mine.npz", tmp_path / "images")

    def offline(*arguments, **options):
        raise RuntimeError("no network")

    package.PneumoniaMNIST = offline
    with pytest.raises(
        FileNotFoundError, match=r"cannot be fetched \(no network\): download pneumoniamnist\.npz"
    ):
        medmnist_file(tmp_path / "pneumoniamnist.npz", tmp_path / "images")


@pytest.mark.parametrize("dataset", sorted(path.name for path in (ROOT / "bundles").iterdir()))
def test_a_published_bundle_is_written_out_as_it_is(dataset, tmp_path, capsys):
    assert main(["new", str(tmp_path / "mine"), "--dataset", dataset]) == 0
    source, copy = ROOT / "bundles" / dataset, tmp_path / "mine"
    for file in (source / "configs").iterdir():
        assert (copy / "configs" / file.name).read_bytes() == file.read_bytes()
    readme = (copy / "docs" / "README.md").read_text()
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", readme)
    assert [t for t in targets if "://" not in t and not (copy / "docs" / t).exists()] == []
    assert main(["new", str(copy), "--dataset", dataset]) == 1
    assert "holds other files" in capsys.readouterr().err


def test_an_unknown_published_bundle_names_those_there_are(tmp_path, capsys):
    assert main(["new", str(tmp_path / "mine"), "--dataset", "brain"]) == 1
    assert "no published bundle 'brain'; there are chest_xray, dermoscopy" in capsys.readouterr().err


def install(site):
    """Lay out the package as setup.cfg tells setuptools to, without the checkout."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    places = dict(line.split(" = ") for line in lines_of(config["options"]["package_dir"]))
    data = config["options.package_data"]
    for package in lines_of(config["options"]["packages"]):
        source = ROOT / places.get(package, package.replace(".", "/"))
        patterns = ["*.py", *data.get(package, "").replace(",", " ").split()]
        for file in (file for pattern in patterns for file in source.glob(pattern) if file.is_file()):
            copy = site.joinpath(*package.split("."), file.relative_to(source))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())


def lines_of(text):
    return [line for line in text.strip().splitlines() if not line.startswith("#")]


def test_an_installation_without_the_checkout_has_all_bundles_and_templates(study):
    site = study / "site"
    install(site)
    assert not (site / "bundles").exists()
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    script = """
import json, sys
import monai_sf, monai_sf.bundle.published, monai_sf.transforms
from monai_sf.bundle.__main__ import main
assert monai_sf.__file__.startswith(sys.argv[1]), monai_sf.__file__
assert main(["new", "chest", "--dataset", "chest_xray"]) == 0
assert main(["new", "mine", *sys.argv[2:]]) == 0
"""
    arguments = ["--table", "cases.csv", "--dataset_dir", "images", "--image", "path", "--label", "finding"]
    done = subprocess.run(
        [sys.executable, "-c", script, str(site), *arguments],
        capture_output=True, text=True, check=False, env=environment, cwd=study,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, folder in published_bundles().items():
        for place in ("configs", "docs"):
            installed = site / "monai_sf" / "bundle" / "published" / name / place
            assert {path.name for path in installed.iterdir()} == {
                path.name for path in (folder / place).iterdir()
            }
    assert {path.name for path in (study / "mine" / "configs").iterdir()} == CONFIGS


TINY = """
epochs: 1
confidnet_epochs: 1
mc_samples: 2
corruptions: [brightness_up]
severities: [3]
image_size: [32, 32]
"""


@pytest.mark.e2e
def test_from_the_table_to_the_report(study, capsys):
    hostile = HOSTILE[0]
    table = pd.read_csv(study / "cases.csv").replace({"finding": {"lesion": hostile}})
    table.to_csv(study / "cases.csv", index=False)
    assert new(study, "--target", f"other:hospital={HOSPITALS[1]}") == 0
    bundle = study / "study"
    (study / "tiny.yaml").write_text(TINY)
    for files in (["train.yaml"], ["train.yaml", "evaluate.yaml"]):
        for name in ("iid", "other"):
            workflow = ConfigWorkflow(
                [*(str(bundle / "configs" / file) for file in files), str(study / "tiny.yaml")],
                logging_file=False,
                study=name,
            )
            workflow.initialize()
            workflow.run()
            workflow.finalize()
    results = load_results(bundle / "runs" / "other-confidnet-0" / "results")
    assert results.run["study_description"] == f"target: hospital is {HOSPITALS[1]}"
    assert set(results.cases_of("target")["hospital"]) == {HOSPITALS[1]}
    assert HOSPITALS[1] not in set(results.cases_of("iid")["hospital"])
    workflow = ConfigWorkflow(str(bundle / "configs" / "report.yaml"), logging_file=False)
    workflow.initialize()
    workflow.run()
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
