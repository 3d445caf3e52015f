"""Anthropic's Messages API by the `anthropic` SDK."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

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

_STOPS: Final = {
    "end_turn": StopReason.END,
    "stop_sequence": StopReason.END,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "refusal": StopReason.REFUSAL,
}


@dataclass(frozen=True, slots=True)
class AnthropicClient:
    """A model of Anthropic's, or of a server that speaks its API.

    Args:
        model: its name.
        max_tokens: most tokens of an answer; what a model thinks counts too.
        temperature: None leaves it to the model; newer models refuse any other.
        base_url: another server; None for ANTHROPIC_BASE_URL or Anthropic's own.
        extra: further parameters of the API, such as `{"thinking": {"type": "disabled"}}`.
        schema: JSON schema that answers have to fit.
    """

    model: str
    max_tokens: int = 4096
    temperature: float | None = None
    base_url: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model

    @property
    def identity(self) -> Mapping[str, Any]:
        """Provider, model and parameters."""
        others: dict[str, Any] = {"extra": dict(self.extra)} if self.extra else {}
        if self.schema is not None:
            others["schema"] = dict(self.schema)
        return {"provider": "anthropic", "model": self.model, **self._limits(), **others}

    @property
    def path(self) -> str:
        """Where messages are posted."""
        return "/v1/messages"

    @property
    def key_variable(self) -> str:
        """The environment variable with the API key."""
        return "ANTHROPIC_API_KEY"

    @property
    def address_variable(self) -> str:
        """The environment variable that may name another server."""
        return "ANTHROPIC_BASE_URL"

    @property
    def server(self) -> str:
        """The server's address, as it may be shown."""
        return shown_address(self._address())

    def _address(self) -> str:
        return self.base_url or os.environ.get(self.address_variable) or "https://api.anthropic.com"

    def _limits(self) -> dict[str, Any]:
        warmth = {} if self.temperature is None else {"temperature": self.temperature}
        return {"max_tokens": self.max_tokens, **warmth}

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """The conversation as the API takes it: system turns apart, no blank space at its end."""
        system = "\n\n".join(turn.content for turn in messages if turn.role == "system")
        turns = [{"role": turn.role, "content": valid_text(turn.content)} for turn in messages if turn.role != "system"]
        if turns and turns[-1]["role"] == "assistant":
            turns[-1]["content"] = turns[-1]["content"].rstrip()
        told = {"system": valid_text(system)} if system else {}
        others = {**self.extra, **self._form()}
        return {"model": self.model, **self._limits(), **others, **told, "messages": turns}

    def _form(self) -> dict[str, Any]:
        """Structured output, https://platform.claude.com/docs/en/build-with-claude/structured-outputs.

        It goes beside what else the parameter `output_config` holds, such as an effort.
        """
        if self.schema is None:
            return {}
        given = self.extra.get("output_config")
        beside = given if isinstance(given, Mapping) else {}
        return {"output_config": {"format": {"type": "json_schema", "schema": dict(self.schema)}, **beside}}

    def completion(self, body: object) -> Completion:
        """The text blocks of an answer, joined; blocks of thinking are left out.

        Raises:
            MalformedAnswerError: if there is no such answer.
        """
        if not isinstance(body, dict) or not isinstance(body.get("content"), list):
            raise MalformedAnswerError("it has no list 'content'")
        stop = body.get("stop_reason")
        if not isinstance(stop, str):
            raise MalformedAnswerError("it has no 'stop_reason'")
        texts: list[str] = []
        for block in body["content"]:
            if isinstance(block, dict) and block.get("type") == "text":
                if not isinstance(block.get("text"), str):
                    raise MalformedAnswerError("a block of text has no 'text'")
                texts.append(block["text"])
        # A reason that is not known may mean that the text stops before its end, and a cut text is no edit.
        return Completion(valid_text("".join(texts)), _STOPS.get(stop, StopReason.LENGTH), _usage(body.get("usage")))

    def connect(self, limits: Limits, throttle: Hook | None) -> Connection:
        """Open a client of the SDK.

        Raises:
            RedpencilError: if the SDK is not installed, there is no API key, or the address is none.
        """
        try:
            import anthropic
        except ImportError:
            raise RedpencilError("Anthropic's models need the package anthropic", hint=MISSING_SDK) from None
        shown_address(self._address())
        key = os.environ.get(self.key_variable, "").strip()
        if not key or not key.isprintable() or not key.isascii():
            raise RedpencilError(
                f"no API key in {self.key_variable}",
                hint=f"export {self.key_variable}=...; a server of your own that wants none takes any word",
            )
        http, address = http_client(anthropic, limits, throttle), self._address()
        sdk = checked_sdk(
            lambda: anthropic.AsyncAnthropic(api_key=key, base_url=address, timeout=limits.timeout_s, http_client=http)
        )
        return Connection(sdk, anthropic, key)


def _usage(told: object) -> Usage | None:
    """Tokens that were paid for; input that was written to a cache or read from one counts as input."""
    if not isinstance(told, dict):
        return None
    asked = [told.get(name) or 0 for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")]
    parts = [counted(number, told.get("output_tokens")) for number in asked]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Usage(sum(part.input_tokens for part in known), known[0].output_tokens)
