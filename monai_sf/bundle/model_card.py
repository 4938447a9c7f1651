"""The model card of an exported bundle: what a run was trained on, how it fails, and when to defer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_sf.bundle.composing import environment
from monai_sf.results.format import FITTED, PRECISION
from monai_sf.scores import CSFS, deciding_csf
from monai_sf.scores.neighbours import NEIGHBOURS
from monai_sf.tables import collect, table_of
from monai_sf.tables.cells import records
from monai_sf.tables.cleaning import cleaned
from monai_sf.tables.format import columns_mean, number
from monai_sf.tables.markdown import escaped, grid, markdown_of
from monai_sf.tables.measures import measure
from monai_sf.tables.promises import stored_thresholds
from monai_sf.tables.redaction import redacted_text
from monai_sf.vocabulary.data_kinds import warning_of
from monai_sf.vocabulary.titles import title

_MEASURES = ("aurc", "augrc", "auroc_f")


def model_card(results: Path, run: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Return the model card in Markdown.

    Args:
        results: folder of the run's results.
        run: content of its run.json.
        metadata: of the exported bundle.

    Raises:
        ResultsError: the results cannot be judged.
    """
    collected, _ = cleaned(collect([results], csfs=["all"], n_resamples=0), {})
    tables = [table_of(replace(collected, measure=measure(name))) for name in _MEASURES]
    image = metadata["network_data_format"]["inputs"]["image"]
    trained = run.get("trained_on", {})
    return (
        environment()
        .get_template("model_card.md")
        .render(
            title=_text(title(f"{run['dataset']}: {run['study']}, {run['method']}, seed {run['seed']}")),
            task=_text(metadata["task"]),
            intended_use=_text(metadata["intended_use"]),
            version=_text(run.get("versions", {}).get("monai-sf", "")),
            warning=warning_of(str(run["data_kind"])),
            dataset=_text(run["dataset"]),
            study=_text(run["study"]),
            study_description=_text(run.get("study_description", "")),
            method=_text(run["method"]),
            seed=run["seed"],
            trained=trained.get("train", "an unknown number"),
            validated=trained.get("val", "an unknown number"),
            channels=image["num_channels"],
            size=" × ".join(map(str, image["spatial_shape"])),
            classes=", ".join(f"{k}: {escaped(name)}" for k, name in enumerate(run["class_names"])),
            num_classes=len(run["class_names"]),
            precision=_text(run.get(PRECISION, "float32")),
            accuracies=_accuracies(collected.cells),
            columns_mean=columns_mean(tables[0]),
            tables=[markdown_of(replace(table, notes=())) for table in tables],
            notes=[escaped(note) for note in tables[0].notes],
            **_thresholds(run),
            decides=deciding_csf(str(run["method"])),
            has_bank=any(name.startswith(f"{FITTED}/{NEIGHBOURS.name}.") for name in run["files"]),
        )
    )


def _text(text: Any) -> str:
    return escaped(redacted_text(str(text)))


def _accuracies(cells: Any) -> str:
    plain = cells[(cells["csf"] == "MSR") & (cells["metric"] == "accuracy")]
    rows = [
        [escaped(cell.test_set), str(cell.cases), str(cell.errors), f"{number(100 * cell.value)}"]
        for cell in records(plain)
    ]
    return grid(["test set", "cases", "failures", "accuracy in %"], rows)


def _on_scale(csf: str, threshold: float) -> float:
    return CSFS[csf].shown(threshold) if csf in CSFS else threshold  # of a package that is not installed


def _thresholds(run: Mapping[str, Any]) -> dict[str, Any]:
    stored = stored_thresholds(run) or {}
    rows = [
        [
            escaped(name),
            "none: defer all" if point["threshold"] is None else f"{_on_scale(name, point['threshold']):.6g}",
            number(100 * point["coverage"]),
            *("–" if point[key] is None else number(100 * point[key]) for key in ("risk", "bound")),
            *_needed(point),
        ]
        for name, point in stored.get("csfs", {}).items()
    ]
    names = ["score", "threshold", "coverage in %", "errors in %", "at most, in %", "groups needed"]
    return {
        "thresholds": grid(names, rows) if rows else "",
        "threshold_cases": f"{stored.get('cases', 0):,}",
        "threshold_groups": f"{stored.get('groups', 0):,}",
        "target": f"{100 * stored.get('target_risk', 0):g}",
        "sureness": f"{100 * (1 - stored.get('delta', 0)):g}",
    }


def _needed(point: Mapping[str, Any]) -> list[str]:
    if point["threshold"] is not None:
        return [""]
    return ["none would do" if point["needed"] is None else f"about {point['needed']:,}"]
