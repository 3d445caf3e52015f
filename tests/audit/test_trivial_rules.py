"""Each rule by hand, and where a rule has nothing to say."""

import pytest

from redpencil.audit.trivial_rules import RULES, rule_margins

LONGER = [1, -1, 0, -3]
TEXTS = [("a b ", "a b"), ("a", "a  b"), ("a  b", "c"), ("x", "y")]


def test_by_hand() -> None:
    found = rule_margins(LONGER, TEXTS)
    # Stray: better, worse, better, neither. Shorter: worse, better, neither, better.
    assert found == {
        "shorter_wins": [-1, 1, 0, 1],
        "longer_wins": [1, -1, 0, -1],
        "white_space_wins": [1, -1, 1, 0],
        "white_space_loses": [-1, 1, -1, 0],
        "white_space_wins_then_shorter": [1, -1, 1, 1],
        "white_space_loses_then_shorter": [-1, 1, -1, 1],
    }
    assert list(found) == list(RULES)


@pytest.mark.parametrize("texts", [(), [("a", "b")] * 4, [("a ", "b ")] * 4, [("a  b", "b  a")] * 4])
def test_without_a_difference_of_white_space_only_length_counts(texts: list[tuple[str, str]]) -> None:
    assert list(rule_margins(LONGER, texts)) == ["shorter_wins", "longer_wins"]
