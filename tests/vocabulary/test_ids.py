"""The rule for ids: what is one, what is missing, and that nothing else is united."""

import unicodedata
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monai_sf.vocabulary.ids import canonical_id, canonical_ids, case_keys, case_notes, group_cases

SEVEN = ("007", "7", 7, 7.0, "7.0", "7.", np.int8(7), np.float32(7), Decimal("7.0"), " 7\t", "7\0", "7", "٧")
ACCENT = ("Müller A", "MÜLLER  A", "Mu\u0308ller\u00a0A", " müller\u200b a\ufeff", "mu\u0308ller a\r\n")
DASH = ("p-1", "P-1", "P\u20111", "p–1", "P\u22121", "P\u00ad-1")
NOTHING = (
    *(None, float("nan"), np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN"), "", "  ", "\u200b"),
    *("NaN", "nan ", "none", "NULL", "n/a", "#N/A", "<NA>", "(Unknown)", "-", "–", "--", "?", "？", "N.A."),
    *("not  available", "Unknown"),
)
ids = st.one_of(st.text(), st.text("0123456789.-", max_size=5), st.integers(), st.floats(), st.none())


@pytest.mark.parametrize(("spellings", "one"), [(SEVEN, "7"), (ACCENT, "müller a"), (DASH, "p-1")])
def test_spellings_of_one_id(spellings, one):
    assert {canonical_id(value) for value in spellings} == {one}


@pytest.mark.parametrize("value", NOTHING, ids=repr)
def test_what_is_missing(value):
    assert canonical_id(value) is None


@pytest.mark.parametrize(
    "different",
    [
        *(("P07", "P7"), ("1.10", "1.1"), ("1e5", "100000"), ("-7", "7"), ("p 1", "p1"), ("p_1", "p-1")),
        *((1.5, 1), ("0", "-1"), ("0a1", "a1"), ("1.2.840.0", "1.2.840"), ("0x7", "7")),
    ],
)
def test_what_stays_two_ids(different):
    assert len({canonical_id(value) for value in different}) == 2


@given(st.one_of(ids, st.text("ßẞİıΣςſﬁ①²½ΐ\u0345\u0301\u0308\u200d\u00ad ٣-–\0\n", max_size=6)))
def test_the_rule_says_the_same_of_what_it_said(value):
    one = canonical_id(value)
    assert one is None or canonical_id(one) == one


@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_how_unicode_is_composed_does_not_matter(text, form):
    assert canonical_id(unicodedata.normalize(form, text)) == canonical_id(text)


@given(st.text("abcxyzÄÖÜäöü0123456789_- ", min_size=1), st.sampled_from([str.upper, str.lower, str.title]))
def test_letter_case_and_blanks_do_not_matter(text, change):
    assert canonical_id(f" {change(text)}\u00a0") == canonical_id(text)


@given(st.integers(-(10**18), 10**18), st.integers(0, 5), st.integers(0, 3))
def test_whole_numbers_however_they_are_written(number, zeros, places):
    sign = "-" * (number < 0)
    text = f"{sign}{'0' * zeros}{abs(number)}" + ("." + "0" * (places - 1) if places else "")
    assert canonical_id(text) == canonical_id(number) == str(number)


@given(st.lists(ids, max_size=30), st.randoms())
def test_groups_are_those_of_equal_canonical_ids_in_any_order(values, random):
    groups = group_cases(values)
    found = canonical_ids(values)
    assert groups.missing.tolist() == [one is None for one in found]
    for i in range(len(values)):
        for j in range(len(values)):
            together = i == j or (found[i] is not None and found[i] == found[j])
            assert (groups.of_case[i] == groups.of_case[j]) == together
    assert len(set(groups.ids)) == len(groups) == len(set(groups.of_case.tolist()))
    order = list(range(len(values)))
    random.shuffle(order)
    again = group_cases([values[i] for i in order], [f"c{i}" for i in order])
    first = group_cases(values, [f"c{i}" for i in range(len(values))])
    assert again.ids[again.of_case].tolist() == first.ids[first.of_case][order].tolist()
    assert again.names[again.of_case].tolist() == first.names[first.of_case][order].tolist()


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pd.Index], ids=lambda kind: kind.__name__)
def test_all_kinds_of_tables_say_the_same(kind):
    groups = [group_cases(kind(values)) for values in ([2, 10, 1], ["2", "10", "01"], [2.0, 10.0, 1.0])]
    assert all(one.ids.tolist() == ["1", "2", "10"] for one in groups)
    assert all(one.of_case.tolist() == [1, 2, 0] for one in groups)


