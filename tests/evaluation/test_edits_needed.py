"""Edits still needed: counts worked by hand, properties, and intervals that cover the truth as often as they say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.edits_needed import AnswerNeeds, edits_needed, needs_difference, needs_of
from redpencil.records import Edit, EditOutcome

TEXTS = st.lists(st.sampled_from(["a", "cat", "sat", "of", ".", "\u6f22"]), max_size=7).map(" ".join)


def edit(original: str, edited: str, *, prompt: str = "p", **changes: object) -> Edit:
    return replace(Edit("1", prompt, original, edited), **changes)  # type: ignore[arg-type]


def counts(original: str, edited: str, *, spacing: bool = False) -> tuple[int, int, int]:
    """Words of the answer, places and words that the editor changed."""
    row = needs_of(edit(original, edited), spacing=spacing)
    assert row is not None
    return row.words, row.edits, row.changed


@pytest.mark.parametrize(
    ("original", "edited", "expected"),
    [
        ("The cat sat.", "The cat sat.", (4, 0, 0)),
        ("The cat sat.", "The dog sat.", (4, 1, 1)),  # a replaced word is one change
        ("The cat sat.", "The big dog sat.", (4, 1, 2)),  # one word becomes two
        ("The big cat sat.", "The dog sat.", (5, 1, 2)),  # and two one
        ("The cat sat.", "The cat sat down.", (4, 1, 1)),
        ("The cat sat down.", "The cat sat.", (5, 1, 1)),
        ("A cat sat on the red mat.", "A dog sat on the blue mat.", (8, 2, 2)),
        ("One two three four five.", "Six.", (6, 1, 5)),  # written anew: the longer text counts, less what stays
        ("cat sat", "A cat sat", (2, 1, 1)),  # the old first word is kept
        ("can not", "cannot", (2, 1, 2)),
        ("\u6f22\u5b57", "\u6f22\u6587", (2, 1, 1)),  # each ideograph is a word
        ("The cat", "", (2, 1, 2)),
        ("", "The cat", (0, 1, 2)),
        (" The  cat\nsat .", "The cat sat.\n", (4, 0, 0)),  # white space alone
    ],
)
def test_edits_and_words_are_those_that_an_editor_changes(
    original: str, edited: str, expected: tuple[int, int, int]
) -> None:
    assert counts(original, edited) == expected


def test_white_space_within_a_text_counts_where_it_has_a_meaning() -> None:
    assert counts("if x:\n  y", "if x:\n    y", spacing=True) == (4, 1, 1)
    assert counts("if x:\n  y \n", "\nif x:\n  y", spacing=True) == (4, 0, 0)  # at the ends it has none
    assert counts("sat down", "The sat down", spacing=True) == (2, 1, 1)


def accepted(row: Edit) -> bool:
    needs = needs_of(row)
    assert needs is not None
    return needs.accepted


def test_an_answer_stands_if_it_is_whole_and_nothing_was_changed() -> None:
    assert accepted(edit("The cat.", "The cat. "))
    assert not accepted(edit("The cat.", "The dog."))
    assert not accepted(edit("The cat.", "The cat.", meta={"finished": False}))
    assert not accepted(edit("", "", outcome=EditOutcome.EMPTY))
    assert not accepted(edit(" \n", "", outcome=EditOutcome.UNCHANGED))


@pytest.mark.parametrize(
    "outcome", [EditOutcome.FAILED, EditOutcome.REFUSED, EditOutcome.TRUNCATED, EditOutcome.UNCERTAIN]
)
def test_an_answer_without_an_edit_counts_nowhere(outcome: EditOutcome) -> None:
    rows = [edit("a b", "a b", outcome=outcome), edit("a b", "a c", prompt="q")]
    needed = edits_needed(rows)
    assert (needed.answers, needed.unedited, needed.accepted.value) == (1, 1, 0)
    with pytest.raises(RedpencilError, match="none of 1 answers has an edit"):
        edits_needed(rows[:1])


def test_what_the_editor_gave_for_a_text_it_left_is_the_text_itself() -> None:
    assert needs_of(edit("a b", "something else", outcome=EditOutcome.UNCHANGED)) == AnswerNeeds("p", 2, 0, 0, False)


@given(TEXTS, TEXTS)
def test_nothing_is_needed_only_between_equal_words(original: str, edited: str) -> None:
    words, edits, changed = counts(original, edited)
    assert (edits == 0) == (changed == 0) == (original.split() == edited.split())
    assert edits <= changed <= max(words, counts(edited, original)[0])
    assert counts(edited, original)[2] == changed


def test_figures_are_shares_of_all_answers_and_of_all_their_words() -> None:
    rows = [
        edit("a b c d", "a b c d", prompt="1"),
        edit("a b c d e f", "a x c d y z", prompt="2"),  # 2 places, 3 words
        edit("a b", "a b", prompt="3", meta={"finished": False}),
        edit("", "", prompt="4", outcome=EditOutcome.EMPTY),
    ]
    needed = edits_needed(rows)
    assert needed.accepted.value == 25
    assert needed.edits
    assert needed.words
    assert (needed.edits.value, needed.words.value) == pytest.approx((100 * 2 / 12, 100 * 3 / 12))
    assert needed.words.low < 25 < needed.words.high
    assert (needed.answers, needed.prompts, needed.empty, needed.cut_off) == (4, 4, 1, 1)
    assert edits_needed(rows[3:]).words is None  # an answer without words has no share of them


def test_a_difference_is_that_of_the_prompts_that_both_answered() -> None:
    before = [edit("a b c d", "a x c d", prompt=f"{n}") for n in range(6)] + [edit("e", "f", prompt="alone")]
    after = [edit("a b c d", "a b c d" if n % 2 else "a x c d", prompt=f"{n}") for n in range(6)]
    difference = needs_difference(after, before)
    assert difference
    assert difference.prompts == 6
    assert difference.accepted.value == 50
    assert difference.words
    assert difference.words.value == pytest.approx(-12.5)
    assert difference.words.low <= -12.5 <= difference.words.high < 0
    assert needs_difference(after, before[6:]) is None
    same = needs_difference(before, before)
    assert same
    assert same.words
    assert (same.words.value, np.isnan(same.words.low)) == (0, True)


def test_intervals_are_over_prompts_so_that_more_answers_to_one_prompt_make_none_narrower() -> None:
    rng = np.random.default_rng(0)
    rows = [edit("a b c d", "a x c d" if rng.random() < 0.5 else "a b c d", prompt=f"{n}") for n in range(40)]
    once, four_times = edits_needed(rows), edits_needed([row for row in rows for _ in range(4)])
    assert once.words
    assert four_times.words
    assert four_times.answers == 160
    assert four_times.words == once.words
    assert four_times.accepted.high - four_times.accepted.low > 0.95 * (once.accepted.high - once.accepted.low)


def test_intervals_of_words_and_differences_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = {"words": 0, "difference": 0}
    for _ in range(100):
        drawn = rng.random((60, 2)) < (0.3, 0.5)
        before, after = (
            [edit("a b c d", "a x c d" if flawed else "a b c d", prompt=f"{n}") for n, flawed in enumerate(column)]
            for column in drawn.T
        )
        words, difference = edits_needed(before).words, needs_difference(after, before)
        assert words
        assert difference
        assert difference.words
        covered["words"] += words.low <= 100 * 0.3 / 4 <= words.high
        covered["difference"] += difference.words.low <= 100 * 0.2 / 4 <= difference.words.high
    assert all(88 <= count <= 99 for count in covered.values()), covered
