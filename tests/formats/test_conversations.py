"""Conversations become prompts without losing a message."""

from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.conversations import answer_in, conversation_in, messages_in, prompt_of, render


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
    prompt = prompt_of(messages_in(named, "prompt"), "prompt")
    assert (prompt.text, prompt.meta) == ("Hello", {"messages": named})


def test_parts_of_text_are_joined() -> None:
    arena = {"type": "text", "text": "lo", "image": None, "mimeType": None}
    for parts in (["Hel", "lo"], [{"type": "text", "text": "Hel"}, arena], [{"text": "Hello"}], {"text": "Hello"}):
        assert messages_in([say("user", parts)], "prompt") == (say("user", "Hello"),)


CALL = {"id": "1", "type": "function", "function": {"name": "calc", "arguments": '{"x": 2}'}}


def test_sharegpt_becomes_openai() -> None:
    found = messages_in(
        [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "h", "weight": None},
            {"from": "function_call", "value": '{"name": "calc", "arguments": {"x": 2}}'},
            {"from": "observation", "value": "4"},
            {"from": "gpt", "value": "g", "weight": 1},
            {"from": "User", "value": "u"},
            {"from": "tool", "value": "t"},
        ],
        "conversations",
    )
    called = {"name": "calc", "arguments": {"x": 2}}
    assert found == (
        say("system", "s"),
        say("user", "h"),
        say("assistant", "", tool_calls=[{"type": "function", "function": called}]),
        say("tool", "4"),
        say("assistant", "g", weight=1),
        say("user", "u"),
        say("tool", "t"),
    )
    assert messages_in([{"from": "function_call", "value": "free text"}], "c") == (say("assistant", "free text"),)
    two = messages_in([{"from": "function_call", "value": '[{"name": "a"}, {"name": "b"}]'}], "c")
    assert [call["function"]["name"] for call in two[0]["tool_calls"]] == ["a", "b"]
    odd = messages_in([{"from": "function_call", "value": '{"name": "a", "n": NaN}'}], "c")
    assert odd[0]["tool_calls"][0]["function"] == {"name": "a", "n": None}
    with pytest.raises(RedpencilError, match="half of a surrogate pair"):
        messages_in([{"from": "function_call", "value": '{"name": "\\ud83d"}'}], "c")


def test_calls_of_tools_and_null_content() -> None:
    turns = [
        say("user", "2+2?"),
        say("assistant", None, tool_calls=[CALL]),
        say("tool", "4", tool_call_id="1", name="calc"),
        say("assistant", "4"),
        say("developer", "d"),
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        say("function", None, name="f"),
    ]
    found = messages_in(turns, "messages")
    assert found[1] == say("assistant", "", tool_calls=[CALL])
    assert found[2] == turns[2]
    assert found[4] == say("system", "d")
    assert found[5] == say(
        "assistant", "", tool_calls=[{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    )
    assert found[6] == say("tool", "", name="f")
    assert render(found[:3]) == ('User: 2+2?\n\nAssistant: {"name": "calc", "arguments": "{\\"x\\": 2}"}\n\nTool: 4')
    assert answer_in(found[:4], "messages").text == "4"
    with pytest.raises(RedpencilError, match="calls a tool and has no text"):
        answer_in(found[:2], "messages")


def test_forms_in_between() -> None:
    for message in (
        {"role": "human", "value": "x"},
        {"from": "user", "content": "x"},
        {"role": "prompter", "text": "x"},
    ):
        assert messages_in([message], "c") == (say("user", "x"),)


def test_parts_of_gemini() -> None:
    rows = [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}, {"role": "model", "parts": [{"text": "c"}]}]
    assert messages_in(rows, "contents") == (say("user", "ab"), say("assistant", "c"))


def test_conversations_in_tables_are_json_text() -> None:
    with pytest.raises(RedpencilError, match="half of a surrogate pair") as caught:
        conversation_in('[{"from": "human", "value": "\\ud83d"}]', "c")
    assert caught.value.field == "c"
    assert conversation_in('[{"from": "human", "value": "h"}]', "c") == (say("user", "h"),)
    assert conversation_in("[no json", "c") == (say("user", "[no json"),)


def test_a_call_with_a_key_twice_is_refused() -> None:
    call = {"from": "function_call", "value": '{"name": "f", "name": "g", "arguments": {}}'}
    with pytest.raises(RedpencilError, match="the key 'name' is in an object twice"):
        conversation_in([{"from": "human", "value": "hi"}, call], "conversations")


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
        ([{"speaker": "human", "value": "x"}], "messages such as"),
        ([say("critic", "x")], "role 'critic'"),
        ([{"from": "narrator", "value": "x"}], "role 'narrator'"),
        ([say("assistant", None)], "text as a message's content, found null"),
        ([say("user", {"url": "x"})], "type 'text', and records hold only text"),
        ([say("user", [{"type": "text", "text": "x", "image": "y"}])], "type 'image'"),
        ([say("user", [{"type": "image_url", "image_url": {"url": "x"}}])], "type 'image_url'"),
        ([say("user", [{"type": "thinking", "thinking": "x"}])], "type 'thinking'"),
        ([say("user", [7])], "text in each part of a message, found a number"),
        ([say("user", None)], "text as a message's content, found null"),
        ([say("user", [{"type": "image", "url": "x"}])], "type 'image', and records hold only text"),
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
