"""Rows in arrays are the rows that went in, in a ninth of the room."""

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.records import Pair
from redpencil.rows import IntRows, PairRows

INTS = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), max_size=8)


@given(INTS, st.data())
def test_rows_of_integers_are_a_sequence(rows: list[list[int]], data: st.DataObject) -> None:
    kept = IntRows(rows)
    assert list(kept) == rows
    assert kept == rows
    assert (len(kept), bool(kept)) == (len(rows), bool(rows))
    start, stop, step = (data.draw(st.none() | st.integers(-9, 9)) for _ in range(3))
    assert kept[start : stop : step or None] == rows[start : stop : step or None]
    for index in range(-len(rows), len(rows)):
        assert kept[index] == rows[index]
    for index in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            kept[index]
    assert kept != [*rows, [1]]


def test_rows_may_be_added_while_they_are_read() -> None:
    kept = IntRows([[1, 2]])
    kept.append((3,))
    assert kept == [[1, 2], [3]]
    with pytest.raises(OverflowError):
        kept.append([2**31])


IDS = st.lists(st.integers(0, 10**6), min_size=1, max_size=5).map(tuple)
PLACES = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=4).map(tuple)
PAIRS = st.lists(
    st.builds(
        Pair,
        id=st.text(max_size=3),
        prompt_ids=IDS,
        rejected_ids=IDS,
        chosen_ids=IDS,
        rejected_changed=st.lists(st.booleans(), max_size=5).map(tuple),
        chosen_changed=st.lists(st.booleans(), max_size=5).map(tuple),
        unchanged=PLACES,
        meta=st.sampled_from([{}, {"spacing": "restored"}]),
    ),
    max_size=5,
)


@given(PAIRS)
def test_pairs_come_out_as_they_went_in(pairs: list[Pair]) -> None:
    kept = PairRows(pairs)
    assert list(kept) == pairs
    assert kept[1:] == pairs[1:]
    assert repr(list(kept)) == repr(pairs)  # types too
    assert bool(kept) == bool(pairs)


def bytes_of(make: type) -> int:
    def pairs() -> Iterator[Pair]:
        for number in range(500):
            start = 1000 * (number + 1)  # Python shares small integers
            prompt, rejected, chosen = (tuple(range(start + 100 * n, start + 100 * n + 100)) for n in range(3))
            flags, places = (False,) * 100, tuple((place, place) for place in range(0, 100, 2))
            yield Pair(str(number), prompt, rejected, chosen, flags, flags, places)

    tracemalloc.start()
    kept = make(pairs())
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(kept) == 500
    return size


def test_they_take_less_room() -> None:
    assert bytes_of(PairRows) < bytes_of(list) / 6
