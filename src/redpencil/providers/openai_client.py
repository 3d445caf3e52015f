"""The chat completions API by the `openai` SDK: OpenAI, and every server that speaks it (vLLM, Ollama, proxies)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Message, StopReason, Usage, counted
from redpencil.providers.hosted import (
    MISSING_SDK,
    Connection,
    Hook,
    Limits,
    MalformedAnswerError,
    checked_sdk,
    http_client,
)
from redpencil.providers.redact import shown_address, valid_text

LengthParameter = Literal["max_tokens", "max_completion_tokens"]

_STOPS: Final = {
    "length": StopReason.LENGTH,
    "max_tokens": StopReason.LENGTH,
    "content_filter": StopReason.REFUSAL,
}
"""Reasons to stop before the end; servers have many names for the end."""

_PLACEHOLDER_KEY: Final = "none"
"""Sent to servers of one's own, most of which want no key; the SDK insists on one."""

_CONTINUE: Final = {"continue_final_message": True, "add_generation_prompt": False}
"""How vLLM is told to go on from a last turn of the assistant instead of answering it."""


@dataclass(frozen=True, slots=True)
class OpenAIClient:
    """A model of OpenAI's, or of a server that speaks its API.

    Args:
        model: its name.
        max_tokens: most tokens of an answer; what a model thinks counts too.
        temperature: None leaves it to the model.
        base_url: another server, with its `/v1`; None for OPENAI_BASE_URL or OpenAI's own.
        length_parameter: under which name `max_tokens` is sent. None sends `max_completion_tokens` to OpenAI, whose
            newer models refuse the old name, and `max_tokens` to others, of which many know only that.
        extra: further parameters of the API, such as `{"reasoning_effort": "low"}`.
        schema: JSON schema that answers have to fit, where the server can see to that.
    """

    model: str
    max_tokens: int = 4096
    temperature: float | None = None
    base_url: str | None = None
    length_parameter: LengthParameter | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model

    @property
    def identity(self) -> Mapping[str, Any]:
        """Provider, model and parameters; under which name `max_tokens` is sent decides no answer."""
        others: dict[str, Any] = {"extra": dict(self.extra)} if self.extra else {}
        if self.schema is not None:
            others["schema"] = dict(self.schema)
        warmth = {} if self.temperature is None else {"temperature": self.temperature}
        return {"provider": "openai", "model": self.model, "max_tokens": self.max_tokens, **warmth, **others}

    @property
    def path(self) -> str:
        """Where messages are posted, behind the `/v1` of the address."""
        return "/chat/completions"

    @property
    def key_variable(self) -> str:
        """The environment variable with the API key."""
        return "OPENAI_API_KEY"

    @property
    def address_variable(self) -> str:
        """The environment variable that may name another server."""
        return "OPENAI_BASE_URL"

    @property
    def server(self) -> str:
        """The server's address, as it may be shown."""
        return shown_address(self._other_server() or "https://api.openai.com/v1")

    def _other_server(self) -> str | None:
        return self.base_url or os.environ.get(self.address_variable) or None

    def _others(self) -> dict[str, Any]:
        warmth = {} if self.temperature is None else {"temperature": self.temperature}
        return {**warmth, **self._form(), **self.extra}

    def _form(self) -> dict[str, Any]:
        """Structured output, https://developers.openai.com/api/docs/guides/structured-outputs."""
        if self.schema is None:
            return {}
        named = {"name": "answer", "strict": True, "schema": dict(self.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """The conversation as the API takes it."""
        other = self._other_server() is not None
        name = self.length_parameter or ("max_tokens" if other else "max_completion_tokens")
        primed = _CONTINUE if other and messages and messages[-1].role == "assistant" else {}
        turns = [{"role": turn.role, "content": valid_text(turn.content)} for turn in messages]
        return {"model": self.model, name: self.max_tokens, **self._others(), **primed, "messages": turns}

    def completion(self, body: object) -> Completion:
        """The text of the first choice. A message with a `refusal` and no text gives the refusal's words.

        Raises:
            MalformedAnswerError: if there is no such answer.
        """
        choices = body.get("choices") if isinstance(body, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(body, dict) or not isinstance(choice, dict) or not isinstance(message, dict):
            raise MalformedAnswerError("it has no message in 'choices'")
        text, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
        if not isinstance(finish, str | None) or not isinstance(refusal, str | None):
            raise MalformedAnswerError("'finish_reason' or 'refusal' is no text")
        stop = StopReason.REFUSAL if refusal else _STOPS.get(finish or "", StopReason.END)
        if text is None and stop is not StopReason.END:
            text = refusal or ""
        if not isinstance(text, str):
            raise MalformedAnswerError("the message has no text in 'content'")
        return Completion(valid_text(text), stop, _usage(body.get("usage")))

    def connect(self, limits: Limits, throttle: Hook | None) -> Connection:
        """Open a client of the SDK.

        Raises:
            RedpencilError: if the SDK is not installed, there is no API key, or the address is none.
        """
        try:
            import openai
        except ImportError:
            raise RedpencilError(
                "OpenAI's models, and servers that speak its API, need the package openai", hint=MISSING_SDK
            ) from None
        other = self._other_server()
        if other is not None:
            shown_address(other)
        key = os.environ.get(self.key_variable, "").strip() or (_PLACEHOLDER_KEY if other is not None else "")
        if not key or not key.isprintable() or not key.isascii():
            raise RedpencilError(
                f"no API key in {self.key_variable}",
                hint=f"export {self.key_variable}=..., or name a server that needs none with --base-url",
            )
        http = http_client(openai, limits, throttle)
        sdk = checked_sdk(
            lambda: openai.AsyncOpenAI(api_key=key, base_url=other, timeout=limits.timeout_s, http_client=http)
        )
        return Connection(sdk, openai, "" if key == _PLACEHOLDER_KEY else key)


def _usage(told: object) -> Usage | None:
    """Tokens that were paid for; None where the server does not count."""
    return counted(told.get("prompt_tokens"), told.get("completion_tokens")) if isinstance(told, dict) else None
