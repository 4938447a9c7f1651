"""The files of a new bundle, from the user's decisions and the defaults that suit them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
from monai.bundle import ConfigParser

from monai_sf.bundle.defaults import AuditDefaults, Defaults
from monai_sf.bundle.given_model import Declared, Understood
from monai_sf.bundle.inference_config import write_inference_config
from monai_sf.bundle.initialize import complete_config
from monai_sf.bundle.metadata import own_metadata
from monai_sf.bundle.plain_values import as_yaml, plain
from monai_sf.bundle.published import published_bundles
from monai_sf.files import atomic_folder

_DATA = "data.yaml"
_TEMPLATES = Path(__file__).parent / "templates"
#: Files that are the same in every bundle.
_ALIKE = ("logging.conf", "multi_gpu.yaml", "prepare.yaml", "report.yaml")


@dataclass(frozen=True)
class Decisions:
    """What ``data.yaml`` says.

    Attributes:
        name: of the dataset.
        origin: "table", "folders" or "medmnist": the shared config that builds the cases.
        table: the table, of that origin.
        archive: the MedMNIST file, of that origin.
        dataset_dir: folder of the images; None for ``data`` in the bundle.
        columns: role to column.
        table_options: further arguments of :func:`monai_sf.datasets.table_cases`.
        classes: names in the order of the labels.
        unknown: labels that are none of the classes.
        missing: "raise" or "drop".
        studies: the config key of that name.
        modes: of images that are accepted.
        intensity: the config key of that name.
        channels: of the network's input.
        channel_files: number of files of one case.
        smallest: shortest side that images may have, in pixels.
        n_cases: number of cases.
        given: a given model to audit; None to train one.
    """

    name: str
    origin: str
    table: Path | None
    archive: Path | None
    dataset_dir: Path | None
    columns: Mapping[str, Any]
    table_options: Mapping[str, Any]
    classes: Sequence[str]
    unknown: Sequence[str]
    missing: str
    studies: Mapping[str, Mapping[str, Any]]
    modes: Sequence[str]
    intensity: Mapping[str, Any]
    channels: int
    channel_files: int
    smallest: int
    n_cases: int
    given: Understood | None = None

    @property
    def is_colour(self) -> bool:
        """Whether the network sees colours."""
        return self.channels == 3 and self.channel_files == 1


def write_bundle(folder: Path, decisions: Decisions, defaults: Defaults | AuditDefaults) -> None:
    """Write a bundle's files, whole or not at all.

    Args:
        folder: the bundle's folder; it must be empty if it exists.
        decisions: what ``data.yaml`` says.
        defaults: what the other configs say.

    Raises:
        ValueError: a text of the user's cannot be written to a config.
        FileExistsError: the folder holds files.
        OSError: it cannot be written to.
    """
    with atomic_folder(folder) as partial:
        configs, docs = partial / "configs", partial / "docs"
        configs.mkdir()
        docs.mkdir()
        for name, text in _texts(folder, decisions, defaults).items():
            (configs / name).write_text(text, encoding="utf-8", newline="\n")
        alike = next(iter(published_bundles().values())) / "configs"
        for name in _ALIKE:
            if not (configs / name).exists():
                shutil.copyfile(alike / name, configs / name)
        write_inference_config(configs)
        template = "audit/README.md" if decisions.given else "README.md"
        readme = environment().get_template(template).render(_facts(decisions, defaults))
        (docs / "README.md").write_text(readme, encoding="utf-8", newline="\n")
        _check_read_back(configs, decisions)


def environment() -> jinja2.Environment:
    """Return the environment of the templates, all of which are plain text."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=False,  # no HTML; every text of a user goes through as_yaml
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _texts(folder: Path, decisions: Decisions, defaults: Defaults | AuditDefaults) -> dict[str, str]:
    values = _values(folder, decisions, defaults)
    templates = environment()
    own = "audit/" if decisions.given else ""
    files = [path.name for path in (_TEMPLATES / own).iterdir() if path.suffix == ".yaml"]
    names = {_DATA: _DATA, **{name: f"{own}{name}" for name in sorted(files)}}
    texts = {name: templates.get_template(file).render(values) for name, file in names.items()}
    metadata = json.dumps(plain(_metadata(decisions, defaults)), indent=4, ensure_ascii=False)
    return {**texts, "metadata.json": f"{metadata}\n"}


