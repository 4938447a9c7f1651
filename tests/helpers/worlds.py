"""What each page of the documentation needs to be read: files, and names of its reader's own program."""

import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser
from PIL import Image

import monai_sf
from helpers.fences import ROOT, fences, pages
from helpers.given_models import Brightness, write_script
from helpers.image_files import dicom
from helpers.made_up_runs import make_run
from helpers.own_images import write_study
from helpers.reader import Page, Reader
from monai_sf.datasets import Study
from monai_sf.datasets.phantom import write_phantom
from monai_sf.files import write_json
from monai_sf.metrics import aurc

#: What makes a training and an evaluation a matter of a second, after the small.yaml of a bundle.
TINY = """
epochs: 1
confidnet_epochs: 1
finetuning_epochs: 1
batch_size: 32
num_workers: 0
test_time_augmentation: []
corruptions: [brightness_up]
severities: [3]
"""
#: The same of lung nodules; of the rendered ones those on which all readers agree, of few patients.
TINY_NODULES = f"""{TINY}
missing: drop
central: "$(@all_cases['slice_offset'] == 0) & ~@all_cases['malignancy'].between(1.6, 3.9)"
few: "$@central & (@all_cases['scan_id'] % 9 == 0) | (@all_cases['source'] == 'ct')"
cases: $@all_cases[@few].reset_index(drop=True)
"""

#: Pages whose blocks have not been seen to run yet.
_left: dict[str, Path] = {}


def pages_with_blocks(about_bundles: bool) -> list[str]:
    """Return the names of the pages that have blocks: those about bundles and their runs, or all others."""
    names = [page.relative_to(ROOT).as_posix() for page in pages() if fences(page)]
    return [name for name in names if _is_about_bundles(name) == about_bundles]


def _is_about_bundles(name):
    with_runs = ("docs/guides/export.md", "docs/guides/inference.md", "docs/guides/service.md")
    return name.startswith(("bundles/", "docs/reference/")) or name in with_runs or "model_card" in name


def read(name: str, folder: Path) -> Reader:
    """Run all blocks of a page in a new folder, of a template those of a page that was made of it."""
    about = PAGES.get(name, Page())
    here, own = folder / "world", folder / "own"
    here.mkdir(parents=True)
    own.mkdir()
    less = {"studies": ["iid"], "seeds": [0], "workers": 1, "report_points": 40}
    samples = "" if about.method == "classifier" else "mc_samples: 2\n"  # a given model may have no dropout
    for bundle, tiny in (("", TINY), ("-lung_nodule_ct", TINY_NODULES)):
        (own / f"run{bundle}.yaml").write_text(tiny + samples)
        overlays = [*about.overlays, str(own / f"run{bundle}.yaml")]
        write_json(own / f"benchmark{bundle}.yaml", {"overlays": overlays, **less, "methods": [about.method]})
    write_json(own / "report.yaml", {"max_points": 40})
    page = ROOT / name
    if name in WRITTEN:
        left, bundle = WRITTEN[name]
        page = left_by(left, folder) / bundle / "docs" / "README.md"
    reader = Reader(page, about, here, own)
    reader.read()
    _left[name] = here
    return reader


def left_by(name: str, folder: Path) -> Path:
    """Return the folder of a page that was read before this one, or is read now."""
    if name not in _left:
        read(name, Path(tempfile.mkdtemp(dir=folder.parent)))
    return _left[name]


def _copy(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, dirs_exist_ok=True)


def _bundles(folder, *names):
    for name in names:
        ignored = shutil.ignore_patterns("runs", "data", "phantom")
        shutil.copytree(ROOT / "bundles" / name, folder / "bundles" / name, ignore=ignored)


def _new_images(source, folder, pattern="*.png", count=3):
    folder.mkdir()
    for file in sorted(source.rglob(pattern))[:count]:
        shutil.copy(file, folder)


def _checkout(folder):
    for name in ("setup.cfg", "constraints.txt"):
        shutil.copy(ROOT / name, folder)


def _spreadsheet(folder):
    """Write images in folders of their classes, and a table of them."""
    table = write_study(folder, side=32)
    table["hospital"] = table["hospital"].where(table["hospital"] == "A", "B")
    for label in ("normal", "lesion"):
        (folder / "images" / label).mkdir()
    for name, label in zip(table["path"], table["finding"], strict=True):
        (folder / "images" / name).rename(folder / "images" / label / name)
    table["path"] = table["finding"] + "/" + table["path"]
    table.to_csv(folder / "cases.csv", index=False)


