"""The cheap rules: each by edits that break it, and by edits that only look like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.alignment.words import split_words
from redpencil.audit.rules import RULES, Piece, Words, broken_rules, is_content, measure, tenth_of, tenths

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


sentences = st.lists(st.sampled_from(["the", "cat", "dog", "sat", ",", "."]), max_size=12).map(" ".join)
texts = st.one_of(sentences, st.text(alphabet="ab .,\n\u4f60e\u0301", max_size=20))


def test_pieces_by_hand() -> None:
    # The cat sat . -> The dog sat there .      words 0 The 1 cat 2 sat 3 .   /   0 The 1 dog 2 sat 3 there 4 .
    found = measure("The cat sat.", "The dog sat there.")
    assert found.pieces == (Piece("replace", (1, 2), (1, 2)), Piece("insert", (3, 3), (3, 4)))
    assert (found.removed, found.added, found.kept) == (1, 2, 0.75)
    # " there" stands behind the last word, before the full stop
    assert found.added_at_the_end == 1


def test_blank_space_at_the_end_does_not_hide_what_is_added_there() -> None:
    # the space becomes " It slept ."
    assert measure("It sat. ", "It sat. It slept.").added_at_the_end == 3


@given(texts, texts)
def test_words_tile(original: str, edited: str) -> None:
    found = measure(original, edited)
    assert len(found.original) - found.removed + found.added == len(found.edited)
    assert "".join(found.original[i] for i in range(len(found.original))) == original


@given(texts, st.data())
def test_words_that_overlap_a_span(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    expected = []
    for index, (a, b) in enumerate(split_words(text)):
        word = text[a:b]
        core = b - len(word.strip()) if word.strip() else a
        if start < b and core < end:
            expected.append(index)
    assert list(range(*Words(text).overlapping((start, end)))) == expected


@pytest.mark.parametrize(
    ("original", "edited", "appends", "cuts"),
    [
        ("It sat.", "It sat. It slept.", True, False),
        ("It sat.", "It sat, and slept.", True, False),
        ("It sat.\n", "It sat.\n\nIt slept.\n", True, False),
        ("It sat", "It sat.", False, False),  # no word was added
        ("cat", "cats", False, False),
        ("It sat.", "Now it sat. It slept.", False, False),
        ("It sat. It slept.", "It sat.", False, True),
        ("It sat.", "", False, False),  # all of it, not the end
        ("", "It sat.", False, False),
        ("...", "... It sat.", False, False),
        ("It sat.", "It sat.", False, False),
        ("\u4f60\u597d\u3002", "\u4f60\u597d\u5417\u3002", True, False),
    ],
)
def test_edits_that_only_append_or_cut(original: str, edited: str, appends: bool, cuts: bool) -> None:
    found = measure(original, edited)
    assert (found.only_appends, found.only_cuts_the_end) == (appends, cuts)


@given(texts, texts)
def test_to_append_is_to_cut_backwards(original: str, edited: str) -> None:
    there, back = measure(original, edited), measure(edited, original)
    assert there.only_appends == back.only_cuts_the_end
    assert not (there.only_appends and there.only_cuts_the_end)


def test_tenths_by_hand() -> None:
    # 25 words: tenth of word i is 10 i // 25, so 0-2 0, 3-4 1, 5-7 2, 8-9 3, ...
    assert list(tenths((1, 9), 25)) == [(0, 2), (1, 2), (2, 3), (3, 1)]
    assert list(tenths((0, 2), 2)) == [(0, 1), (5, 1)]
    assert [tenth_of(i, 2) for i in (0, 1, 2)] == [0, 5, 9]
    assert tenth_of(0, 0) == 0


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_tenths_count_each_word_once(start: int, length: int, total: int) -> None:
    span = (min(start, total), min(start + length, total))
    counted = [tenth for tenth, words in tenths(span, total) for _ in range(words)]
    assert counted == [10 * i // total for i in range(*span)]
