"""How rows are cut into micro-batches."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.training.batches import even_batches, neighbours


def cost(widths: list[int], parts: list[list[int]], switch: int) -> int:
    return sum(switch + len(part) * max(widths[i] for i in part) for part in parts)


def test_by_hand() -> None:
    # One micro-batch computes 4 * 100 columns; apart the short ones save 2 * 90 and cost one switch.
    assert even_batches([10, 100, 10, 100], None, 50) == [[1, 3], [0, 2]]
    assert even_batches([10, 100, 10, 100], None, 200) == [[1, 3, 0, 2]]
    assert even_batches([], None, 50) == []


@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=7),
    most=st.none() | st.integers(1, 4),
    switch=st.integers(0, 60),
)
def test_no_other_cut_of_the_ordered_rows_costs_less(widths: list[int], most: int | None, switch: int) -> None:
    parts = even_batches(widths, most, switch)
    assert sorted(i for part in parts for i in part) == list(range(len(widths)))
    assert all(len(part) <= (most or len(widths)) for part in parts)
    order = sorted(range(len(widths)), key=lambda i: -widths[i])
    cuts = (
        [order[start:end] for start, end in zip((0, *ends), (*ends, len(order)), strict=True)]
        for count in range(len(order))
        for ends in combinations(range(1, len(order)), count)
    )
    allowed = [cut for cut in cuts if all(len(part) <= (most or len(widths)) for part in cut)]
    assert cost(widths, parts, switch) == min(cost(widths, cut, switch) for cut in allowed)


def test_the_widest_rows_come_first() -> None:
    assert even_batches([3, 9, 5], 1, 0) == [[1], [2], [0]]


@pytest.mark.parametrize("lengths", [[5, 9, 3, 4], [9, 5, 3, 4]])
def test_texts_to_one_prompt_are_neighbours_at_the_place_of_the_longest(lengths: list[int]) -> None:
    order = neighbours([[1], [1], [2], [3]], lengths)
    assert order[:2] == [2, 3]
    assert [lengths[i] for i in order] == [3, 4, 5, 9]
    assert neighbours([[1], [2], [1]], [2, 5, 8]) == [1, 0, 2]
