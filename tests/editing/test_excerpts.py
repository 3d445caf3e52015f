"""Long edits, cut down to what is worth reading."""

from hypothesis import given
from hypothesis import strategies as st

from redpencil.editing.excerpts import GAP, LONGEST_CHANGE, excerpt, shorten

FILL = " ".join(f"w{n}" for n in range(300))


def test_a_short_edit_stays_as_it_is() -> None:
    assert excerpt("The red cat sat.", "The blue cat sat.") == ("The red cat sat.", "The blue cat sat.")


def test_equal_stretches_are_cut_between_words() -> None:
    original, edited = excerpt(f"{FILL} red cat {FILL} one {FILL}", f"{FILL} blue cat {FILL} two {FILL}")
    assert original.replace("red", "blue").replace("one", "two") == edited
    assert original.startswith(GAP.lstrip())
    assert original.count(GAP.strip()) == 3
    assert len(original) < 700
    for word in original.replace(GAP.strip(), "").split():
        assert word in {*FILL.split(), "red", "cat", "one"}


def test_a_long_change_is_cut() -> None:
    original, edited = excerpt(FILL, "x")
    assert len(original) <= LONGEST_CHANGE + len(GAP)
    assert edited == "x"


def test_a_megabyte() -> None:
    text = "red cat " * 130_000
    assert sum(map(len, excerpt(text, text.replace("red", "blue")))) < 3_000
    assert sum(map(len, excerpt("x" * 1_000_000, "y" * 1_000_000))) < 3_000
    assert len(shorten("x" * 1_000_000)) < 400


def test_a_prompt_is_shortened_between_words() -> None:
    assert shorten("as it is") == "as it is"
    assert shorten("one two three", 9) == "one two […]"


@given(st.text(max_size=60), st.text(max_size=60))
def test_short_texts_are_never_touched(original: str, edited: str) -> None:
    assert excerpt(original, edited) == (original, edited)
