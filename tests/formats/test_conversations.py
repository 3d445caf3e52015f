"""Conversations become prompts without losing a message."""

from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.conversations import answer_in, messages_in, prompt_of, render


def say(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_one_turn_of_the_user_is_its_text() -> None:
    for value in ("Hello", [say("user", "Hello")], [say("user", "Hello", tool_calls=None)]):
        prompt = prompt_of(messages_in(value, "prompt"), "prompt")
        assert (prompt.text, prompt.meta) == ("Hello", {})


def test_more_turns_are_rendered_and_kept() -> None:
    turns = [say("system", "Be brief."), say("user", "Mali?"), say("assistant", "Bamako."), say("user", "Chad?")]
    prompt = prompt_of(messages_in(turns, "prompt"), "prompt")
    assert prompt.text == "System: Be brief.\n\nUser: Mali?\n\nAssistant: Bamako.\n\nUser: Chad?"
    assert prompt.meta == {"messages": turns}
    assert render(turns) == prompt.text


def test_what_a_text_cannot_hold_is_kept() -> None:
    named = [say("user", "Hello", name="Ada")]
    parts = [say("user", [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}])]
    for turns in (named, parts):
        prompt = prompt_of(messages_in(turns, "prompt"), "prompt")
        assert (prompt.text, prompt.meta) == ("Hello", {"messages": turns})


def test_the_last_message_is_the_answer() -> None:
    answer = say("assistant", "Paris.", thinking="hm")
    found = answer_in(messages_in([say("user", "France?"), answer], "chosen"), "chosen")
    assert (list(found.before), found.text) == ([say("user", "France?")], "Paris.")
    assert found.meta == {"chosen_message": answer}
    assert answer_in([say("assistant", "Paris.")], "chosen").meta == {}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (7, "text or a list of messages, found a number '7'"),
        ([7], "messages such as"),
        ([{"role": 1, "content": "x"}], "messages such as"),
        ([{"from": "human", "value": "x"}], "messages such as"),
        ([say("user", None)], "text as a message's content, found null"),
        ([say("user", [{"type": "image", "url": "x"}])], "text in each part of a message, found an object"),
    ],
)
def test_what_is_no_message_is_refused(value: object, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        messages_in(value, "prompt")
    assert caught.value.field == "prompt"


def test_a_conversation_needs_a_prompt_and_an_answer() -> None:
    with pytest.raises(RedpencilError, match="no message before the answer"):
        prompt_of([], "chosen")
    with pytest.raises(RedpencilError, match="last message, found one of role 'user'"):
        answer_in([say("user", "x")], "chosen")
    with pytest.raises(RedpencilError, match="last message, found none"):
        answer_in([], "chosen")
