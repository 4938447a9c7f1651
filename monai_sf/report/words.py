"""Test sets and studies in the words of clinicians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_sf.results import TestSet
from monai_sf.vocabulary.shifts import SHIFT_OF, SHIFTS, Shift
from monai_sf.vocabulary.titles import title

#: Kinds of test sets in the order of the page: images as they are first.
KINDS = sorted(SHIFTS, key=lambda shift: shift.kind == "corruption")


#: Meanings of kinds where it is not known what was in training, since the model was given.
_OF_GIVEN = {
    "iid": "cases of the usual kind, which no study sets apart",
    "acquisition": "images from another source, as the study names it",
    "manifestation": "variants of the disease that the study names",
    "new_class": "cases of none of the model's classes, so that every answer is wrong",
}


def meaning(shift: Shift, run: Mapping[str, Any]) -> str:
    """Return the description of a kind of test set in the report of a run."""
    return _OF_GIVEN.get(shift.kind, shift.meaning) if run.get("audit") else shift.meaning


def set_title(test_set: TestSet) -> str:
    """Return the name of a test set on the page."""
    if test_set.corruption is not None:
        return f"{title(test_set.corruption)}, severity {test_set.severity}"
    shift = SHIFT_OF[test_set.kind]
    is_usual = test_set.name == ("target" if shift.has_target else "iid")
    return shift.title if is_usual else f"{shift.title}: {title(test_set.name)}"


def domain_title(test_set: TestSet, run: Mapping[str, Any]) -> str:
    """Return the name of the domain of a test set."""
    if test_set.corruption is not None:
        return title(test_set.corruption)
    return "source" if test_set.kind == "iid" else f"target: {study_title(run)}"


def study_title(run: Mapping[str, Any]) -> str:
    """Return the name of a study on the page."""
    study = str(run["study"])
    return "ordinary cases" if study == "iid" else title(study)


def trainings(run: Mapping[str, Any]) -> str:
    """Return the seed of a run, or the number of an ensemble's, as words; a given model has none."""
    if run.get("audit"):
        return "as given"
    members = run.get("members")
    return f"ensemble of {len(members)} seeds" if members else f"seed {run['seed']}"


def run_title(run: Mapping[str, Any], between: str = ", ") -> str:
    """Return study, method and seed of a run."""
    return between.join([str(run["study"]), str(run["method"]), trainings(run)])


def study_description(run: Mapping[str, Any]) -> str | None:
    """Return the description of the study in run.json, None without."""
    return _said(run.get("study_description"))


def set_description(test_set: TestSet, run: Mapping[str, Any]) -> str | None:
    """Return the description of a test set in run.json, None without."""
    described = run.get("test_set_descriptions")
    return _said(described.get(test_set.name)) if isinstance(described, Mapping) else None


def _said(text: Any) -> str | None:
    return text.strip() or None if isinstance(text, str) else None


def truths(class_names: Sequence[str], unknown: Sequence[str]) -> list[str]:
    """Return what a case can be: the classes, and the names of what is none of them."""
    none = "not among the classes"
    others = [none if name == "unknown" else f"{none}: {name}" for name in unknown]
    return [*map(str, class_names), *others]


def question(class_names: Sequence[str]) -> str:
    """Return the decision of the classifier as a question; empty without classes."""
    if not class_names:
        return ""
    names = [title(str(n)) for n in class_names]
    if len(names) <= 3:
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) + "?"
    return f"which of {len(names):,} classes?"


def unpromised(run: Mapping[str, Any]) -> str:
    """Return why nothing is promised for a run without thresholds."""
    if run.get("members"):
        return (
            "this page has no threshold of an ensemble; inference chooses one on the calibration cases of "
            "all its members"
        )
    return "evaluated without calibration cases of two classes or more"


def kind_of_model(run: Mapping[str, Any]) -> str:
    """Return what the page calls the model of a run."""
    return "classifier" if run["class_names"] else "model"


def tested(runs: Sequence[Mapping[str, Any]], sets: Sequence[Sequence[TestSet]]) -> str:
    """Return a sentence on the tested models and cases; of a given model also on the other cases."""
    kind = kind_of_model(runs[0])
    all_sets = [s for group in sets for s in group]
    studies = list(dict.fromkeys(study_title(r) for r in runs))
    ordinary = max(sum(len(s) for s in group if s.kind == "iid") for group in sets)
    targets = {
        (str(run["study"]), s.name): len(s)
        for run, group in zip(runs, sets, strict=True)
        for s in group
        if SHIFT_OF[s.kind].has_target
    }
    unseen = sum(targets.values())
    corruptions = {(s.corruption, s.severity) for s in all_sets if s.corruption}
    parts = [f"{ordinary:,} ordinary cases"] if ordinary else []
    audit = all(run.get("audit") for run in runs)
    # what a given model was trained on is not known
    elsewhere = "of another kind or place" if audit else "of a kind or place not seen in training"
    parts += [f"{unseen:,} cases {elsewhere}"] if unseen else []
    parts += [f"the ordinary cases disturbed in {len(corruptions)} ways"] if corruptions else []
    # ensembles are not trained, and count where there is nothing else
    count = sum("members" not in run for run in runs)
    one, several = (kind, f"{kind}s") if count else (f"ensemble of {kind}s", f"ensembles of {kind}s")
    count = count or len(runs)
    if audit:
        return (
            f"A given {kind}, which was not trained here, was tested on {_listed(parts)}. Scores that learn "
            "from cases were fitted to its outputs on other cases, which are called training cases here."
        )
    if count == 1:
        return f"One {one}, tested on {_listed(parts)}."
    return f"{count} {several} (studies: {', '.join(studies)}) were tested on {_listed(parts)}."


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
