"""Each rule by hand, and where a rule has nothing to say."""

import pytest

from redpencil.errors import RedpencilError
from redpencil.evaluation.trivial_rules import RULES, best_rule, rule_accuracies, rule_margins
from redpencil.records import Pair


def pair(chosen: int, rejected: int, number: int = 0) -> Pair:
    return Pair(str(number), (1,), (7,) * rejected, (7,) * chosen)


PAIRS = [pair(3, 2), pair(2, 3), pair(2, 2), pair(4, 5)]
TEXTS = [("a b ", "a b"), ("a", "a  b"), ("a  b", "c"), ("x", "y")]


def test_by_hand() -> None:
    found = rule_margins(PAIRS, TEXTS)
    # Stray: chosen, rejected, chosen, neither. Shorter: rejected, chosen, neither, chosen.
    assert found == {
        "shorter_wins": [-1, 1, 0, 1],
        "longer_wins": [1, -1, 0, -1],
        "white_space_wins": [1, -1, 1, 0],
        "white_space_loses": [-1, 1, -1, 0],
        "white_space_wins_then_shorter": [1, -1, 1, 1],
        "white_space_loses_then_shorter": [-1, 1, -1, 1],
    }
    assert list(found) == list(RULES)
    accuracies = rule_accuracies(PAIRS, TEXTS, "abcd")
    assert {name: share.value for name, share in accuracies.items()} == {
        "shorter_wins": 62.5,
        "longer_wins": 37.5,
        "white_space_wins": 62.5,
        "white_space_loses": 37.5,
        "white_space_wins_then_shorter": 75,
        "white_space_loses_then_shorter": 50,
    }
    assert best_rule(accuracies) == "white_space_wins_then_shorter"


@pytest.mark.parametrize("texts", [(), [("a", "b")] * 4, [("a ", " b")] * 4, [("a  b", "b  a")] * 4])
def test_without_a_difference_of_white_space_only_length_counts(texts: list[tuple[str, str]]) -> None:
    assert list(rule_margins(PAIRS, texts)) == ["shorter_wins", "longer_wins"]


def test_pairs_of_a_prompt_are_one_cluster() -> None:
    pairs = [pair(1, 2, n) for n in range(9)] + [pair(2, 1, n) for n in range(9)]
    alone = rule_accuracies(pairs, ())["shorter_wins"]
    together = rule_accuracies(pairs, (), [n // 9 for n in range(18)])["shorter_wins"]
    assert alone.value == together.value == 50
    assert together.high - together.low > 2 * (alone.high - alone.low) > 0


def test_no_pairs() -> None:
    with pytest.raises(RedpencilError, match="no pairs"):
        rule_accuracies([], ())
