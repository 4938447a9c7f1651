"""What prepare says and refuses of studies, splits and copies of images."""

import numpy as np
import pandas as pd
import pytest

from monai_sf import bundle

HOSPITAL_B = {"hospital_b": {"kind": "acquisition", "target": {"hospital": "B"}}}


def prepared(tmp_path, capsys, near=None, last=78, **columns):
    from PIL import Image

    cases = pd.DataFrame({"case_id": [f"c{i:03d}" for i in range(80)], **columns})
    cases["image"] = [f"{i}.png" for i in range(80)]
    for i, image in enumerate(cases["image"]):
        Image.new("L", (8, 8), min(i, last)).save(tmp_path / image)  # the last two have the same content
    cases["label"] = [i // 2 % 2 for i in range(80)]
    cases["label_name"] = [("benign", "malignant")[label] for label in cases["label"]]
    cases["source"] = "ct"
    cases.attrs["unavailable"] = {"spiculation": "none", "texture": "none"}
    bundle.prepare(cases, tmp_path, dataset="lung_nodule_ct", split_seed=0, near_duplicates=near)
    return capsys.readouterr().out


def test_prepare_says_how_studies_split_and_refuses_copies_on_both_sides(tmp_path, capsys):
    groups = [f"g{i:02d}" for i in range(80)]
    together = prepared(tmp_path, capsys, group=[*groups[:79], "g78"])
    assert "study iid (no target domain" in together
    assert "train 47, iid 17, val 8, calibration 8" in together
    assert "texture" not in together  # it cannot be run
    # plain pictures all look alike
    alike = prepared(tmp_path, capsys, near=0, group=[*groups[:79], "g78"])
    assert "images that look alike on both sides of a split, look at them: study iid" in alike
    splits = {}
    for last in range(100, 130):  # a copy that is by chance on the same side is no leak
        try:
            prepared(tmp_path, capsys, group=[*groups[:79], f"g{last}"])
            splits[last] = True
        except ValueError as error:
            assert "study iid: 1 pairs, such as" in str(error)  # noqa: PT017
            assert "c078" in str(error)  # noqa: PT017
            splits[last] = False
    assert set(splits.values()) == {True, False}


def test_copies_of_an_image_that_the_study_leaves_out_are_found(tmp_path, capsys, monkeypatch):
    def without_the_first_copy(cases, study, seed, *, audit):
        kept = cases[cases["case_id"] != "c077"]
        return kept.assign(split=["iid" if case == "c079" else "train" for case in kept["case_id"]])

    monkeypatch.setattr("monai_sf.bundle.preparation.split_cases", without_the_first_copy)
    with pytest.raises(ValueError, match=r"study iid: 1 pairs, such as\n.*\n.* c078 +c079 "):
        prepared(tmp_path, capsys, last=77, group=[f"g{i:02d}" for i in range(80)])


def own_cases(count=80):
    cases = pd.DataFrame({"case_id": [f"c{i:03d}" for i in range(count)]})
    cases["image"] = cases["case_id"] + ".png"
    cases["label"] = [i % 2 for i in range(count)]
    cases["label_name"] = [("well", "sick")[i % 2] for i in range(count)]
    cases["group"] = [f"g{i // 2}" for i in range(count)]
    cases["source"], cases["hospital"] = "own", ["AB"[i // 2 % 4 == 0] for i in range(count)]
    return cases


def prepare_own(cases, folder, studies, **options):
    from PIL import Image

    pixels = np.random.default_rng(0)
    for image in cases["image"]:
        Image.fromarray(pixels.integers(0, 256, (8, 8), np.uint8)).save(folder / image)
    bundle.prepare(cases, folder, dataset="mine", split_seed=0, studies=studies, **options)


def test_prepare_splits_studies_that_only_the_config_knows(tmp_path, capsys):
    prepare_own(own_cases(), tmp_path, HOSPITAL_B)
    said = capsys.readouterr().out
    assert "study iid (no target domain" in said
    assert "study hospital_b (target: hospital is B): " in said
    assert "target 20" in said
    assert "look alike" not in said


def test_prepare_says_how_many_cases_a_study_leaves_out(tmp_path, capsys):
    cases = own_cases()
    cases.loc[[0, 8], "hospital"] = "A"  # of two groups, whose other cases are of B
    prepare_own(cases, tmp_path, HOSPITAL_B)
    assert "study hospital_b: 2 of 62 source cases (3 %) of 2 groups are left out" in capsys.readouterr().out


def test_prepare_refuses_studies_that_cannot_be_run_all_at_once(tmp_path):
    b = HOSPITAL_B["hospital_b"]
    studies = {"c": {**b, "target": {"hospital": "C"}}, "d": {**b, "target": {"hospitl": "B"}}}
    with pytest.raises(
        ValueError, match="^study 'c', target: column 'hospital': no case has 'C'.*\nstudy 'd'"
    ):
        prepare_own(own_cases(), tmp_path, studies)
    with pytest.raises(ValueError, match="kind must be one of acquisition, manifestation"):
        prepare_own(own_cases(), tmp_path, {"c": {**b, "kind": "shift"}})


def test_prepare_looks_for_images_that_look_alike_where_no_patient_is_known(tmp_path, capsys, monkeypatch):
    looked = []
    monkeypatch.setattr(
        "monai_sf.bundle.preparation.find_leaks",
        lambda splits, prints, near: looked.append(near) or pd.DataFrame({"kind": []}),
    )
    prepare_own(own_cases(), tmp_path, {})
    prepare_own(own_cases().assign(group=[f"g{i}" for i in range(80)]), tmp_path, {})
    prepare_own(own_cases().assign(group=[f"g{i}" for i in range(80)]), tmp_path, {}, near_duplicates=0)
    assert looked == [None, 2, 0]


def test_prepare_says_that_cases_of_an_own_target_are_in_no_study(tmp_path, capsys):
    cases = own_cases()
    cases["split"] = ["target" if i < 20 else ("train", "val", "iid")[i // 2 % 3] for i in range(80)]
    prepare_own(cases, tmp_path, {})
    assert (
        "20 cases of the split target are in no study: add one, such as studies:" in capsys.readouterr().out
    )
    prepare_own(cases, tmp_path, {"away": {"kind": "acquisition", "target": {"split": "target"}}})
    said = capsys.readouterr().out
    assert "study away (target: split is target)" in said
    assert "in no study" not in said
