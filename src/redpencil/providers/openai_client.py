"""The chat completions API by the `openai` SDK: OpenAI, and every server that speaks it (vLLM, Ollama, proxies)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from redpencil.providers.base import Completion, Failure, Message, Result, StopReason, token_usage
from redpencil.providers.client import BatchFormat, Client, MalformedAnswerError, ReportedError
from redpencil.providers.redact import message_of, one_line
from redpencil.providers.stops import error_in, model_stop_reason, stop_reason, text_of
from redpencil.text import valid_text

LengthParameter = Literal["max_tokens", "max_completion_tokens"]

_CONTINUE: Final = {"continue_final_message": True, "add_generation_prompt": False}
"""Tells vLLM to continue a last turn of the assistant instead of answering it."""


@dataclass(frozen=True, slots=True)
class OpenAIClient(Client):
    """A model of OpenAI's, or of a server that speaks its API. A `base_url` includes the `/v1`.

    Args:
        length_parameter: name under which `max_tokens` is sent. None sends `max_completion_tokens` to OpenAI, whose
            newer models refuse the old name, and `max_tokens` to others, of which many know only that. It does not
            change an answer, so it is not part of the identity.
    """

    length_parameter: LengthParameter | None = None

    provider: ClassVar = "openai"
    label: ClassVar = "OpenAI's models, and servers that speak its API,"
    sdk_class: ClassVar = "AsyncOpenAI"
    path: ClassVar = "/chat/completions"
    key_variable: ClassVar = "OPENAI_API_KEY"
    key_hint: ClassVar = "or name a server that needs none with --base-url"
    placeholder_key: ClassVar = "none"  # the SDK insists on one
    address_variable: ClassVar = "OPENAI_BASE_URL"
    default_address: ClassVar = "https://api.openai.com/v1"
    # https://platform.openai.com/docs/api-reference/batch/create
    batch_format: ClassVar = BatchFormat(50_000, 200_000_000)

    def _output_format(self) -> dict[str, Any]:
        """Structured output, https://developers.openai.com/api/docs/guides/structured-outputs."""
        if self.schema is None:
            return {}
        named = {"name": "answer", "strict": True, "schema": dict(self.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        other = self._other_server is not None
        length = self.length_parameter or ("max_tokens" if other else "max_completion_tokens")
        body: dict[str, Any] = {"model": self.model, length: self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        body |= {**self._output_format(), **self.extra}
        if other and messages and messages[-1].role == "assistant":
            body |= _CONTINUE
        turns = [{"role": turn.role, "content": valid_text(turn.content)} for turn in messages]
        return {**body, "messages": turns}

    def _completion(self, body: object) -> Completion:
        """Return the text of the first choice. A message with a `refusal` and no text gives the refusal's words."""
        choices = body.get("choices") if isinstance(body, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(body, dict) or not isinstance(choice, dict) or not isinstance(message, dict):
            raise MalformedAnswerError("it has no message in 'choices'")
        error = error_in({"error": choice.get("error") or message.get("error")})
        if error is not None:
            raise ReportedError(*error)
        refusal, finish = message.get("refusal"), choice.get("finish_reason")
        try:
            text = text_of(message.get("content"))
        except ValueError as error:
            raise MalformedAnswerError(str(error)) from None
        if not isinstance(finish, str | None) or not isinstance(refusal, str | None):
            raise MalformedAnswerError("'finish_reason' or 'refusal' is not a text")
        if message.get("tool_calls") or message.get("function_call"):
            finish = "tool_calls"
        stop = StopReason.REFUSAL if refusal else stop_reason(finish or "stop", "finish_reason")
        stop = model_stop_reason(stop, choice.get("native_finish_reason"), "native_finish_reason")  # OpenRouter's
        if text is None and stop is not StopReason.END:
            text = refusal or ""
        if not isinstance(text, str):
            raise MalformedAnswerError("the message has no text in 'content'")
        counts = body.get("usage")
        usage = None
        if isinstance(counts, dict):
            usage = token_usage(counts.get("prompt_tokens"), counts.get("completion_tokens"))
        return Completion(valid_text(text), stop, usage)

    def batch_row(self, key: str, messages: Sequence[Message]) -> dict[str, Any]:
        return {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": self.body(messages)}

    def batch_result(self, row: Mapping[str, Any]) -> Result | None:
        response, error = row.get("response"), row.get("error")
        if isinstance(response, dict) and isinstance(response.get("status_code"), int):
            if response["status_code"] == 200:
                return self.result(response.get("body"))
            message = message_of(json.dumps(response.get("body")))
            return Failure(one_line(f"HTTP {response['status_code']}: {message}"))
        if isinstance(error, dict):
            parts = [str(error[name]) for name in ("code", "message") if error.get(name) is not None]
            return Failure(one_line(": ".join(parts) or "failed in the batch"))
        return None
