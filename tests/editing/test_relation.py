"""What a text keeps of the original, and whether it is about the same."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.editing.answer import classify
from redpencil.editing.relation import Source, count_words, terms
from redpencil.providers.base import Completion

SHARED = Path(__file__).parents[3] / "shared" / "data"
CAPITAL = "The capital of Australia is Sydney. It has five million people."


def test_case_marks_and_white_space_do_not_count_as_kept_or_lost() -> None:
    source = Source("It is, so: really!")
    assert (source.words, source.kept("IT  is\nso really")) == (4, 4)
    assert source.kept("It was so.") == 2
    assert Source(":-)").kept(":-)") == Source(":-)").words > 0  # a text of marks alone


def test_terms_are_longer_words_numbers_and_pairs_of_ideographs() -> None:
    assert terms("The Capitals of 12 states, with them") == {"capit", "12", "state"}
    assert terms("\u4e2d\u56fd\u4eba") == {"\u4e2d\u56fd", "\u56fd\u4eba"}


@pytest.mark.parametrize(
    ("original", "prompt", "text", "no_edit"),
    [
        (CAPITAL, "What is the capital?", "Unfortunately, nothing can be done about that request.", True),
        (CAPITAL, "What is the capital?", "The capital is Canberra.", False),
        (CAPITAL, "What is the capital?", "Olen pahoillani, en voi auttaa t\u00e4ss\u00e4.", True),
        # A few words may be changed wholly.
        ("Lyon.", "Where?", "Paris.", False),
        ("No.", "", "Yes, it is open until five.", False),
        ("Sorry no idea", "", "I cannot tell", False),
        ("Lyon.", "Where?", "Such questions need an answer from somebody who has been there before", True),
        # The answer takes its words from the prompt.
        ("I do not know that.", "Where do penguins live?", "Penguins live in the southern half of the earth", False),
    ],
)
def test_what_keeps_almost_nothing_of_a_longer_response_is_no_edit(
    original: str, prompt: str, text: str, no_edit: bool
) -> None:
    assert Source(original, prompt).is_no_edit(text) is no_edit


def test_another_script_is_foreign() -> None:
    assert Source(CAPITAL).is_foreign_script("\u0421\u0442\u043e\u043b\u0438\u0446\u0430")
    assert not Source("\u6771\u4eac").is_foreign_script("\u3072\u3089\u304c\u306a")  # kana beside Han
    assert not Source("a", "\u4ec0\u4e48\uff1f").is_foreign_script("\u4e2d\u56fd")  # the prompt's script
    assert count_words("one, two!") == 2


def test_hardly_an_edit_by_people_counts_as_none() -> None:
    """Two of the edits of QA-Feedback keep under 6 % of the words, for another sentence; no other is taken for none."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is missing")
    rows = json.loads((SHARED / "qa_feedback" / "feedback.json").read_text(encoding="utf-8"))
    pairs = [(row["question"], row["prediction 1"], row["feedback"]["corrected-prediction"]) for row in rows]
    edits = [(Source("".join(old), asked), new) for asked, old, new in pairs if new and "".join(old) != new]
    unlike = [(source, new) for source, new in edits if source.is_no_edit(new)]
    assert len(edits) > 200
    assert len(unlike) <= 2
    assert all(source.kept(new) < 0.06 * source.words for source, new in unlike)


@given(
    st.lists(
        st.sampled_from(["Alpha", "beta,", "gamma", "delta-one", "epsilon!", "!", "3.5"]), min_size=1, max_size=12
    ),
    st.lists(
        st.lists(st.sampled_from(["Alpha", "beta,", "gamma", "delta-one", "zeta", "!", "3.5"]), min_size=1), max_size=6
    ),
)
def test_what_a_text_keeps_without_its_ends_is_what_the_rest_keeps(words: list[str], parts: list[list[str]]) -> None:
    source, pieces = Source(" ".join(words)), [" ".join(part) + " " for part in parts]
    rests = [pieces[count:] for count in range(len(pieces) + 1)]
    starts = [pieces[: len(pieces) - count] for count in range(len(pieces) + 1)]
    assert source.kept_outside(pieces, at_end=False) == [round(source.kept("".join(rest))) for rest in rests]
    assert source.kept_outside(pieces, at_end=True) == [round(source.kept("".join(start))) for start in starts]


def test_many_short_lines_take_little_time() -> None:
    lines = "\n".join(f"{word}." for word in ("alpha", "beta", "gamma", "delta", "epsilon") * 400)
    other = "\n".join(f"{word}." for word in ("one", "two", "three", "four") * 500)
    for answer in (other, f"{other}\n\n{lines}", f"{lines}\n\n{other}"):
        start = time.process_time()
        classify(Completion(answer), lines)
        assert time.process_time() - start < 10
