"""Studies that `bundle new` makes of its option --target."""

import pandas as pd
import pytest

from helpers.own_images import HOSPITALS, new, parsed


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
