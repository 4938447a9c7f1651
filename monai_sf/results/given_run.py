"""The description, case table and test sets of a run whose outputs a user gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_sf.results.format import SCORES, ResultsError
from monai_sf.results.given_cases import case_table, columns_of, labelled, listed, test_sets_of
from monai_sf.results.given_numbers import own_scores_of
from monai_sf.results.test_set import TestSet
from monai_sf.vocabulary.data_kinds import DATA_KINDS
from monai_sf.vocabulary.ids import is_absent
from monai_sf.vocabulary.outputs import refuse_other_order
from monai_sf.vocabulary.registry import NAME_RULE, is_name
from monai_sf.vocabulary.shifts import TARGET_KINDS, corruption_of


def check_words(method: str, data_kind: str) -> None:
    """Refuse a method that is no name, and an unknown kind of data."""
    if not is_name(method):
        raise ResultsError(f"method must {NAME_RULE}, got {method!r}")
    if data_kind not in DATA_KINDS:
        raise ResultsError(f"data_kind must be one of {list(DATA_KINDS)}, got {data_kind!r}")


def check_order(columns: Mapping[str, Any] | pd.DataFrame | None, **arguments: Any) -> None:
    """Refuse pandas columns that hold the same index in another order."""
    if isinstance(columns, pd.DataFrame):
        columns = {"columns": columns}
    more: Mapping[str, Any] = {} if columns is None else columns
    try:
        refuse_other_order({**arguments, **{str(name): values for name, values in more.items()}})
    except ValueError as error:
        raise ResultsError(str(error)) from error


def parts_of(
    outputs: Mapping[str, NDArray[Any]],
    n: int,
    *,
    labels: NDArray[Any] | None,
    class_names: Sequence[str],
    scores: Mapping[str, ArrayLike],
    case_ids: Sequence[str] | None,
    domains: Sequence[str] | None,
    kinds: Mapping[str, str] | None,
    columns: Mapping[str, Sequence[Any]] | pd.DataFrame | None,
    study: str | None,
    **described: Any,
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, TestSet]]:
    """Return the content of run.json, the case table, and the test sets.

    Args:
        outputs: name to array of all n cases.
        n: their number.
        labels: (n,) integers; None without classes.
        class_names: names of the classes, none without classes.
        scores: name to confidences (n,) of the run's own scores.
        case_ids: see :meth:`monai_sf.results.Results.from_arrays`, as for what follows.
        domains: names of test sets.
        kinds: name of a target domain to its kind.
        columns: further columns of the case table.
        study: name of the study, or None.
        **described: further entries of run.json.

    Raises:
        ResultsError: lengths, names or columns are impossible.
    """
    where = [str(d) for d in listed("domains", ["iid"] * n if domains is None else domains, n)]
    named_cases = listed("case_ids", [str(i) for i in range(n)] if case_ids is None else case_ids, n)
    if unnamed := sum(map(is_absent, named_cases)):
        raise ResultsError(f"case_ids: {unnamed} of {n} are empty or NaN; name every case, or leave them out")
    ids = [str(i) for i in named_cases]
    own, confidences = own_scores_of(scores, ids)
    if taken := sorted(confidences.keys() & outputs.keys()):
        raise ResultsError(f"arrays must not hold {taken}, the arrays of scores; rename them")
    try:
        kinds = {} if kinds is None else dict(kinds)
    except (TypeError, ValueError):
        raise ResultsError(
            f"kinds must map target domains to their kinds, {TARGET_KINDS}, got {kinds!r}"
        ) from None
    known = None if labels is None else labelled(labels, class_names, [kinds.get(d, "") for d in where], ids)
    cases, rows = case_table(ids, known, columns_of(columns), n)
    targets = [d for d in dict.fromkeys(where) if d != "iid" and corruption_of(d) is None]
    run = {
        **described,
        "study": study or (targets[0] if targets else "iid"),
        "class_names": list(class_names),
        **({SCORES: own} if own else {}),
    }
    return (
        run,
        cases,
        test_sets_of(where, rows, {**outputs, **confidences}, kinds),
    )