def _medmnist(file):
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 80), ("val", 20), ("test", 20)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez(file, **arrays)


# ---- README ----


def _repository(folder):
    _checkout(folder)
    _bundles(folder, "lung_nodule_ct")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_one.py").write_text("def test_one():\n    pass\n")
    _spreadsheet(folder)


# ---- guides ----


def _own_images(folder):
    _spreadsheet(folder)
    _medmnist(folder / "pneumoniamnist.npz")


def _studies(folder, text):
    for name, study in yaml.safe_load(text)["studies"].items():
        Study(name, **study)


def _cases(folder, text):
    """Build the case table by keys that override those of a bundle."""
    given = {"bundle_root": str(folder), "dataset_dir": str(folder / "images"), "missing": "raise"}
    parser = ConfigParser({**given, **yaml.safe_load(text)}, globals={"monai_sf": monai_sf})
    assert len(parser.get_parsed_content("cases")) == 120


def _components(key):
    """Return what makes the components under a key of the block."""

    def make(folder, text):
        ConfigParser({"block": yaml.safe_load(text)}).get_parsed_content(f"block{key}")

    return make


def _own_table(folder):
    _spreadsheet(folder)


def _audit(folder):
    _spreadsheet(folder)
    write_script(folder / "model.ts", Brightness())
    _new_images(folder / "images", folder / "my_images")


def _evaluated(folder):
    """Write the bundle with evaluated runs that the page on bundles leaves, and new images."""
    _copy(left_by("docs/reference/bundles.md", folder) / "bundles" / "dermoscopy", folder)
    shutil.copytree(folder / "my_images", folder / "incoming")


def _exported(folder):
    _copy(left_by("docs/guides/export.md", folder), folder)
    one = next((folder / "my_images").iterdir())
    with Image.open(one) as image:
        image.save(folder / "one.png")
        dicom(folder / "two.dcm", np.asarray(image))
    # it serves until the process ends
    ThreadingHTTPServer.serve_forever, serve = _in_a_thread, ThreadingHTTPServer.serve_forever
    _in_a_thread.serve = serve


def _in_a_thread(server):
    ThreadingHTTPServer.serve_forever = _in_a_thread.serve
    server.RequestHandlerClass.log_message = lambda *arguments: None
    Thread(target=server.serve_forever, daemon=True).start()


def _nodules(folder):
    """Write the bundle of lung nodules with CT of some in its folder data."""
    _checkout(folder)
    _bundles(folder, "lung_nodule_ct")
    write_phantom("lung_nodule_ct", folder / "bundles" / "lung_nodule_ct" / "data")


def _all_bundles(folder):
    _nodules(folder)
    _bundles(folder, "dermoscopy", "chest_xray", "fc_microscopy")
    for name in ("skin", "xray", "cells", "lidc"):
        (folder / "given" / name).mkdir(parents=True)


def _runs(folder):
    for study in ("iid", "spiculation", "texture"):
        make_run(study, n=80, pictures=None).save(folder / "runs" / study)


def _results(folder):
    make_run("skin", n=80, pictures=None).save(folder / "runs" / "iid")
    return {"results": make_run("texture", n=80, pictures=None)}


