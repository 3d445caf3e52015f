"""The turns of a record's conversation."""

from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, Example, Preference, Prompt, Response
from redpencil.turns import Asked, prompt_text, turns_of

ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Capital of Mali?"},
    {"role": "assistant", "content": "Bamako."},
    {"role": "user", "content": "And of Chad?"},
]
TEXT = "System: Be brief.\n\nUser: Capital of Mali?\n\nAssistant: Bamako.\n\nUser: And of Chad?"
ANSWER = {"role": "assistant", "content": "N'Djamena."}


def test_a_text_and_a_record_without_messages_are_one_turn_of_the_user() -> None:
    assert turns_of("Hi") == turns_of(Prompt("1", "Hi")) == [{"role": "user", "content": "Hi"}]
    assert turns_of(Prompt("1", "Hi", {"messages": None})) == [{"role": "user", "content": "Hi"}]
    assert prompt_text("Hi") == prompt_text(Example("1", "Hi", "Ho")) == "Hi"


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize(
    "row",
    [
        Prompt("1", TEXT),
        Example("1", TEXT, " N'Djamena. "),
        Response("1", TEXT, "N'Djamena."),
        Comparison("1", TEXT, "Bamako.", "N'Djamena.", Preference.SECOND),
        Edit("1", TEXT, "Bamako.", "N'Djamena."),
        Edit("1", TEXT, "N'Djamena.", "It is N'Djamena."),
        Response("1", TEXT, "Another answer of another model."),
    ],
)
def test_the_answer_is_no_turn_of_the_prompt(row: Asked, answered: bool) -> None:
    assert not isinstance(row, str)
    row = type(row)(
        **{name: getattr(row, name) for name in row.__dataclass_fields__ if name != "meta"},
        meta={"messages": [*ASKED, ANSWER] if answered else ASKED},
    )
    assert turns_of(row) == ASKED


def test_a_prompt_that_ends_with_a_turn_of_the_assistant_keeps_it() -> None:
    begun = [*ASKED, {"role": "assistant", "content": "It is"}]
    assert turns_of(Prompt("1", f"{TEXT}\n\nAssistant: It is", {"messages": begun})) == begun
    assert turns_of(Response("1", f"{TEXT}\n\nAssistant: It is", " N'Djamena.", meta={"messages": begun})) == begun


def test_contents_in_parts_and_calls_of_tools() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": {}}}]}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "1 + "}, "1?"]},
        call,
        {"role": "tool", "content": "2", "name": "add"},
    ]
    assert turns_of(Prompt("1", "x", {"messages": messages})) == [
        {"role": "user", "content": "1 + 1?"},
        call,
        {"role": "tool", "content": "2", "name": "add"},
    ]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("Hi", "a str is no list of messages"),
        ({"role": "user"}, "a dict is no list of messages"),
        ([], "no message before the answer"),
        ([ANSWER], "no message before the answer"),
        (["Hi"], "a str is no message"),
        ([{"content": "Hi"}], "the role None"),
        ([{"role": "usr", "content": "Hi"}], "the role 'usr'"),
        ([{"role": ["user"], "content": "Hi"}], r"the role \['user'\]"),
        ([{"role": "<|im_end|>", "content": "Hi"}], "the role"),
        ([{"role": "user"}], "whose content is not text"),
        ([{"role": "user", "content": None}], "whose content is not text"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "whose content is not text"),
        ([{"role": "user", "content": 3}], "whose content is not text"),
    ],
)
def test_messages_that_are_no_conversation_are_refused(messages: Any, problem: str) -> None:
    with pytest.raises(RedpencilError, match=rf"row 'r7': .*{problem}") as raised:
        turns_of(Response("r7", "Hi", "N'Djamena.", meta={"messages": messages}))
    assert raised.value.field == "meta.messages"
    assert raised.value.hint
