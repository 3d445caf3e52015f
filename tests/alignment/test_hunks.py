"""Edits as chains of hunks."""

from hypothesis import given
from hypothesis import strategies as st

from redpencil.alignment.hunks import hunk_chain
from redpencil.alignment.words import diff_words

WORDS = st.lists(st.sampled_from(["cat", "dog", "ran", "sat", "fast", "today", "\n", ".", "é"]), max_size=12)


def test_each_text_changes_one_place() -> None:
    original = "The cat sat quietly on a green mat yesterday evening ."
    edited = "The dog sat on a green mat yesterday evening , at nine ."
    assert hunk_chain(original, edited) == [
        original,
        "The dog sat quietly on a green mat yesterday evening .",
        "The dog sat on a green mat yesterday evening .",
        edited,
    ]


def test_equal_texts_have_no_neighbour() -> None:
    assert hunk_chain("a b", "a b") == ["a b"]
    assert hunk_chain("", "a b") == ["", "a b"]
    assert hunk_chain("a b", "") == ["a b", ""]


@given(WORDS, WORDS)
def test_a_chain_leads_from_the_original_to_the_edit(words: list[str], new_words: list[str]) -> None:
    original, edited = " ".join(words), " ".join(new_words)
    chain = hunk_chain(original, edited)
    hunks = [block for block in diff_words(original, edited) if block.kind != "equal"]
    assert (chain[0], chain[-1], len(chain)) == (original, edited, len(hunks) + 1)
    for block, before, after in zip(hunks, chain, chain[1:], strict=False):
        # what stands before the hunk is the edit's, what stands behind it the original's
        start = block.edited[0]
        assert before[:start] == after[:start] == edited[:start]
        assert after[block.edited[1] :] == before[start + block.original[1] - block.original[0] :]
