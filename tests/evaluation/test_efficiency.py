"""Time to reach the sequence arm's best, on curves drawn by hand."""

import pytest

from redpencil.errors import RedpencilError
from redpencil.evaluation.efficiency import Efficiency, time_to_reach

SEQUENCE = [(0, 0.0, 40.0), (10, 11.0, 45.0), (20, 22.0, 50.0), (30, 33.0, 50.0), (40, 44.0, 48.0)]


def test_first_step_that_reaches_the_earliest_best() -> None:
    # The sequence arm's best is 50, first at step 20. The token arm has 49 at 5 and 51 at 15: 15 / 20 = .75.
    token = [(0, 0.0, 40.0), (5, 6.0, 49.0), (15, 17.0, 51.0), (20, 23.0, 55.0)]
    assert time_to_reach(token, SEQUENCE) == Efficiency(15, 20, 0.75, 17.0, 22.0)


def test_equal_is_reached() -> None:
    assert time_to_reach([(10, 12.0, 50.0)], SEQUENCE).ratio == 0.5


def test_never_reached() -> None:
    assert time_to_reach([(10, 12.0, 49.9)], SEQUENCE) == Efficiency(None, 20, None, None, 22.0)
    assert time_to_reach([], SEQUENCE).token_step is None


def test_order_does_not_matter() -> None:
    token = [(20, 23.0, 55.0), (15, 17.0, 51.0), (5, 6.0, 49.0)]
    assert time_to_reach(token, SEQUENCE[::-1]) == time_to_reach(token[::-1], SEQUENCE)


def test_step_zero_is_not_training() -> None:
    # Both start at 60 and get worse at first. Counted, step 0 would be the best, reached in no time: 0 / 0.
    token = [(0, 0.0, 60.0), (10, 10.0, 51.0), (20, 20.0, 53.0)]
    sequence = [(0, 0.0, 60.0), (10, 10.0, 50.0), (20, 20.0, 52.0)]
    assert time_to_reach(token, sequence) == Efficiency(20, 20, 1.0, 20.0, 20.0)


@pytest.mark.parametrize("sequence", [[], [(0, 0.0, 40.0)]])
def test_no_evaluation_of_the_sequence_arm_is_an_error(sequence: list[tuple[int, float, float]]) -> None:
    with pytest.raises(RedpencilError, match="no evaluation after step 0") as caught:
        time_to_reach([(10, 1.0, 50.0)], sequence)
    assert caught.value.way_out
