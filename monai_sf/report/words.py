"""Words a clinician understands for the field's terms: test sets, studies, kinds of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_sf.results import TestSet

#: Kind of test set, in the order of the page, to its title and what it means.
GROUPS: Mapping[str, tuple[str, str]] = {
    "iid": ("Ordinary cases", "the same kind of cases as in training, from other patients"),
    "manifestation": ("An unseen kind of disease", "variants that were kept out of training"),
    "acquisition": ("Another place or device", "images from a source that was kept out of training"),
    "corruption": ("Disturbed images", "the ordinary cases with brightness, noise or blur added"),
}

#: ``data_kind`` of a run to the banner, None where there is nothing to warn of.
BANNERS: Mapping[str, tuple[str, str] | None] = {
    "real": None,
    "rendered": (
        "Rendered images, not CT",
        "The shapes and ratings are the radiologists', the grey values are synthetic. "
        "These numbers say nothing about real patients.",
    ),
    "phantom": (
        "Phantom images, not patients",
        "Every image and label is synthetic. These numbers say nothing about real patients.",
    ),
}


def plain(name: str) -> str:
    """A technical name as words: ``gaussian_noise`` becomes "gaussian noise"."""
    return name.replace("_", " ").replace("-", " ").strip()


def set_title(test_set: TestSet) -> str:
    """What a test set is called on the page."""
    if test_set.corruption is not None:
        return f"{plain(test_set.corruption)}, severity {test_set.severity}"
    title = GROUPS[test_set.kind][0]
    usual = {"iid": ("iid",), "acquisition": ("target",), "manifestation": ("target",)}[test_set.kind]
    return title if test_set.name in usual else f"{title}: {plain(test_set.name)}"


def domain_title(test_set: TestSet, run: Mapping[str, Any]) -> str:
    """Which domain the cases of a test set belong to."""
    if test_set.corruption is not None:
        return plain(test_set.corruption)
    return "source" if test_set.kind == "iid" else f"target: {study_title(run)}"


def study_title(run: Mapping[str, Any]) -> str:
    """What a study is called on the page."""
    study = str(run["study"])
    return "ordinary cases" if study == "iid" else plain(study)


def study_description(run: Mapping[str, Any]) -> str | None:
    """What the study tests, in the words of whoever set it up; None where run.json does not say."""
    return _said(run.get("study_description"))


def set_description(test_set: TestSet, run: Mapping[str, Any]) -> str | None:
    """What a test set holds, in the words of whoever set it up; None where run.json does not say."""
    described = run.get("test_set_descriptions")
    return _said(described.get(test_set.name)) if isinstance(described, Mapping) else None


def _said(text: Any) -> str | None:
    return text.strip() or None if isinstance(text, str) else None


def dataset_title(run: Mapping[str, Any]) -> str:
    """What a dataset is called on the page."""
    words = plain(str(run["dataset"]))
    return " ".join({"ct": "CT", "fc": "FC", "mri": "MRI"}.get(w, w) for w in words.split())


def question(class_names: Sequence[str]) -> str:
    """What the classifier decides, as a question."""
    names = [plain(str(n)) for n in class_names]
    if len(names) <= 3:
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) + "?"
    return f"which of {len(names):,} classes?"


def tested(runs: Sequence[Mapping[str, Any]], sets: Sequence[Sequence[TestSet]]) -> str:
    """What was tested on what, in one sentence."""
    all_sets = [s for group in sets for s in group]
    studies = list(dict.fromkeys(study_title(r) for r in runs))
    ordinary = max(sum(len(s) for s in group if s.kind == "iid") for group in sets)
    targets = {
        (str(run["study"]), s.name): len(s)
        for run, group in zip(runs, sets, strict=True)
        for s in group
        if s.kind in ("acquisition", "manifestation")
    }
    unseen = sum(targets.values())
    corruptions = {(s.corruption, s.severity) for s in all_sets if s.corruption}
    parts = [f"{ordinary:,} ordinary cases"] if ordinary else []
    parts += [f"{unseen:,} cases of a kind or place not seen in training"] if unseen else []
    parts += [f"the ordinary cases disturbed in {len(corruptions)} ways"] if corruptions else []
    if len(runs) == 1:
        return f"One classifier, tested on {_listed(parts)}."
    return f"{len(runs)} classifiers (studies: {', '.join(studies)}) were tested on {_listed(parts)}."


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