def _outputs(folder):
    """Write runs, an experiment of the paper's code, and the arrays of a model from elsewhere."""
    _runs(folder)
    experiment = folder / "experiments" / "dermoscopy_run1"
    (experiment / "hydra").mkdir(parents=True)
    (experiment / "test_results").mkdir()
    (experiment / "hydra" / "config.yaml").write_text(
        "data: {dataset: dermoscopyall}\nmodel: {name: confidnet_model, dg_reward: 2.2}\n"
        "eval: {val_tuning: false, ext_confid_name: tcp, query_studies: {iid_study: dermoscopyall}}\n"
    )
    generator = np.random.default_rng(0)
    n, classes, width = 60, 3, 5
    rows = np.column_stack([generator.normal(size=(n, classes)), np.arange(n) % classes, np.zeros(n)])
    np.savez(experiment / "test_results" / "raw_logits.npz", rows)
    labels, weight, bias = np.arange(n) % classes, generator.normal(size=(classes, width)), np.zeros(classes)
    features = generator.normal(size=(n, width)) + weight[labels]
    logits = features @ weight.T + bias
    scans = generator.random((n, 8, 8))
    return {
        "logits": logits,
        "labels": labels,
        "features": features,
        "images": generator.integers(0, 256, (n, 16, 16)).astype(np.uint8),
        "samples": logits[:, None] + generator.normal(size=(n, 4, classes)),
        "views": logits[:, None] + generator.normal(size=(n, 2, classes)),
        "domains": ["iid"] * 40 + ["Hospital Clínic"] * 20,
        "ids": [f"c{i}" for i in range(n)],
        "patients": [f"p{i // 2}" for i in range(n)],
        "train_features": features[:30],
        "train_logits": logits[:30],
        "train_labels": labels[:30],
        "val_logits": logits[30:],
        "val_labels": labels[30:],
        "weight": weight,
        "bias": bias,
        "confidence": generator.random(n),
        "max_probability": scans,
        "entropy": 1 - scans,
        "dice": generator.random(n),
        "overlays": generator.integers(0, 256, (n, 16, 16)).astype(np.uint8),
    }


def _radiograph(folder):
    pixels = np.random.default_rng(0).integers(0, 4096, (300, 280)).astype(np.uint16)
    dicom(folder / "scan.dcm", pixels, bits=12, WindowCenter=2048, WindowWidth=4096)


def _loader(folder):
    return {
        "loader": [{"image": torch.rand(2, 3, 32, 32), "case_id": ["a", "b"]}],
        "device": torch.device("cpu"),
        "network": torch.nn.Flatten(),
        "normalise": lambda images: images - 0.5,
    }


