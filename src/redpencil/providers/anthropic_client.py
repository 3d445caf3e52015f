"""Anthropic's Messages API by the `anthropic` SDK."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from redpencil.providers.base import Completion, Failure, Message, Result, Usage, token_usage
from redpencil.providers.client import BatchFormat, Client, MalformedAnswerError
from redpencil.providers.redact import message_of, one_line
from redpencil.providers.stops import stop_reason, text_of
from redpencil.text import valid_text


@dataclass(frozen=True, slots=True)
class AnthropicClient(Client):
    """A model of Anthropic's, or of a server that speaks its API."""

    provider: ClassVar = "anthropic"
    label: ClassVar = "Anthropic's models"
    sdk_class: ClassVar = "AsyncAnthropic"
    path: ClassVar = "/v1/messages"
    key_variable: ClassVar = "ANTHROPIC_API_KEY"
    key_hint: ClassVar = "or any word for a server of your own that needs none"
    address_variable: ClassVar = "ANTHROPIC_BASE_URL"
    default_address: ClassVar = "https://api.anthropic.com"
    # https://platform.claude.com/docs/en/build-with-claude/batch-processing
    batch_format: ClassVar = BatchFormat(100_000, 256_000_000, b'{"requests": [\n', b",\n", b"]}\n")

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Make the request: system messages apart, no blank space at the end of the conversation."""
        system = "\n\n".join(turn.content for turn in messages if turn.role == "system")
        turns = [{"role": turn.role, "content": valid_text(turn.content)} for turn in messages if turn.role != "system"]
        if turns and turns[-1]["role"] == "assistant":
            turns[-1]["content"] = turns[-1]["content"].rstrip()
        body: dict[str, Any] = {"model": self.model, "max_tokens": self.max_tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        body |= {**self.extra, **self._output_format()}
        if system:
            body["system"] = valid_text(system)
        return {**body, "messages": turns}

    def _output_format(self) -> dict[str, Any]:
        """Structured output, https://platform.claude.com/docs/en/build-with-claude/structured-outputs.

        The parameter `output_config` may hold more, such as an effort.
        """
        if self.schema is None:
            return {}
        extra = self.extra.get("output_config")
        others = extra if isinstance(extra, Mapping) else {}
        return {"output_config": {"format": {"type": "json_schema", "schema": dict(self.schema)}, **others}}

    def _completion(self, body: object) -> Completion:
        """Join the text blocks of an answer; blocks of thinking are left out."""
        if not isinstance(body, dict) or not isinstance(body.get("content"), list):
            raise MalformedAnswerError("it has no list 'content'")
        stop = body.get("stop_reason")
        if not isinstance(stop, str):
            raise MalformedAnswerError("it has no 'stop_reason'")
        try:
            text = text_of(body["content"])
        except ValueError as error:
            raise MalformedAnswerError(str(error)) from None
        return Completion(valid_text(text or ""), stop_reason(stop, "stop_reason"), _usage(body.get("usage")))

    def batch_row(self, key: str, messages: Sequence[Message]) -> dict[str, Any]:
        return {"custom_id": key, "params": self.body(messages)}

    def batch_result(self, row: Mapping[str, Any]) -> Result | None:
        result = row.get("result")
        kind = result.get("type") if isinstance(result, dict) else None
        if not isinstance(result, dict) or kind not in ("succeeded", "errored", "canceled", "expired"):
            return None
        if kind == "succeeded":
            return self.result(result.get("message"))
        reason = f": {message_of(json.dumps(result.get('error')))}" if kind == "errored" else ""
        return Failure(one_line(f"{kind} in the batch{reason}"))


def _usage(counts: object) -> Usage | None:
    """Read the tokens that were paid for; input that was written to a cache or read from one counts as input."""
    if not isinstance(counts, dict):
        return None
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    parts = [token_usage(counts.get(name) or 0, counts.get("output_tokens")) for name in names]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Usage(sum(part.input_tokens for part in known), known[0].output_tokens)
