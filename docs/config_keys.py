"""Write the reference's page of config keys, from the comments beside the keys in the configs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from monai_sf.bundle.bases import BASE, SHARED, base_files, loaded, with_bases
from monai_sf.bundle.published import published_bundles

#: The shared configs, in the order of the page.
_ORDER = (
    *("study", "train", "deepgamblers", "devries", "pictures", "evaluate", "prepare", "inference", "report"),
    *("benchmark", "demo", "multi_gpu", "own", "table", "folders", "medmnist", "audit", "given_bundle"),
)
#: A bundle's configs whose values the page compares.
_COMPARED = ("train", "deepgamblers", "devries", "evaluate", "benchmark", "demo", "small", "data")
#: Keys that the page explains once, at its top.
TECHNICAL = {BASE, "imports", "initialize", "run"}
#: Keys that a bundle only names, so that options of the command line reach them.
_ONLY_NAMED = {"train", "optimizer", "lr_scheduler", "loss", "evaluator", "handlers"}
_BY_BUNDLE = "Set by each bundle:"
#: Longer lists are shown in several lines, of longer groups the keys only.
_LONG = 110
_NAME = re.compile(r"@([A-Za-z_]\w*)")
_KEY = re.compile(r"\+?(?P<name>[A-Za-z_]\w*)(?P<part>[#\w]*):(?P<value>.*)")

_TOP = """# Config keys

