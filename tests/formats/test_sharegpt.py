"""ShareGPT's conversations as every kind, and those of LLaMA-Factory."""

import json
from collections.abc import Callable
from typing import Any

from redpencil.records import Comparison, Example, Preference, Prompt, Response

HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}
MORE = [
    {"from": "system", "value": "s"},
    HUMAN,
    GPT,
    {"from": "human", "value": "Who?"},
    {"from": "gpt", "value": "Me."},
]
MESSAGES = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Who?"},
]


def test_a_conversation_as_every_kind(one: Callable[..., Any]) -> None:
    row = {"conversations": [HUMAN, GPT], "source": "x"}
    assert one(row, "sharegpt") == Example("made", "Hi", "Hello", {"source": "x"})
    assert one(row, "sharegpt", "responses") == Response("made", "Hi", "Hello", meta={"source": "x"})
    assert one(row, "sharegpt", "prompts") == Prompt("made", "Hi", {"source": "x", "completion": "Hello"})
    assert one({"conversations": json.dumps([HUMAN, GPT])}, "sharegpt").response == "Hello"


def test_turns_are_kept_as_messages_with_the_usual_roles(one: Callable[..., Any]) -> None:
    found = one({"conversations": MORE}, "sharegpt")
    assert (found.prompt, found.response) == ("System: s\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Who?", "Me.")
    assert found.meta == {"messages": MESSAGES}
    # The column `system` is the system message, unless there is one.
    assert one({"conversations": MORE[1:], "system": "s"}, "sharegpt") == found
    both = one({"conversations": MORE, "system": "other"}, "sharegpt")
    assert both.meta == {"messages": MESSAGES, "system": "other"}
    open_end = one({"conversations": MORE[:4]}, "sharegpt", "prompts")
    assert (open_end.prompt, open_end.meta) == (found.prompt, found.meta)


def test_pairs_of_llama_factory(one: Callable[..., Any]) -> None:
    row = {
        "conversations": MORE[:4],
        "chosen": {"from": "gpt", "value": "Me."},
        "rejected": {"from": "gpt", "value": "No."},
    }
    found = one(row, "sharegpt")
    assert found == Comparison("made", found.prompt, "Me.", "No.", Preference.FIRST, meta={"messages": MESSAGES})
    assert one(row, "sharegpt", "responses").response == "No."
    assert one(row, "sharegpt", "examples").response == "Me."
    assert one({**row, "chosen": "Me.", "rejected": "No."}, "sharegpt") == found


def test_tools_are_kept(one: Callable[..., Any]) -> None:
    turns = [
        HUMAN,
        {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
        {"from": "observation", "value": "4"},
        GPT,
    ]
    found = one({"conversations": turns, "tools": "[]"}, "sharegpt")
    assert [message["role"] for message in found.meta["messages"]] == ["user", "assistant", "tool"]
    assert found.meta["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}
    assert (found.response, found.meta["tools"]) == ("Hello", "[]")


def test_a_conversation_without_an_answer_is_refused(refused: Callable[..., Any]) -> None:
    assert refused({"conversations": [HUMAN]}, "sharegpt").field == "conversations"
    assert "role 'gtp'" in refused({"conversations": [HUMAN, {"from": "gtp", "value": "x"}]}, "sharegpt").problem


def test_a_pair_whose_conversation_has_the_answer_already_is_refused(refused: Callable[..., Any]) -> None:
    error = refused({"conversations": MORE, "chosen": [HUMAN, GPT], "rejected": [HUMAN, GPT]}, "sharegpt")
    assert (error.field, "trl-preference" in str(error.hint)) == ("conversations", True)
