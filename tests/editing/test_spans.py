"""Changed words against labelled words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.editing.measures import Words
from redpencil.editing.spans import SpanAgreement, SpanTally


def labelled(*spans: tuple[int, int]) -> dict[str, Any]:
    return {"spans": [{"start": start, "end": end, "error type": "Irrelevant"} for start, end in spans]}


def test_by_hand() -> None:
    tally = SpanTally()
    # "the red cat sat", words at 0-3, 3-7, 7-11, 11-15. Changed: red, cat. Labelled: "cat sat".
    tally.add(Words("the red cat sat"), [(1, 3)], labelled((8, 15)))
    # two labels on one word count it once; nothing was changed
    tally.add(Words("a dog"), [], labelled((2, 4), (3, 5)))
    # labelled as free of errors
    tally.add(Words("fine"), [(0, 1)], labelled())
    # not labelled
    tally.add(Words("other"), [(0, 1)], {})
    found = tally.result()
    assert found is not None
    # hits: cat. changed: red, cat, fine. labelled: cat, sat, dog.
    assert (found.edits, found.words, found.changed, found.labelled, found.hits) == (3, 7, 3, 3, 1)
    assert (found.precision, found.recall, found.f1) == (1 / 3, 1 / 3, pytest.approx(1 / 3))
    assert found.f1_low is not None
    assert found.f1_high is not None
    assert 0 <= found.f1_low <= 1 / 3 <= found.f1_high <= 1


def test_no_spans() -> None:
    assert SpanTally().result() is None


def test_nothing_to_divide_by() -> None:
    tally = SpanTally()
    tally.add(Words("a b"), [], labelled())
    assert tally.result() == SpanAgreement(1, 2, 0, 0, 0, None, None, None, None, None)


@pytest.mark.parametrize(
    "spans",
    ["text", [[0, 1]], [{"start": 0}], [{"start": 0, "end": 9}], [{"start": 2, "end": 1}], [{"start": True, "end": 1}]],
)
def test_spans_that_are_none_are_counted(spans: Any) -> None:
    tally = SpanTally()
    tally.add(Words("a b"), [(0, 1)], {"spans": spans})
    found = tally.result()
    assert found is not None
    assert (found.unreadable, found.edits, found.changed) == (1, 0, 0)


rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=8)


@given(rows)
def test_the_order_of_edits_does_not_matter(cases: list[tuple[bool, bool, bool]]) -> None:
    results = []
    for order in (cases, cases[::-1]):
        tally = SpanTally()
        for first, second, marked in order:
            changed = [(index, index + 1) for index, touched in enumerate((first, second)) if touched]
            tally.add(Words("aa bb"), changed, labelled((0, 2)) if marked else labelled())
        results.append(tally.result())
    assert results[0] == results[1]
