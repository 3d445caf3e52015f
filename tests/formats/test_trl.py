"""TRL's data set types, as its documentation defines them."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.formats.preference_pairs import APART, SAME
from redpencil.records import Comparison, Edit, EditOutcome, Example, Preference, Prompt, Response, says_finished

TEXTS = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
USER = {"role": "user", "content": "What color is the sky?"}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def test_texts_with_a_prompt_as_every_kind(one: Callable[..., Any]) -> None:
    def as_(kind: str | None) -> Any:
        return one(TEXTS, "trl-preference", kind)

    assert as_(None) == Comparison("made", "The sky is", " blue.", " green.", Preference.FIRST)
    assert as_("responses") == Response("made", "The sky is", " green.", meta={"chosen": " blue."})
    assert as_("edits") == Edit("made", "The sky is", " green.", " blue.")
    assert as_("examples") == Example("made", "The sky is", " blue.", {"rejected": " green."})
    assert as_("prompts") == Prompt("made", "The sky is", {"chosen": " blue.", "rejected": " green."})


def test_the_prompt_of_texts_may_be_their_shared_beginning(one: Callable[..., Any]) -> None:
    for chosen, rejected in ((" blue.", " green."), (" blue.", " black."), (" blue", " blue and green")):
        found = one({"chosen": "The sky is" + chosen, "rejected": "The sky is" + rejected}, "trl-preference")
        assert (found.prompt, found.first, found.second) == ("The sky is", chosen, rejected)


def test_no_prompt_is_made_up(refused: Callable[..., Any]) -> None:
    for chosen, rejected in (("Blue.", "Green."), ("Blue", "Blue!"), (" a", " b"), ("same text", "same text")):
        error = refused({"chosen": chosen, "rejected": rejected}, "trl-preference")
        assert "the prompt cannot be told" in error.problem
        assert "--format hh-rlhf" in str(error.hint)


def test_messages_with_and_without_a_prompt(one: Callable[..., Any]) -> None:
    wanted = Comparison("made", USER["content"], "Blue.", "Green.", Preference.FIRST)
    explicit = {"prompt": [USER], "chosen": [assistant("Blue.")], "rejected": [assistant("Green.")]}
    implicit = {"chosen": [USER, assistant("Blue.")], "rejected": [USER, assistant("Green.")]}
    repeated = {"prompt": USER["content"], **implicit}
    for row in (explicit, implicit, repeated):
        assert one(row, "trl-preference") == wanted


def test_a_longer_conversation_is_kept_in_meta(one: Callable[..., Any]) -> None:
    before = [USER, assistant("Blue."), {"role": "user", "content": "Sure?"}]
    row = {"chosen": [*before, assistant("Yes.")], "rejected": [*before, assistant("No.")], "source": "s"}
    found = one(row, "trl-preference", "edits")
    assert found.prompt == "User: What color is the sky?\n\nAssistant: Blue.\n\nUser: Sure?"
    assert (found.original, found.edited) == ("No.", "Yes.")
    assert found.meta == {"messages": before, "source": "s"}


def test_conversations_that_part_early_give_no_pair_but_each_its_answer(read: Callable[..., Any]) -> None:
    other = {"role": "user", "content": "And the sea?"}
    row = {"chosen": [USER, assistant("Blue.")], "rejected": [other, assistant("Green.")]}
    for kind in ("comparisons", "edits", "prompts"):
        found = read([row], "trl-preference", kind)
        assert (found.records, dict(found.tally.nothing)) == ([], {APART: 1})
        assert found.skipped[0].row == row
    (response,) = read([row], "trl-preference", "responses").records
    assert (response.prompt, response.response) == ("And the sea?", "Green.")


def test_equal_sides_are_an_edit_that_changed_nothing(one: Callable[..., Any]) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "a"}
    assert one(row, "trl-preference", "edits").outcome is EditOutcome.UNCHANGED


def test_our_own_columns_come_back(one: Callable[..., Any]) -> None:
    own = {"id": "7", "editor": "ada", "outcome": "edited", "meta": '{"kept": 0.9}'}
    found = one({**TEXTS, **own}, "trl-preference", "edits")
    assert found == Edit("7", "The sky is", " green.", " blue.", "ada", meta={"kept": 0.9})
    judged = one({**TEXTS, "preference": "second", "annotator": "bob"}, "trl-preference")
    assert judged == Comparison("made", "The sky is", " green.", " blue.", Preference.SECOND, "bob")


def test_prompt_only(one: Callable[..., Any]) -> None:
    assert one({"prompt": "The sky is", "n": 1}, "trl-prompt") == Prompt("made", "The sky is", {"n": 1})
    assert one({"prompt": [USER]}, "trl-prompt") == Prompt("made", USER["content"])


def test_messages_and_completions(one: Callable[..., Any]) -> None:
    wanted = Example("made", USER["content"], "Blue.")
    for row in (
        {"messages": [USER, assistant("Blue.")]},
        {"prompt": USER["content"], "completion": "Blue."},
        {"prompt": [USER], "completion": [assistant("Blue.")]},
    ):
        assert one(row, "trl-messages") == wanted
        assert one(row, "trl-messages", "responses") == Response("made", USER["content"], "Blue.")
        assert one(row, "trl-messages", "prompts").prompt == USER["content"]
    whole = {"messages": [USER, assistant("Blue.")]}
    assert one({**whole, "completion": 1}, "trl-messages") == Example(
        "made", USER["content"], "Blue.", {"completion": 1}
    )
    # The answer is kept, but not among the messages of the prompt.
    assert one(whole, "trl-messages", "prompts").meta == {"completion": "Blue."}
    assert one({"messages": [USER]}, "trl-messages", "prompts") == Prompt("made", USER["content"])
    turns = [{"role": "system", "content": "s"}, USER, assistant("Blue.")]
    assert one({"messages": turns}, "trl-messages", "prompts").meta == {"messages": turns[:2], "completion": "Blue."}
    for column in ("conversations", "conversation"):
        assert one({column: whole["messages"]}, "trl-messages") == wanted
        assert (
            one(
                {column: [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": "Blue."}]},
                "trl-messages",
            )
            == wanted
        )


def test_sides_of_different_kinds_are_refused(refused: Callable[..., Any]) -> None:
    error = refused({"prompt": "p", "chosen": "a", "rejected": [assistant("b")]}, "trl-preference")
    assert (error.field, "the same as in chosen" in error.problem) == ("rejected", True)
    error = refused({"prompt": "p", "chosen": None, "rejected": "b"}, "trl-preference")
    assert (error.field, "text or a list of messages, found null" in error.problem) == ("chosen", True)
    error = refused({"messages": [USER]}, "trl-messages")
    assert "answer of the assistant" in error.problem


def test_two_sides_that_are_the_same_are_no_comparison(read: Callable[..., Any]) -> None:
    rows = [{"prompt": "p", "chosen": "same", "rejected": "same"}, {"prompt": "p", "chosen": "a", "rejected": "b"}]
    found = read(rows, "trl-preference", "comparisons")
    assert [record.first for record in found.records] == ["a"]
    assert dict(found.tally.nothing) == {SAME: 1}
    assert [row.place.line for row in found.skipped] == [1]
    (edit, _) = read(rows, "trl-preference", "edits").records
    assert edit.outcome is EditOutcome.UNCHANGED


def test_a_system_column_is_the_system_message_of_a_pair(one: Callable[..., Any]) -> None:
    row = {"system": "Be brief.", "prompt": "Who?", "chosen": "Ann.", "rejected": "I think Bob."}
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    found = one(row, "trl-preference")
    assert (found.prompt, found.meta) == ("System: Be brief.\n\nUser: Who?", {"messages": turns})
    assert one({**row, "prompt": turns}, "trl-preference").meta == {"messages": turns, "system": "Be brief."}
    sides = {side: [turns[1], {"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    assert one({"system": "Be brief.", **sides}, "trl-preference").meta == {"system": "Be brief."}


@pytest.mark.parametrize("preference", ["first", "second"])
@pytest.mark.parametrize("cut", ["first_finished", "second_finished"])
def test_a_side_that_was_cut_off_stays_so_as_every_kind(one: Callable[..., Any], preference: str, cut: str) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b c", "preference": preference, "meta": {cut: False}}
    chosen, rejected = (True, False) if cut.startswith(preference) else (False, True)
    assert one(row, "trl-preference").meta == {cut: False}
    response = one(row, "trl-preference", "responses")
    assert (response.finished, cut in response.meta) == (not rejected, False)
    assert says_finished(one(row, "trl-preference", "edits")) is not rejected
    assert says_finished(one(row, "trl-preference", "examples")) is not chosen