Every key of the configs that bundles share ([how they are merged](bundles.md#how-a-config-is-put-together)),
and what the published bundles set. Any of them can be overridden ([how](bundles.md#keys)). The descriptions
are the comments in the files, `monai_sf/bundle/configs/*.yaml`.

- A value that begins with `$` is a Python expression, `@key` is the value of another key, and a mapping with
  `_target_` is a component, which is made by calling what `_target_` names. Of a component the tables show
  the name and the short arguments.
- Four keys have no rows: `_base_` names the configs that a config overrides, `initialize` is its first step,
  which merges them, `imports` are modules that expressions use, and `run` holds the steps that are run.
- *Used by* are the configs whose steps read the key, directly or through other keys: `prepare.yaml`,
  `train.yaml` with its overlays, `evaluate.yaml`, `inference.json`, `report.yaml`, `benchmark.yaml`,
  `demo.yaml`, and, as *audit*, the `evaluate.yaml` of a given model.

```{raw} html
<style>
  table.config-keys { min-width: 56rem }
  table.config-keys td { min-width: 8rem }
  table.config-keys td:nth-child(2) { min-width: 17rem }
  table.config-keys td:not(:first-child) code { overflow-wrap: anywhere }
</style>
```
"""


@dataclass(frozen=True)
class Key:
    """A top-level key of a config file.

    Attributes:
        name: the key.
        value: as written; None if each bundle sets it.
        description: the comment above and beside it.
    """

    name: str
    value: str | None
    description: str


def keys_of(file: Path) -> list[Key]:
    """Return the keys of a YAML config in their order, those first that it says each bundle sets.

    An overlay's key may be a part of another, such as ``network_def#backbone#name``; it has the name of the
    whole one.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    head = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    keys = [Key(name, None, text) for name, text in _declared(lines[:head])]
    above: list[str] = []
    for number, line in enumerate(lines[head:], head):
        if line.startswith("# ") and "----" not in line:
            above.append(line[2:].strip())
        elif match := _KEY.fullmatch(line):
            value, _, beside = match["value"].partition(" # ")
            block = _block(lines[number + 1 :])
            written = "\n".join([value.strip(), *block]).strip("\n")
            keys.append(Key(match["name"], written, " ".join([*above, beside.strip()]).strip()))
            above = []
        else:
            above = []
    return keys


def _block(following: Iterable[str]) -> list[str]:
    lines = []
    for line in following:
        if not line.startswith((" ", "- ")):
            break
        lines.append(line)
    return lines


def _introduction(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    head = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    texts = [line[1:].strip() for line in lines[:head]]
    return " ".join(texts[: texts.index(_BY_BUNDLE)] if _BY_BUNDLE in texts else texts).strip()


def _declared(head: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and description of the keys that a file's first comment lists."""
    start = head.index(f"# {_BY_BUNDLE}") + 1 if f"# {_BY_BUNDLE}" in head else len(head)
    lines = takewhile(lambda line: line.startswith("#   "), head[start:])
    return [(name, text) for name, _, text in (line[1:].strip().partition(": ") for line in lines)]


def used_by() -> dict[tuple[str, str], list[str]]:
    """Return the commands that use each key of each shared file, by (file, key)."""
    of_file = {file.stem: {key.name for key in keys_of(file)} for file in SHARED.glob("*.yaml")}
    found: dict[tuple[str, str], list[str]] = {}
    for command, config, folder in _commands():
        reached = _reached(with_bases(config, folder))
        files = [file.stem for file in base_files(config.get(BASE, ()), folder) if file.parent == SHARED]
        if command == "inference":  # inference.json is written from the other configs
            reached, files = reached | {"inferer", "postprocessing"}, ["inference"]
            files += [name for name, keys in of_file.items() if name not in ("report", "benchmark", "demo")]
        for name in dict.fromkeys(files):
            for key in reached & of_file[name]:
                if command == "inference" != name and key in of_file["inference"]:
                    continue
                users = found.setdefault((name, key), [])
                if command not in users:
                    users.append(command)
    return found


def _commands() -> Iterable[tuple[str, Mapping[str, Any], Path]]:
    """Yield what is run: its name, its config, and the folder of the configs beside it."""
    for folder in (bundle / "configs" for bundle in published_bundles().values()):
        yield "prepare", loaded([folder / "prepare.yaml"]), folder
        for methods in ([], ["deepgamblers"], ["devries"]):
            training = [folder / f"{name}.yaml" for name in ("train", *methods)]
            yield "train", loaded(training), folder
            yield "train", loaded([*training, folder / "multi_gpu.yaml"]), folder
            yield "evaluate", loaded([*training, folder / "evaluate.yaml"]), folder
        yield "inference", loaded([folder / "inference.json"]), folder
        yield "report", loaded([folder / "report.yaml"]), folder
        yield "benchmark", loaded([folder / "benchmark.yaml"]), folder
        if (folder / "demo.yaml").is_file():
            yield "demo", loaded([folder / "demo.yaml"]), folder
    for origin in ("table", "folders", "medmnist"):
        yield "prepare", {BASE: ["train", origin, "pictures", "prepare"]}, SHARED
        yield "train", {BASE: ["train", origin, "pictures"]}, SHARED
        yield "train", {BASE: ["train", origin, "pictures", "multi_gpu"]}, SHARED
        yield "evaluate", {BASE: ["train", origin, "pictures", "evaluate"]}, SHARED
        for images in ("pictures", "given_bundle"):
            yield "audit", {BASE: ["audit", origin, images]}, SHARED


def _reached(config: Mapping[str, Any]) -> set[str]:
    """Return the keys that a config's steps read, through other keys too."""
    reached: set[str] = set()
    waiting = [
        key for key in ("initialize", "join", "run", "finalize", "bundle_root", "seed") if key in config
    ]
    if "study" in config:
        waiting += ["study", "studies", "class_names"]  # start() lets the classes be those of the study
    while waiting:
        if (key := waiting.pop()) not in reached:
            reached.add(key)
            waiting += _NAME.findall(yaml.safe_dump(config.get(key), width=10**6))
    return reached


def write_config_keys(page: Path) -> None:
    """Write the page, unless it says the same already."""
    text = "\n".join([_TOP, *_shared_files(), *_of_bundles()])
    if not page.is_file() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def _shared_files() -> Iterable[str]:
    users = used_by()
    for name in _ORDER:
        file = SHARED / f"{name}.yaml"
        rows = [
            [
                f"`{key.name}`",
                _plain(key.description),
                _default(key),
                ", ".join(users.get((name, key.name), [])),
            ]
            for key in keys_of(file)
            if key.name not in TECHNICAL
        ]
        yield f"## {name}.yaml\n\n{_plain(_introduction(file))}\n"
        yield _table(["key", "what it is", "default", "used by"], rows)


def _default(key: Key) -> str:
    if key.value is None:
        return "*each bundle's*"
    is_line = "\n" not in key.value and not key.value.startswith(" ")
    return _code(key.value) if is_line else _short(yaml.safe_load(key.value))


def _of_bundles() -> Iterable[str]:
    """Yield a table per config, with a column for each bundle, and the keys that only bundles have."""
    bundles = {name: folder / "configs" for name, folder in published_bundles().items()}
    yield (
        "## What each bundle sets\n\n"
        "The four bundles of the study have its hyper-parameters. An empty cell: as in the shared config.\n"
        "References to other keys are left out, and so are keys that a bundle names only so that options of\n"
        "the command line reach them.\n"
    )
    for config in _COMPARED:
        files = {name: folder / f"{config}.yaml" for name, folder in bundles.items()}
        values = {name: _flat(_load(file)) for name, file in files.items() if file.is_file()}
        keys = dict.fromkeys(key for one in values.values() for key in one)
        yield f"### {config}.yaml of the bundles\n"
        rows = [[f"`{key}`", *(one.get(key, "") for one in values.values())] for key in keys]
        yield _table(["key", *values], rows)
    shared = {key.name for file in SHARED.glob("*.yaml") for key in keys_of(file)}
    rows = [
        [f"`{key.name}`", name, _plain(key.description), _default(key)]
        for name, folder in bundles.items()
        for key in keys_of(folder / "train.yaml")
        if key.name not in shared
    ]
    yield "### Keys of one bundle only\n"
    yield _table(["key", "bundle", "what it is", "default"], rows)


def _load(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a bundle's values by the ids of its keys; lists are kept whole."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = str(key).removeprefix("+")
        if name in TECHNICAL | _ONLY_NAMED | {"_mode_"} or (isinstance(value, str) and value.startswith("@")):
            continue
        if isinstance(value, Mapping) and "_target_" in value:
            flat |= {f"{name}#{inner}": text for inner, text in _flat(value).items()}
        else:
            flat[name] = _short(value)
    return flat


def _short(value: Any) -> str:
    """Return a value in a few words: a component by its name and plain arguments, a group by its keys."""
    if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        return "<br>".join(map(_short, value))
    if isinstance(value, Mapping) and "_target_" in value:
        arguments = {key: one for key, one in value.items() if not key.startswith("_")}
        short = [f"{key}={_written(one)}" for key, one in arguments.items() if _is_short(one)]
        dots = ["..."] if len(short) < len(arguments) else []
        return _code(f"{str(value['_target_']).rpartition('.')[2]}({', '.join([*short, *dots])})")
    if isinstance(value, Mapping) and len(_written(value)) > _LONG:
        return _code(f"{{{', '.join(value)}}}")
    if isinstance(value, list) and len(value) > 1 and len(_written(value)) > _LONG:
        return "<br>".join(map(_short, value))
    return _code(_written(value))


def _is_short(value: Any) -> bool:
    return not isinstance(value, Mapping) and len(_written(value)) <= 30


def _written(value: Any) -> str:
    """Return a value as YAML in one line, small numbers as people write them."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0") + ("0" if value.is_integer() else "")
    text: str = yaml.safe_dump(
        value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n...\n").strip()


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _plain(text: str) -> str:
    """Return a comment as Markdown that shows it as written."""
    parts = text.split("`")
    return "`".join(re.sub(r"([<*_\[\]])", r"\\\1", p) if not i % 2 else p for i, p in enumerate(parts))


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return f"```{{table}}\n:class: config-keys\n\n{text}\n```\n"
