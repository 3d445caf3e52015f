"""The chat completions API: what is sent and how answers are read."""

import sys
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Message, StopReason, Usage, request_key
from redpencil.providers.client import MalformedAnswerError
from redpencil.providers.openai_client import OpenAIClient

LOCAL = "http://localhost:8000/v1"
PRIMED = [Message("user", "Edit this."), Message("assistant", "Here is")]


def _body(finish: Any = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "edited"} | message, "finish_reason": finish}], "usage": usage}


def test_openai_gets_its_new_name_for_the_length_and_others_the_old_one() -> None:
    assert OpenAIClient("m", max_tokens=7).body(PRIMED[:1]) == {
        "model": "m",
        "max_completion_tokens": 7,
        "messages": [{"role": "user", "content": "Edit this."}],
    }
    assert OpenAIClient("m", max_tokens=7, base_url=LOCAL).body(PRIMED[:1])["max_tokens"] == 7
    other = OpenAIClient("m", max_tokens=7, base_url=LOCAL, length_parameter="max_completion_tokens")
    assert other.body(PRIMED[:1])["max_completion_tokens"] == 7


def test_servers_of_ones_own_are_told_to_go_on_from_a_primed_answer() -> None:
    body = OpenAIClient("m", base_url=LOCAL).body(PRIMED)
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    for client, turns in ((OpenAIClient("m"), PRIMED), (OpenAIClient("m", base_url=LOCAL), PRIMED[:1])):
        assert "continue_final_message" not in client.body(turns)


def test_the_environments_server_is_a_server_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenAIClient("m").server == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    assert OpenAIClient("m").server == LOCAL
    assert "max_tokens" in OpenAIClient("m").body(PRIMED)


def test_the_identity_tells_what_decides_answers_and_nothing_else(key: str) -> None:
    client = OpenAIClient("m", temperature=0.5, base_url=LOCAL, extra={"reasoning_effort": "low"})
    assert client.identity == {
        "provider": "openai",
        "server": LOCAL,
        "model": "m",
        "max_tokens": 4096,
        "temperature": 0.5,
        "extra": {"reasoning_effort": "low"},
    }
    assert key not in repr(client)


def test_two_servers_do_not_share_answers_and_two_spellings_of_one_do() -> None:
    servers = [None, LOCAL, "http://other:8000/v1", "https://other:8000/v1", "http://other:8000/v2"]
    keys = {request_key(OpenAIClient("m", base_url=url).identity, PRIMED) for url in servers}
    assert len(keys) == 5
    for url in ("http://Other:8000/v1/", "http://me:secret@other:8000/v1"):
        assert request_key(OpenAIClient("m", base_url=url).identity, PRIMED) in keys


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        ("stop", StopReason.END),
        (None, StopReason.END),
        ("eos_token", StopReason.END),
        ("length", StopReason.LENGTH),
        ("content_filter", StopReason.REFUSAL),
    ],
)
def test_finish_reasons(finish: str | None, stop: StopReason) -> None:
    assert OpenAIClient("m").completion(_body(finish)) == Completion("edited", stop)


def test_a_refusal_is_one_whatever_the_finish_reason() -> None:
    assert OpenAIClient("m").completion(_body(content=None, refusal="No.")) == Completion("No.", StopReason.REFUSAL)


def test_thinking_that_used_up_all_tokens_leaves_an_empty_cut_answer() -> None:
    assert OpenAIClient("m").completion(_body("length", content=None)) == Completion("", StopReason.LENGTH)


def test_text_is_made_valid_and_usage_read() -> None:
    body = _body(usage={"prompt_tokens": 3, "completion_tokens": 2}, content="a\ud83d")
    assert OpenAIClient("m").completion(body) == Completion("a\ufffd", StopReason.END, Usage(3, 2))
    assert OpenAIClient("m").completion(_body(usage={"prompt_tokens": None})).usage is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [7]},
        {"choices": [{"message": None}]},
        {"choices": "stop"},
        _body(content=None),
        _body(content=7),
        _body(finish=7),
        _body(refusal=7),
    ],
)
def test_a_body_without_an_answer_is_malformed(body: object) -> None:
    with pytest.raises(MalformedAnswerError):
        OpenAIClient("m").completion(body)


def test_a_schema_is_sent_as_the_response_format_and_decides_answers() -> None:
    schema = {"type": "object", "properties": {}}
    client = OpenAIClient("m", base_url=LOCAL, schema=schema)
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    assert client.body([Message("user", "q")])["response_format"] == form
    assert client.identity == {**OpenAIClient("m", base_url=LOCAL).identity, "schema": schema}
    own = OpenAIClient("m", extra={"response_format": {"type": "json_object"}}, schema=schema)
    assert own.body([Message("user", "q")])["response_format"] == {"type": "json_object"}
    assert "response_format" not in OpenAIClient("m").body([Message("user", "q")])


def test_openai_needs_a_key_and_a_server_of_ones_own_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(RedpencilError, match="OPENAI_API_KEY") as caught:
        OpenAIClient("m").connect(1.0, None)
    assert "--base-url" in str(caught.value.hint)
    connection = OpenAIClient("m", base_url=LOCAL).connect(1.0, None)
    assert (connection.sdk.api_key, connection.key) == ("none", "")


def test_without_the_sdk_the_hint_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(RedpencilError) as caught:
        OpenAIClient("m").connect(1.0, None)
    assert caught.value.hint == "pip install 'redpencil[llm]'"
