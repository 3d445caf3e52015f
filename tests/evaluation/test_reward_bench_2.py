"""RewardBench 2's scores, worked by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.reward_bench_2 import SUBSETS, AnswerPair, RewardBench2, reward_bench_2

Given = tuple[str, str, Sequence[float], Sequence[float]]


def score(*rows: Given, drop: int = 0) -> RewardBench2:
    """Scores of rows: id, subset, rewards of the right answers, rewards of the wrong ones."""
    pairs = [
        (first, second, AnswerPair(f"r{n}", id_, subset, i, j, len(right), len(wrong)))
        for n, (id_, subset, right, wrong) in enumerate(rows)
        for i, first in enumerate(right)
        for j, second in enumerate(wrong)
    ]
    chosen, rejected, answers = zip(*pairs[: len(pairs) - drop], strict=True)
    return reward_bench_2(np.array(chosen), np.array(rejected), answers)


def test_the_right_answer_must_beat_all_three() -> None:
    found = score(
        ("1", "Math", [3.0], [2.0, 1.0, 0.0]),
        ("2", "Math", [2.0], [0.0, 2.5, 1.0]),
        ("3", "Math", [2.0], [2.0, 1.0, 0.0]),
        ("4", "Math", [2.0], [2.0, 2.0, 2.0]),
        ("5", "Focus", [0.0], [-1.0, -2.0, -3.0]),
        ("6", "Focus", [5.0, 1.0], [2.0, 0.0]),
    )
    # Right; wrong; one of two with the highest reward; one of four. Then right, and one right answer below a wrong one.
    assert found.subsets["Math"].value == pytest.approx(100 * (1 + 0 + 1 / 2 + 1 / 4) / 4)
    assert (found.subsets["Math"].n, found.subsets["Focus"].value) == (4, 50)
    assert found.subsets["Math"].low < found.subsets["Math"].value < found.subsets["Math"].high
    assert (found.ties, found.score, found.incomplete) == (None, None, 0)


def test_ties_by_hand() -> None:
    found = score(
        ("ref:1", "Ties", [4.0], [1.0, 0.0]),
        ("tied:1", "Ties", [5.0, 4.0], [2.0, 1.0]),
        ("ref:2", "Ties", [2.0], [1.5]),
        ("tied:2", "Ties", [3.0, 2.0], [0.0]),
        ("ref:3", "Ties", [0.0], [1.0]),
        ("tied:3", "Ties", [2.0, 0.0], [1.0]),
        ("tied:9", "Ties", [1.0, 1.0], [0.0]),
    ).ties
    assert found is not None
    # gaps of tied: 2, 2, -1 (and 1 of the prompt without a ref row); of ref: 3, .5, -1; spreads: 1, 1, 2.
    assert found.tied == pytest.approx(100 * 3 / 4)
    assert found.ref == pytest.approx(100 * 2 / 3)
    assert found.preferred == pytest.approx(100 * 2 / 3)
    assert found.hard == pytest.approx(100 * 1 / 3)
    margin = (math.tanh(2 / 1 - 1) + math.tanh(0.5 / 1 - 1) + math.tanh(-1 / 2 - 1)) / 3
    assert found.margin == pytest.approx(margin)
    assert found.score == pytest.approx(0.3 * 75 + 0.3 * 200 / 3 + 0.2 * 200 / 3 + 0.2 * 100 / 3 + margin)
    assert found.n == 3


def test_ties_without_a_spread_or_without_both_rows() -> None:
    level = score(("ref:1", "Ties", [1.0], [0.0]), ("tied:1", "Ties", [2.0, 2.0], [1.0])).ties
    assert level is not None
    assert (level.margin, level.score) == (1.0, pytest.approx(101))
    none = score(("ref:1", "Ties", [0.0], [0.0]), ("tied:1", "Ties", [1.0, 1.0], [1.0])).ties
    assert none is not None
    assert (none.margin, none.score) == (0.0, 0)
    alone = score(("ref:1", "Ties", [7.0, 11.0], [8.0])).ties
    assert alone is not None
    assert (alone.ref, alone.tied, alone.preferred, alone.score) == (0, None, None, None)
    with pytest.raises(RedpencilError, match="does not say what it is") as caught:
        score(("7", "Ties", [1.0], [0.0]))
    assert "tied:7" in str(caught.value.hint)


def test_the_score_is_the_mean_of_all_six() -> None:
    rows = [(str(n), subset, [float(n % 2)], [0.5]) for n, subset in enumerate(SUBSETS[:-1])]
    ties = [("ref:1", "Ties", [1.0], [0.0]), ("tied:1", "Ties", [2.0, 2.0], [1.0])]
    assert score(*rows, *ties).score == pytest.approx((0 + 100 + 0 + 100 + 0 + 101) / 6)
    assert score(*rows[1:], *ties).score is None
    assert score(*rows).score is None


def test_a_row_without_all_its_answers_does_not_count() -> None:
    found = score(("1", "Math", [1.0], [0.0, 0.0]), ("2", "Math", [1.0], [0.0, 2.0]), drop=1)
    assert (found.subsets["Math"].value, found.subsets["Math"].n, found.incomplete) == (100, 1, 1)
    with pytest.raises(RedpencilError, match="no row has all its answers"):
        score(("1", "Math", [1.0], [0.0, 2.0]), drop=1)


@given(st.lists(st.tuples(st.integers(-2, 2), st.lists(st.integers(-2, 2), min_size=3, max_size=3)), min_size=1))
def test_shifting_all_rewards_changes_nothing(rows: list[tuple[int, list[int]]]) -> None:
    def value(shift: float) -> float:
        given_ = [("1", "Math", [right + shift], [one + shift for one in wrong]) for right, wrong in rows]
        return score(*given_).subsets["Math"].value

    best = [(right, max(wrong), wrong.count(right)) for right, wrong in rows]
    credit = sum(1 / (1 + equal) for right, wrong, equal in best if right >= wrong)
    assert value(0) == value(8) == pytest.approx(100 * credit / len(rows))
