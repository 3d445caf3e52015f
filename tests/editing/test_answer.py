"""What is taken off an editor's answer, and what became of the request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.editing.answer import classify, strip_preamble
from redpencil.providers.base import Completion, StopReason
from redpencil.records import EditOutcome

ORIGINAL = "The capital of France is Lyon."
EDITED = "The capital of France is Paris."
PRIMED = "Here is my attempt to make minimal changes to improve the response:"


@pytest.mark.parametrize(
    "answer",
    [
        EDITED,
        f"\n\n{EDITED}\n",
        f"{PRIMED}\n\n{EDITED}",
        f"{PRIMED} {EDITED}",
        f"Sure! Here's the revised response:\n{EDITED}",
        f"Here is a minimally edited version of the response with one change:\n{EDITED}",
        f"Revised response:\n\n{EDITED}",
        f"**Revised Response:**\n{EDITED}",
        f"Revised response (Claude-2):\n\n{EDITED}",
        f"Response: {EDITED}",
        f"{PRIMED}\n\nResponse: {EDITED}",
        f'"{EDITED}"',
        f"{PRIMED}\n\n\u201c{EDITED}\u201d",
    ],
)
def test_what_the_prompt_invites_is_taken_off(answer: str) -> None:
    assert strip_preamble(answer, ORIGINAL) == EDITED
    assert classify(Completion(answer), ORIGINAL) == (EditOutcome.EDITED, EDITED)


@pytest.mark.parametrize(
    "text",
    [
        "Here is a list:\n- one\n- two",
        "Here is an improved recipe for pancakes: flour, milk, eggs.",
        "Here are my favourite edited volumes:\n1. One",
        "My response time was: slow",
        "Response times vary.",
        '"Yes," she said, "it is."',
        "Revised in 1999: the third edition.",
        "Note: it is raining.",
    ],
)
def test_content_stays(text: str) -> None:
    assert strip_preamble(text) == text


@pytest.mark.parametrize(
    ("original", "answer", "edited"),
    [
        # The original has one heading of its own, the answer too: nothing is an announcement.
        ("Here is the edited response: a b", "Here is the revised response: a c", "Here is the revised response: a c"),
        ("Here is a recipe: a b", "Here is the improved response: a c", "Here is the improved response: a c"),
        # One heading more than the original has: the first goes.
        ("Here is a recipe: a b", f"{PRIMED}\nHere is a recipe: a c", "Here is a recipe: a c"),
        ("Response: a b", "Revised response: Response: a c", "Response: a c"),
        # The editor dropped the original's heading.
        ("Response: a b", "a c", "a c"),
        # Quotation marks and blank space of the original.
        ('"a b"', '"a c"', '"a c"'),
        ('say "b"', '"say c"', '"say c"'),
        (" a b\n", "a c", " a c\n"),
        ("a b", " a c\n", "a c"),
    ],
)
def test_what_the_original_has_too_stays(original: str, answer: str, edited: str) -> None:
    assert strip_preamble(answer, original) == edited


pieces = st.sampled_from(["Response:", "Here is", "my attempt", "a list:", " ", "\n", '"', "\u201c", "**", "word"])


@given((st.text() | st.lists(pieces).map("".join)).filter(lambda text: text.strip()))
def test_a_text_given_back_is_unchanged_also_behind_the_primed_words(text: str) -> None:
    """Whatever the text is: headings, quotes and blank space included."""
    assert strip_preamble(text, text) == text
    assert classify(Completion(text), text) == (EditOutcome.UNCHANGED, text)
    assert classify(Completion(f"{PRIMED}\n\n{text}"), text) == (EditOutcome.UNCHANGED, text)


words = st.lists(st.sampled_from(["paris", "lyon", "is", "\u00e9t\u00e9", "'", "*", "{", "\n", " "]), min_size=1)


@given(words.map(" ".join).map(str.strip).filter(bool))
def test_a_text_without_a_heading_is_never_shortened(text: str) -> None:
    assert strip_preamble(text) == text


@pytest.mark.parametrize(
    ("completion", "outcome"),
    [
        (Completion(ORIGINAL), EditOutcome.UNCHANGED),
        (Completion(f"{PRIMED}\n\n{ORIGINAL}\n"), EditOutcome.UNCHANGED),
        (Completion("No changes are needed."), EditOutcome.UNCHANGED),
        (Completion("(no change)"), EditOutcome.UNCHANGED),
        (Completion(""), EditOutcome.EMPTY),
        (Completion(" \n"), EditOutcome.EMPTY),
        (Completion(PRIMED), EditOutcome.EMPTY),
        (Completion('""'), EditOutcome.EMPTY),
        (Completion("The capital of", StopReason.LENGTH), EditOutcome.TRUNCATED),
        (Completion("", StopReason.LENGTH), EditOutcome.TRUNCATED),
        (Completion(ORIGINAL, StopReason.LENGTH), EditOutcome.TRUNCATED),
        (Completion("", StopReason.REFUSAL), EditOutcome.REFUSED),
        (Completion(EDITED, StopReason.REFUSAL), EditOutcome.REFUSED),
        (Completion("I'm sorry, but I can't help with this"), EditOutcome.REFUSED),
        (Completion("I cannot assist you with that request"), EditOutcome.REFUSED),
    ],
)
def test_outcomes_that_keep_the_original(completion: Completion, outcome: EditOutcome) -> None:
    assert classify(completion, ORIGINAL) == (outcome, ORIGINAL)


def test_an_apology_is_no_refusal_where_the_original_is_kept_or_apologises_too() -> None:
    apology = f"Sorry, I was wrong. {EDITED}"
    assert classify(Completion(apology), ORIGINAL) == (EditOutcome.EDITED, apology)
    assert classify(Completion("I cannot tell"), "Sorry no idea") == (EditOutcome.EDITED, "I cannot tell")
