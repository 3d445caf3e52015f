"""The cheap rules: each by edits that break it, and by edits that only look like it."""

import pytest

from redpencil.editing.measures import measure
from redpencil.editing.minimal import RULES, broken_rules, is_content

LONG = "The old red house near the river was built by skilled local masons in a single winter."


def broken(original: str, edited: str, min_kept: float = 0.0) -> set[str]:
    return set(broken_rules(measure(original, edited), min_kept))


def test_an_ordinary_edit_breaks_no_rule() -> None:
    assert broken("The sky is green today.", "The sky is blue today.", 0.25) == set()


def test_rewritten_is_below_the_share_not_at_it() -> None:
    # one of four words stays
    assert broken("a1 b1 c1 d1", "a1 x y z", 0.25) == set()
    assert broken("a1 b1 c1 d1", "a1 x y z", 0.26) == {"rewritten"}


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        ("Hello World, friend!", "hello world friend."),
        ("one\ntwo", "one\n\ntwo "),
        ("ice-cream", "ice cream"),
        ("\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u4f60\u597d\u4e16\u754c"),
    ],
)
def test_cosmetic(original: str, edited: str) -> None:
    assert broken(original, edited) == {"cosmetic"}


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        ("It is 1.5 m.", "It is 15 m."),
        ("It is -5 m.", "It is 5 m."),
        ("It is 5! m", "It is 5 m"),
        ("It costs 5 $.", "It costs 5 \u20ac."),
        ("Write C.", "Write C++."),
        ("word", "words"),
    ],
)
def test_what_may_change_the_meaning_is_not_cosmetic(original: str, edited: str) -> None:
    assert "cosmetic" not in broken(original, edited)


def test_reordered() -> None:
    assert "reordered" in broken("Paris, Rome and Bonn", "Rome, Bonn and Paris")
    assert "reordered" not in broken("Paris, Rome and Bonn", "Rome, Berlin and Paris")
    assert "reordered" not in broken("Paris and Rome", "Paris and Rome and Paris")


def test_put_back() -> None:
    # the longest common row is "see big fish": red, cats, eat go, and come back behind it, with a new word
    assert "put_back" in broken("see red cats eat big fish", "see big fish eat red cats slowly")
    # the same words, but far from where they were
    far = "and then there comes more text that nobody changes"
    assert "put_back" not in broken(f"red cats eat. Fish swim {far}.", f"Fish swim {far}. Red cats eat slowly.")
    # two words may come back by chance
    assert "put_back" not in broken("see red cats", "see cats red")
    # others than those that went
    assert "put_back" not in broken("see red cats eat big fish", "see some dogs chase slow hares")


def test_rephrased() -> None:
    again = "Skilled local masons built, by the river, in a single winter, the old red house."
    assert "rephrased" in broken(LONG, again)
    assert "rephrased" in broken(f"First of all. {LONG} At last.", f"First of all. {again} At last.")
    # a cut is no new wording, and neither is another statement
    hotel = "The hotel is ranked among the most luxurious hotels in the world"
    assert "rephrased" not in broken(f'{hotel} and is a member of "The Leading Hotels of the World".', f"{hotel}.")
    assert "rephrased" not in broken(LONG, "The old red house near the river was built by masons.")
    assert "rephrased" not in broken(
        LONG, "Every spring some young swans come back to nest on the small lake in the park."
    )


def test_a_sentence_whose_edges_are_changed_too() -> None:
    again = "Skilled local masons built, by the river, in a single winter, the old red house!"
    assert "rephrased" in broken(f"Well {LONG} And more", f"Oh {again} But more")


def test_many_changes_in_a_long_text_take_no_time_for_each_pair() -> None:
    original = " ".join(f"the {n} red cats sat down here now." for n in range(2_200))
    assert broken(original, original.replace("red", "blue")) == set()
    assert broken("." * 300_000, "!" * 200_000) == {"cosmetic"}


def test_wrapped() -> None:
    said = "Here is my attempt to make minimal changes to improve the response: "
    assert "wrapped" in broken("It is so.", f"{said}It is not so.")
    assert "wrapped" in broken("It is so.", '"It is not so."')
    assert "wrapped" not in broken('"It is so."', '"It is not so."')


def test_rules_come_in_their_order() -> None:
    found = broken_rules(measure("alpha beta gamma", "gamma beta alpha"), 0.9)
    assert found == tuple(name for name in RULES if name in found) == ("rewritten", "reordered")


@pytest.mark.parametrize(("word", "content"), [("The", False), ("cat", True), ("...", False), ("5", True)])
def test_content_words(word: str, content: bool) -> None:
    assert is_content(word) is content
