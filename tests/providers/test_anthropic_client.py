"""Anthropic's API: what is sent and how answers are read."""

import sys
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.anthropic_client import AnthropicClient
from redpencil.providers.base import Completion, Message, StopReason, Usage
from redpencil.providers.client import MalformedAnswerError


def _body(**changes: Any) -> dict[str, Any]:
    return {
        "content": [{"type": "text", "text": "edited"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    } | changes


def test_the_body_holds_the_conversation_as_the_api_takes_it() -> None:
    turns = [
        Message("system", "Be brief."),
        Message("system", "Be kind."),
        Message("user", "Edit \ud83d this."),
        Message("assistant", "Here is my attempt: \n"),
    ]
    assert AnthropicClient("claude-x", max_tokens=7).body(turns) == {
        "model": "claude-x",
        "max_tokens": 7,
        "system": "Be brief.\n\nBe kind.",
        "messages": [
            {"role": "user", "content": "Edit \ufffd this."},
            {"role": "assistant", "content": "Here is my attempt:"},
        ],
    }


def test_temperature_and_further_parameters_are_sent_only_where_given() -> None:
    client = AnthropicClient("m", temperature=0.0, extra={"thinking": {"type": "disabled"}})
    body = client.body([Message("user", "hi")])
    assert (body["temperature"], body["thinking"]) == (0.0, {"type": "disabled"})
    assert "temperature" not in AnthropicClient("m").body([Message("user", "hi")])


def test_a_schema_goes_beside_the_effort_and_decides_answers() -> None:
    schema = {"type": "object", "properties": {}}
    client = AnthropicClient("m", schema=schema, extra={"output_config": {"effort": "low"}})
    form = {"format": {"type": "json_schema", "schema": schema}, "effort": "low"}
    assert client.body([Message("user", "q")])["output_config"] == form
    assert AnthropicClient("m", schema=schema).identity == {**AnthropicClient("m").identity, "schema": schema}
    assert "output_config" not in AnthropicClient("m").body([Message("user", "q")])


def test_the_identity_tells_what_decides_answers_and_nothing_else(key: str) -> None:
    client = AnthropicClient("m", temperature=0.5, base_url="http://user:pw@localhost:1")
    assert client.identity == {
        "provider": "anthropic",
        "server": "http://localhost:1",
        "model": "m",
        "max_tokens": 4096,
        "temperature": 0.5,
    }
    assert key not in repr(client)
    assert client.name == "m"


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", StopReason.END),
        ("stop_sequence", StopReason.END),
        ("max_tokens", StopReason.LENGTH),
        ("model_context_window_exceeded", StopReason.LENGTH),
        ("refusal", StopReason.REFUSAL),
    ],
)
def test_stop_reasons(reason: str, stop: StopReason) -> None:
    assert AnthropicClient("m").completion(_body(stop_reason=reason)).stop_reason is stop


def test_blocks_of_text_are_joined_and_thinking_is_left_out() -> None:
    content = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a "},
        {"type": "text", "text": "b\udc00"},
    ]
    assert AnthropicClient("m").completion(_body(content=content)).text == "a b\ufffd"
    assert AnthropicClient("m").completion(_body(content=[])).text == ""


def test_cached_input_counts_and_broken_usage_does_not_spoil_an_answer() -> None:
    usage = {"input_tokens": 3, "cache_creation_input_tokens": 4, "cache_read_input_tokens": None, "output_tokens": 2}
    client = AnthropicClient("m")
    assert client.completion(_body(usage=usage)) == Completion("edited", StopReason.END, Usage(7, 2))
    assert client.completion(_body(usage={"input_tokens": "3", "output_tokens": 2})).usage is None
    assert client.completion(_body(usage=None)).usage is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        _body(content=None),
        _body(content="edited"),
        _body(content=[{"type": "text"}]),
        _body(stop_reason=None),
    ],
)
def test_a_body_without_an_answer_is_malformed(body: object) -> None:
    with pytest.raises(MalformedAnswerError):
        AnthropicClient("m").completion(body)


@pytest.mark.parametrize("value", ["", "  ", "k\u00e9y", "a\x00b"])
def test_a_missing_key_names_its_variable(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"ANTHROPIC_API_KEY": value})
    with pytest.raises(RedpencilError, match="ANTHROPIC_API_KEY") as caught:
        AnthropicClient("m").connect(1.0, None)
    assert "export ANTHROPIC_API_KEY" in str(caught.value.hint)


def test_without_the_sdk_the_hint_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(RedpencilError) as caught:
        AnthropicClient("m").connect(1.0, None)
    assert caught.value.hint == "pip install 'redpencil[llm]'"


def test_the_address_is_the_given_one_then_the_environments_then_anthropics(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AnthropicClient("m").server == "https://api.anthropic.com"
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://proxy:1/")
    assert AnthropicClient("m").server == "http://proxy:1"
    assert AnthropicClient("m", base_url="http://mine:2").server == "http://mine:2"
