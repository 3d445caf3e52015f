"""HelpSteer3, whose columns depend on its configuration."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.formats.base import UNDECIDED
from redpencil.formats.preference_pairs import TIE
from redpencil.records import Edit, Response

CONTEXT = [{"role": "user", "content": "Why is it dark?"}]
SAID = {"domain": "general", "language": "english", "context": CONTEXT}
PREFERENCE = {**SAID, "response1": "Night.", "response2": "No light.", "overall_preference": 2}
EDIT = {
    **SAID,
    "original_response": "Nigth.",
    "edited_response": "Night.",
    "feedback": ["typo"],
    "change_summary": "spelling",
}
QUALITY = {**SAID, "original_response": "Nigth.", "good_edited_response": "Night.", "bad_edited_response": "Day."}


@pytest.mark.parametrize(("strength", "meant"), [(-3, "first"), (-1, "first"), (0, "tie"), (3, "second")])
def test_the_sign_is_the_preference_and_its_strength_is_kept(
    one: Callable[..., Any], strength: int, meant: str
) -> None:
    found = one({**PREFERENCE, "overall_preference": strength}, "helpsteer3")
    assert (found.prompt, found.first, found.second) == ("Why is it dark?", "Night.", "No light.")
    assert (found.preference, found.annotator, found.meta["overall_preference"]) == (meant, "human", strength)


def test_edits_are_what_the_edit_configuration_gives(one: Callable[..., Any]) -> None:
    kept = {"domain": "general", "language": "english", "feedback": ["typo"], "change_summary": "spelling"}
    assert one(EDIT, "helpsteer3") == Edit("made", "Why is it dark?", "Nigth.", "Night.", "human", meta=kept)
    assert one(EDIT, "helpsteer3", "responses").response == "Nigth."
    assert one(EDIT, "helpsteer3", "examples").response == "Night."
    found = one(QUALITY, "helpsteer3")
    assert (found.original, found.edited, found.meta["bad_edited_response"]) == ("Nigth.", "Night.", "Day.")


def test_each_configuration_gives_comparisons(one: Callable[..., Any]) -> None:
    assert (one(EDIT, "helpsteer3", "comparisons").first, one(EDIT, "helpsteer3", "comparisons").second) == (
        "Night.",
        "Nigth.",
    )
    found = one(QUALITY, "helpsteer3", "comparisons")
    assert (found.first, found.second, found.meta["original_response"]) == ("Night.", "Day.", "Nigth.")


def test_feedback_gives_responses(one: Callable[..., Any]) -> None:
    row = {**SAID, "response": "Night.", "feedback": ["good"]}
    assert one(row, "helpsteer3") == Response(
        "made",
        "Why is it dark?",
        "Night.",
        meta={"domain": "general", "language": "english", "feedback": ["good"]},
    )
    assert one(row, "helpsteer3", "prompts").prompt == "Why is it dark?"


def test_ties_and_missing_preferences_are_counted(read: Callable[..., Any]) -> None:
    rows = [{**PREFERENCE, "overall_preference": value} for value in (0, None, 1)]
    found = read(rows, "helpsteer3", "responses")
    assert ([row.response for row in found.records], dict(found.tally.nothing)) == (["Night."], {TIE: 1, UNDECIDED: 1})


def test_a_preference_out_of_range_is_refused(refused: Callable[..., Any]) -> None:
    error = refused({**PREFERENCE, "overall_preference": -100}, "helpsteer3")
    assert (error.field, "from -3 to 3" in error.problem) == ("overall_preference", True)