def test_masked_and_categories():
    masked = np.ma.array([1, 2, 1], mask=[False, False, True])
    assert group_cases(masked).missing.tolist() == [False, False, True]
    assert group_cases(pd.Series([1, None, 1], dtype="Int64")).of_case.tolist() == [0, 1, 0]
    assert group_cases(pd.Categorical(["b", None, "B "])).of_case.tolist() == [0, 1, 0]


def test_notes_say_what_was_united_and_what_is_missing():
    values = ["P1", "p1 ", "007", 7, "unknown", None, "q"]
    groups = group_cases(values, list("abcdefg"))
    united, unknown = groups.notes
    assert united == (
        "2 groups are spelled in more than one way and count as one each ('007' = '7'; 'P1' = 'p1 ')"
    )
    assert unknown.startswith("2 of 7 cases have no group id (written as 'None', 'unknown'): each is a group")
    assert groups.ids.tolist() == ["7", "p1", "q", "no id:  e", "no id:  f"]
    assert groups.names.tolist() == ["7", "P1", "q", "no id:  e", "no id:  f"]
    assert group_cases(["a", "b", "a"]).notes == ()


def test_a_case_without_an_id_is_no_patient_of_another_name():
    groups = group_cases(["no id:  b", None], ["a", "b"])
    assert len(groups) == len(set(groups.ids)) == 2


@pytest.mark.parametrize("word", ["Anonymous", 0, "000", 0.0, "XXX", "[redacted]", "-1", "9999"])
def test_a_placeholder_that_holds_most_cases_is_refused(word):
    with pytest.raises(ValueError, match="60 of 80 cases have the group .* looks like a placeholder"):
        group_cases(np.array([word] * 60 + list(range(5, 25)), object)).check()
    with pytest.raises(ValueError, match="60 of 60 cases"):
        group_cases([word] * 60).check()


@pytest.mark.parametrize(
    "values",
    [
        ["p"] * 60,  # one patient
        ["p"] * 60 + list("abc"),
        [0] * 30 + [1] * 29,  # two patients of these names
        [0] * 5,
        ["anonymous"] * 20 + list(range(30)),
        [None] * 60,
    ],
)
def test_patients_are_no_placeholders(values):
    group_cases(values).check()


def test_a_group_of_most_cases_is_told():
    assert any(
        "60 of 63 cases are of one group, 'p'" in n for n in group_cases(["p"] * 60 + list("abc")).notes
    )


def test_case_ids_that_differ_in_spelling_stay_two_cases():
    assert case_keys(["P1", "p1", "Q 1", "NA", "na", "007"]).tolist() == ["P1", "p1", "q 1", "NA", "na", "7"]
    assert case_notes(["P1", "p1", "q"]) == [
        "2 case ids differ from another one in spelling only ('P1' = 'p1'): they are different cases"
    ]
    assert case_notes([1, 2, "NA", "na"]) == []


@example([0, -0.0, 1, 1.0, "1", "NA", None])
@given(st.lists(ids, unique_by=str, max_size=20))
def test_keys_of_different_cases_differ(case_ids):
    assert len(set(case_keys(case_ids))) == len(set(map(str, case_ids)))


def test_hostile_ids():
    long = "0" * 1_000_000
    assert canonical_id(long) == "0"
    assert canonical_id(long + "x") == long + "x"
    assert canonical_id("1" + "0" * 5000) == "1" + "0" * 5000
    assert canonical_id("\ud800") == "\ud800"
    assert len(group_cases([[1], [1], {"a": 1}, ("b",)])) == 3
    assert len(group_cases(["9" * 5000, 1, "\ud800"])) == 3


@given(st.lists(st.text("aAbN019.-_()?/# ", max_size=6) | st.sampled_from(["unknown?", "n/a)", "None"])))
@example(["A-1", "b.0", "7.0", "unknown."])
def test_a_whole_column_is_spelled_as_each_of_its_ids(values):
    assert canonical_ids(values).tolist() == [canonical_id(value) for value in values]
