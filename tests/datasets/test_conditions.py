from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monai_sf.datasets.conditions import read_condition
from monai_sf.vocabulary.ids import canonical_id

AGES = pd.Series([3.0, 65.0, 66.0, np.nan])
CODES = pd.Series(["007", "7", "nan", None], dtype=object)


@pytest.mark.parametrize(
    ("column", "condition", "expected"),
    [
        (AGES, 65, [False, True, False, False]),
        (AGES, "65", [False, True, False, False]),
        (AGES, [3, 66], [True, False, True, False]),
        (AGES, {"above": 65}, [False, False, True, False]),
        (AGES, {"below": 65}, [True, False, False, False]),
        (AGES, {"above": 3, "below": 66}, [False, True, False, False]),
        (AGES, {"above": 65, "missing": True}, [False, False, True, True]),
        (AGES, {"missing": True}, [False, False, False, True]),
        (AGES, {"missing": False}, [True, True, True, False]),
        (CODES, "007", [True, False, False, False]),
        (CODES, 7, [False, True, False, False]),
        (CODES, "nan", [False, False, True, False]),
        (CODES, {"is": ["7", "nan"], "missing": False}, [False, True, True, False]),
        (CODES.str.replace("nan", "1e1"), {"above": 7.5, "missing": True}, [False, False, True, True]),
        (pd.Series([True, False]), True, [True, False]),
        (pd.Series([1, 0]), "1", [True, False]),
        (pd.Series(["", "B", "B ", "b"]), {"is": "B", "missing": True}, [True, True, False, False]),
    ],
)
def test_cells_that_match(column: pd.Series, condition: Any, expected: list[bool]) -> None:
    assert read_condition(condition).matches(column).tolist() == expected


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("B", "is B"),
        (["B", 2], "is one of B, 2"),
        ({"above": 65}, "above 65"),
        ({"above": 0.5, "below": 65}, "above 0.5 and below 65"),
        ({"missing": True}, "is missing"),
        ({"missing": False}, "is not missing"),
        ({"is": "B", "missing": True}, "is B or missing"),
        ({"is": "B", "missing": False}, "is B"),
        (list(range(22)), f"is one of {', '.join(map(str, range(20)))} and 2 more"),
    ],
)
def test_in_words(condition: Any, words: str) -> None:
    assert str(read_condition(condition)) == words


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ([], "empty list"),
        ({}, "is empty; give a value, a list of values"),
        (None, "for empty cells write `missing: true`"),
        (["B", None], "for empty cells write `missing: true`"),
        (" ", "has an empty value"),
        (float("nan"), "must hold texts or numbers, got nan"),
        ([["B"]], "must hold texts or numbers"),
        (pd.Timestamp("2020-01-01"), "put it in quotes if it is text"),
        ({"over": 3}, "unknown over; known are a value, a list of values, and is, above, below, missing"),
        ({"above": "65"}, "above must be a number, got '65'"),
        ({"above": True}, "above must be a number"),
        ({"above": float("inf")}, "above must be a number"),
        ({"above": 5, "below": 5}, "nothing is above 5 and below 5"),
        ({"is": "B", "above": 3}, "both `is` and a limit"),
        ({"missing": "yes"}, "missing must be true or false, got 'yes'"),
        ({"missing": None}, "missing must be true or false, got None"),
    ],
)
def test_conditions_that_are_none(condition: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^") as caught:
        read_condition(condition)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("column", "condition", "message"),
    [
        (["A", "B"], "b", "no case has 'b' (do you mean 'B'?); there are 'A', 'B'"),
        (["A", "B"], ["B", "C"], "no case has 'C'; there are 'A', 'B'"),
        (["yes", "no"], False, "YAML reads yes, no, on and off so: put the text in quotes"),
        (["False", "no"], False, "YAML reads yes"),
        ([1, 0], True, "YAML reads yes"),
        (["007", "8"], 7, "no case has '7'"),
        ([1, 2], "two", "no case has 'two'; there are '1', '2'"),
        (["A", None, "A"], "A", "1 of 3 cells are empty (first: row 3): add"),
        (["40", "old"], {"above": 3}, "above and below need numbers, and there are 'old'"),
    ],
)
def test_conditions_that_do_not_fit_a_column(column: list[Any], condition: Any, message: str) -> None:
    faults = read_condition(condition).faults(pd.Series(column))
    assert len(faults) == 1
    assert message in faults[0]


@given(
    cells=st.lists(st.one_of(st.none(), st.text(max_size=3), st.sampled_from(["nan", "NA", "1e5", "007"]))),
    data=st.data(),
)
def test_a_text_matches_itself_and_nothing_else(cells: list[str | None], data: st.DataObject) -> None:
    texts = sorted({cell for cell in cells if cell and cell.strip()})
    if not texts:
        return
    wanted = data.draw(st.sampled_from(texts))
    column = pd.Series(cells, dtype=object)
    condition = read_condition({"is": wanted, "missing": False})
    assert condition.matches(column).tolist() == [cell == wanted for cell in cells]
    plain = [canonical_id(text) or " ".join(text.casefold().split()) for text in texts]
    alike = plain.count(plain[texts.index(wanted)]) > 1
    assert len(condition.faults(column)) == alike
    others = read_condition({"is": [t for t in texts if t != wanted] or ["x" * 4], "missing": True})
    assert others.matches(column).tolist() == [cell != wanted for cell in cells]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(-1e6, 1e6))
@example([2.3841857910148116e-07], 2.3841857910148116e-07)  # which pandas 2.2 reads as the number beside it
def test_limits_are_exclusive_and_split_the_numbers(cells: list[float], limit: float) -> None:
    column = pd.Series(cells)
    above = read_condition({"above": limit}).matches(column)
    below = read_condition({"below": limit}).matches(column)
    assert not (above & below).any()
    assert (above | below).tolist() == [cell != limit for cell in cells]
    assert read_condition({"above": limit}).matches(column.map(repr)).tolist() == above.tolist()


@pytest.mark.parametrize(
    ("column", "condition", "message"),
    [
        (["A", "B", "b", "B ", "b"], "B",
         "'B' (1 cases: row 3) and 'B ' (1 cases: row 5) and 'b' (2 cases: row 4, row 6)"),
        (["A", "Cl\u00ednic", "Cli\u0301nic"], "Cl\u00ednic",
         "'Cli\\u0301nic' (1 cases: row 4) and 'Cl\\xednic' (1 cases"),
        (["A", "San  Jos", "san jos"], ["A", "san jos"], "'San  Jos' (1 cases: row 3) and 'san jos'"),
        (["A", "NA", "na"], "NA", "'NA' (1 cases: row 3) and 'na' (1 cases: row 4) differ in spelling only"),
        (["A", "B", *["b"] * 7], "B", "row 4, row 5, row 6, row 7, row 8 and 2 more)"),
    ],
)  # fmt: skip
def test_a_value_in_several_spellings_is_a_fault_unless_all_are_named(
    column: list[str], condition: Any, message: str
) -> None:
    (fault,) = read_condition(condition).faults(pd.Series(column))
    assert message in fault
    assert "name all of them in the condition" in fault
    every = [cell for cell in dict.fromkeys(column) if cell != "A"]
    assert read_condition(every).faults(pd.Series(column)) == []
    assert read_condition("A").faults(pd.Series(column)) == []
