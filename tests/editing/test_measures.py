"""What one edit did, in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.alignment.words import split_words
from redpencil.editing.measures import Piece, Words, measure, tenth_of, tenths

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
