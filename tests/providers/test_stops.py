"""Words for the end of an answer, and errors in bodies with status 200."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.providers.anthropic_client import AnthropicClient
from redpencil.providers.base import Completion, Failure, StopReason
from redpencil.providers.client import Client, MalformedAnswerError, ReportedError
from redpencil.providers.openai_client import OpenAIClient
from redpencil.providers.stops import UnknownEndError, error_in, stop_reason

OPENAI, ANTHROPIC = OpenAIClient("m"), AnthropicClient("m")


def openai_body(word: Any, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "It is torn"} | message, "finish_reason": word}]}


def anthropic_body(word: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": "It is torn"}], "stop_reason": word}


BOTH = pytest.mark.parametrize(("client", "body"), [(OPENAI, openai_body), (ANTHROPIC, anthropic_body)])


@BOTH
@pytest.mark.parametrize(
    ("word", "stop"),
    [
        ("stop", StopReason.END),
        ("STOP", StopReason.END),
        ("End_Turn", StopReason.END),
        ("eos", StopReason.END),
        ("eos_token", StopReason.END),
        ("stop_sequence", StopReason.END),
        ("COMPLETE", StopReason.END),
        ("FINISH_REASON_STOP", StopReason.END),
        ("length", StopReason.LENGTH),
        ("MAX_TOKENS", StopReason.LENGTH),
        ("model_length", StopReason.LENGTH),
        ("max_output_tokens", StopReason.LENGTH),
        ("model_context_window_exceeded", StopReason.LENGTH),
        ("content_filter", StopReason.REFUSAL),
        ("refusal", StopReason.REFUSAL),
        ("SAFETY", StopReason.REFUSAL),
        ("guardrail_intervened", StopReason.REFUSAL),
        ("PROHIBITED_CONTENT", StopReason.REFUSAL),
    ],
)
def test_one_word_means_the_same_for_both_clients(client: Client, body: Any, word: str, stop: StopReason) -> None:
    assert client.completion(body(word)) == Completion("It is torn", stop)


@BOTH
@pytest.mark.parametrize(
    ("word", "again"),
    [
        *((word, True) for word in ("error", "abort", "ABORTED", "cancelled", "insufficient_system_resource")),
        *(
            (word, False)
            for word in ("tool_calls", "tool_use", "pause_turn", "stopped?", "unknown", "stop-ish", "\u505c")
        ),
    ],
)
def test_any_other_word_is_no_answer_and_is_told(client: Client, body: Any, word: str, again: bool) -> None:
    with pytest.raises(UnknownEndError, match="no proper end") as caught:
        client.completion(body(word))
    assert caught.value.again is again
    assert client.result(body(word)) == Failure(str(caught.value))  # in a batch, by the same rule
    assert word in str(caught.value)


@given(st.text(min_size=1))
def test_no_word_that_nobody_knows_is_an_end(word: str) -> None:
    try:
        stop = stop_reason(word, "finish_reason")
    except UnknownEndError:
        return
    plain = word.casefold().strip()
    assert stop is not StopReason.END or plain in ("stop", "end", "eos", "complete", "endoftext") or "_" in plain


@pytest.mark.parametrize("word", [None, "stop", ""])
@pytest.mark.parametrize("call", [{"tool_calls": [{"id": "1"}]}, {"function_call": {"name": "f"}}])
def test_a_call_of_a_tool_is_no_answer_whatever_the_word(word: str | None, call: dict[str, Any]) -> None:
    with pytest.raises(UnknownEndError, match="tool_calls"):
        OPENAI.completion(openai_body(word, **call))
    assert OPENAI.completion(openai_body(word, tool_calls=[], function_call=None)).stop_reason is StopReason.END


@BOTH
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ({"message": "Provider returned error", "code": 429}, 429, "Provider returned error"),
        ({"message": "down", "code": "502"}, 502, "down"),
        ({"type": "overloaded_error", "message": "Overloaded"}, 529, "Overloaded"),
        ({"type": "rate_limit_error", "message": "slow"}, 429, "slow"),
        ({"status": "RESOURCE_EXHAUSTED", "message": "quota"}, 429, "quota"),
        ({"code": "invalid_api_key", "message": "who?"}, 401, "who?"),
        ({"code": "context_length_exceeded", "type": "invalid_request_error", "message": "long"}, 400, "long"),
        ({"type": "server_error", "message": "oops"}, None, "oops"),
        ("it broke", None, "it broke"),
        ({"reason": 7}, None, '{"reason": 7}'),
    ],
)
def test_an_error_in_a_body_wins_over_an_answer_beside_it(
    client: Client, body: Any, error: Any, status: int | None, words: str
) -> None:
    for whole in (
        {"error": error},
        {**body("stop"), "error": error},
        {"choices": None, "content": None, "error": error},
    ):
        with pytest.raises(ReportedError) as caught:
            client.completion(whole)
        assert (caught.value.status, str(caught.value)) == (status, words)
        told = client.result(whole)
        assert isinstance(told, Failure)
        assert told.problem == (
            f"an error in the body: {words}" if status is None else f"HTTP {status} in the body: {words}"
        )


def test_an_error_of_the_choice_is_one_too() -> None:
    body = openai_body("error")
    body["choices"][0]["error"] = {"code": 502, "message": "upstream closed"}
    with pytest.raises(ReportedError, match="upstream closed") as caught:
        OPENAI.completion(body)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"object": "error", "message": "no such model", "code": 404}, (404, "no such model")),
        ({"detail": "Not authenticated"}, (None, "Not authenticated")),
        ({"errors": [{"message": "a"}]}, (None, [{"message": "a"}])),
        ([{"error": {"code": 429, "message": "a"}}], (429, {"code": 429, "message": "a"})),
        ({"code": 429, "msg": "a"}, (429, "a")),
        ({"choices": None, "base_resp": {"status_code": 1002}}, (None, {"status_code": 1002})),
        ({"choices": [{}], "base_resp": {"status_code": 1002}}, (None, {"status_code": 1002})),
        ({"choices": [{}], "base_resp": {"status_code": 0}}, None),
        ({"message": "hello", "choices": []}, None),
        ({"error": None, "choices": []}, None),
        ({"error": {}, "choices": []}, None),
        ({"error": {"code": None, "message": ""}, "content": []}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_where_an_error_may_stand(body: object, found: object) -> None:
    assert error_in(body) == found


@BOTH
def test_no_choices_at_all_is_a_broken_body(client: Client, body: Any) -> None:
    del body
    with pytest.raises(MalformedAnswerError):
        client.completion({"choices": None, "content": None, "usage": {}})


def test_content_in_parts_is_joined_without_thinking() -> None:
    parts: list[object] = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "It is"},
        {"type": "text", "text": " 4."},
    ]
    assert OPENAI.completion(openai_body("stop", content=parts)) == Completion("It is 4.")
    with pytest.raises(MalformedAnswerError, match="no 'text'"):
        OPENAI.completion(openai_body("stop", content=[{"type": "text"}]))
    with pytest.raises(MalformedAnswerError):
        OPENAI.completion(openai_body("stop", content=["It is"]))


def test_an_error_in_the_message_is_no_answer() -> None:
    with pytest.raises(ReportedError, match="boom"):
        OPENAI.completion(openai_body("stop", error="boom"))


@pytest.mark.parametrize(
    ("native", "stop"),
    [
        ("MAX_TOKENS", StopReason.LENGTH),
        ("SAFETY", StopReason.REFUSAL),
        ("completed", StopReason.END),
        (None, StopReason.END),
    ],
)
def test_the_models_own_word_counts_behind_a_router(native: str | None, stop: StopReason) -> None:
    body = openai_body("stop")
    body["choices"][0]["native_finish_reason"] = native
    assert OPENAI.completion(body).stop_reason is stop


def test_a_model_that_broke_off_behind_a_router_has_no_answer() -> None:
    body = openai_body("stop")
    body["choices"][0]["native_finish_reason"] = "upstream_error"
    with pytest.raises(UnknownEndError, match="upstream_error"):
        OPENAI.completion(body)