def _package(folder):
    """Install the package that the page describes, from its own blocks, and a bundle with data."""
    blocks = fences(ROOT / "docs/guides/add_a_score.md")
    module = "\n\n".join([one.text for one in blocks if one.language == "python"][:2])
    overlay = next(one.text for one in blocks if one.language == "yaml")
    package = folder / "site" / "otherlab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(module)
    (package / "evidential.yaml").write_text(overlay)
    (entries,) = (tomllib.loads(one.text) for one in blocks if one.language == "toml")
    about = folder / "site" / "otherlab-2.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: otherlab\nVersion: 2.1\n")
    lines = [
        line
        for group, names in entries["project"]["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in names.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    _bundles(folder, "dermoscopy")
    write_phantom("dermoscopy", folder / "bundles" / "dermoscopy" / "data")


# ---- reference ----


def _datasets(folder):
    write_phantom("dermoscopy", folder / "skin")
    write_phantom("chest_xray", folder / "xray")


def _skin(folder):
    _bundles(folder, "dermoscopy")
    bundle = folder / "bundles" / "dermoscopy"
    write_phantom("dermoscopy", bundle / "data")
    _new_images(bundle / "data" / "isic_2020", bundle / "my_images", "*.JPG")


def _bundle(dataset, place):
    """Return what prepares the folder of a bundle, its data, and new images."""

    def prepare(folder):
        _copy(ROOT / "bundles" / dataset, folder)
        data, new = folder / "given" / place, folder / "my_images"
        data.mkdir(parents=True)
        if dataset == "pneumonia":
            _medmnist(data / "pneumoniamnist.npz")
            shutil.copy(data / "pneumoniamnist.npz", folder)
            new.mkdir()
            for i in range(3):
                Image.new("L", (28, 28), 60 * i).save(new / f"{i}.png")
            return
        write_phantom(dataset, data)
        if dataset == "lung_nodule_ct":
            new.mkdir()
            for i in range(3):
                np.save(new / f"{i}.npy", np.full((64, 64), 100 * i - 500, np.int16))
        else:
            _new_images(data, new, *("*_w?.png", 12) if dataset == "fc_microscopy" else ("*.jpg", 3))

    return prepare


# ---- what new and export write ----


def _written(page, bundle):
    """Return what prepares the folder of a bundle that a page leaves, and new images."""

    def prepare(folder):
        left = left_by(page, folder)
        _copy(left / bundle, folder)
        if not (folder / "my_images").exists():
            images = left / "my_images" if (left / "my_images").exists() else left / "images"
            _new_images(images, folder / "my_images", "*.*")

    return prepare


# ---- checks ----


def _numbers(names):
    assert names["low"] < aurc(names["confidence"], names["error"]) < names["high"]
    assert set(names["found"].index) == {"A", "B"} or set(names["found"]["group"]) == {"A", "B"}


def _same_monitor(names):
    assert (names["again"].cases, names["again"].accepted, names["again"].labelled) == (4, 3, 2)


def _augmented(names):
    assert names["augmented"].shape == names["images"].shape
    assert not torch.equal(names["augmented"], names["images"])


OWN_NETWORK = "configs/inference.json --dataset_dir my_images\n"

#: Templates: the page that leaves a bundle, its folder there, and the place of the written page in it.
WRITTEN = {
    "monai_sf/bundle/templates/README.md": ("docs/guides/own_images.md", "my_study"),
    "monai_sf/bundle/templates/audit/README.md": ("docs/guides/audit.md", "my_audit"),
    "monai_sf/bundle/templates/model_card.md": ("docs/guides/export.md", "lesions"),
}

#: Pages that are not here need nothing.
PAGES: Mapping[str, Page] = {
    "README.md": Page(_repository),
    "docs/concepts/guarantee.md": Page(check=_same_monitor),
    "docs/guides/add_a_score.md": Page(
        _package,
        {"confidnet evidential": "evidential", "/path/to/": "{folder}/site/otherlab/"},
        environment={"PYTHONPATH": "{folder}/site"},
    ),
    "docs/guides/audit.md": Page(
        _audit,
        {" my_images": " {folder}/my_images"},
        method="classifier",
        overlays=(),
    ),
    "docs/guides/augmentation.md": Page(uses=(_components("#augmentation"),), check=_augmented),
    "docs/guides/benchmark.md": Page(_all_bundles, {"/data/": "{folder}/given/"}),
    "docs/guides/corruptions.md": Page(_loader, uses=(_components(""),)),
    "docs/guides/export.md": Page(_evaluated),
    "docs/guides/images.md": Page(_radiograph),
    "docs/guides/inference.md": Page(_evaluated),
    "docs/guides/metrics.md": Page(uses=(_components("#evaluator#key_val_metric#val_aurc"),), check=_numbers),
    "docs/guides/multi_gpu.md": Page(_nodules),
    "docs/guides/own_images.md": Page(
        _own_images,
        {"[0,1,2]": "[1]", "[128,128],'epochs':30": "[36,36],'epochs':2"},
        uses=(_studies, _studies),
    ),
    "docs/guides/own_table.md": Page(_own_table, uses=(_studies, _cases)),
    "docs/guides/report.md": Page(_outputs),
    "docs/guides/service.md": Page(_exported, {"8000": "8765"}),
    "docs/guides/table.md": Page(_results),
    "docs/reference/bundles.md": Page(
        _skin,
        {
            ",'runs/iid-confidnet-2'": "",
            # the network of a published bundle is large: that of a run, exported
            OWN_NETWORK: f"given/{OWN_NETWORK}",
        },
        before="""cd bundles/dermoscopy
python -m monai.bundle run --config_file configs/train.yaml --seed 1
python -m monai.bundle run --config_file "['configs/train.yaml','configs/evaluate.yaml']" --seed 1
python -m monai_sf.bundle export runs/iid-confidnet-1 -o given.zip
unzip given.zip -d given
cd ../..
""",
    ),
    "docs/reference/datasets.md": Page(_datasets, {"/data/": "{folder}/"}),
    "docs/reference/lung_nodules.md": Page(
        lambda folder: (folder / "data").mkdir(),
        {"write_rendered_slices(cases, ": "write_rendered_slices(cases[:30], "},  # of 13,255
    ),
    "docs/reference/scores.md": Page(_nodules),
    **{name: Page(_written(*left)) for name, left in WRITTEN.items() if "audit" not in name},
    "monai_sf/bundle/templates/audit/README.md": Page(
        _written("docs/guides/audit.md", "my_audit"), method="classifier", overlays=()
    ),
    **{
        f"bundles/{dataset}/docs/README.md": Page(_bundle(dataset, place), {"/data/": "{folder}/given/"})
        for dataset, place in (
            ("dermoscopy", "skin"),
            ("chest_xray", "xray"),
            ("fc_microscopy", "cells"),
            ("lung_nodule_ct", "lidc"),
            ("pneumonia", "mnist"),
        )
    },
}