def _values(folder: Path, decisions: Decisions, defaults: Defaults | AuditDefaults) -> dict[str, Any]:
    studies = {
        name: {"kind": study["kind"], "target": as_yaml(study["target"])}
        for name, study in decisions.studies.items()
    }
    return {
        **_facts(decisions, defaults),
        "dataset_dir": _place(decisions.dataset_dir or folder / "data", folder),
        "table": decisions.table and _place(decisions.table, folder),
        "archive": decisions.archive and _place(decisions.archive, folder),
        "columns": as_yaml(dict(decisions.columns)),
        "table_options": decisions.table_options and as_yaml(dict(decisions.table_options)),
        "classes": as_yaml(list(decisions.classes)),
        "unknown": decisions.unknown and as_yaml(list(decisions.unknown)),
        "missing": decisions.missing,
        "studies": studies,
        "image_modes": as_yaml(list(decisions.modes)),
        "picture_mode": "RGB" if decisions.is_colour else "L",
        "intensity": as_yaml(dict(decisions.intensity)),
        "smallest_image": decisions.smallest,
        "given": decisions.given and _given(decisions.given.declared, folder),
    }


def _given(declared: Declared, folder: Path) -> dict[str, str]:
    """Return the keys of a given model as YAML."""
    place = declared.place
    own = {key: as_yaml(value) for key, value in declared.keys().items()}
    return own | ({"model": _place(place, folder)} if isinstance(place, Path) else {})


def _facts(decisions: Decisions, defaults: Defaults | AuditDefaults) -> dict[str, Any]:
    numbers = {key: _number(value) for key, value in asdict(defaults).items()}
    return {
        **numbers,
        "seeds": list(defaults.seeds),
        "dataset_name": decisions.name,
        "origin": decisions.origin,
        "n_cases": decisions.n_cases,
        "num_classes": len(decisions.classes),
        "channels": decisions.channels,
        "study_names": ["iid", *decisions.studies],
        **({"small_size": min(32, defaults.image_size)} if isinstance(defaults, Defaults) else {}),
        **({"understood": decisions.given.lines} if decisions.given else {}),
    }


def _number(value: Any) -> Any:
    """Return a number as people write it: 0.00001, which YAML reads as a number, and not 1e-05."""
    return (
        f"{value:.10f}".rstrip("0") + ("0" if value.is_integer() else "")
        if isinstance(value, float)
        else value
    )


def _place(path: Path, folder: Path) -> str:
    """Return a path as YAML: within the bundle relative to it, else absolute."""
    if path.is_relative_to(folder):
        relative = path.relative_to(folder).as_posix()
        if all(c.isalnum() or c in "/._- " for c in relative):
            return f"$@bundle_root + '/{relative}'"
    return as_yaml(str(path))


def _metadata(decisions: Decisions, defaults: Defaults | AuditDefaults) -> dict[str, Any]:
    side = defaults.image_size
    return own_metadata(
        decisions.name,
        classes=decisions.classes,
        channels=decisions.channels,
        is_colour=decisions.is_colour,
        size=[side, side] if isinstance(side, int) else list(side),
        modes=decisions.modes,
        method="classifier" if decisions.given else "confidnet",
        n_cases=decisions.n_cases,
    )


def _check_read_back(configs: Path, decisions: Decisions) -> None:
    """Read the configs as MONAI will, and compare what they say with what was decided."""
    parser = ConfigParser()
    parser.read_config(str(configs / ("evaluate.yaml" if decisions.given else "train.yaml")))
    complete_config(parser, configs, {})
    expected: dict[str, Any] = {
        "dataset_name": decisions.name,
        "classes": list(decisions.classes),
        "unknown": list(decisions.unknown),
        "studies": {name: dict(study) for name, study in decisions.studies.items()},
        "intensity": dict(decisions.intensity),
        "image_modes": list(decisions.modes),
        "num_classes": len(decisions.classes),
    }
    if decisions.table is not None:
        expected |= {"columns": dict(decisions.columns), "table": str(decisions.table)}
    if decisions.given is not None:
        expected |= decisions.given.declared.keys()
    for key, value in expected.items():
        if (found := parser.get_parsed_content(key)) != value:
            raise ValueError(f"{key} is {value!r}, which a config cannot hold: it would be read as {found!r}")
