"""The interface of a provider: it receives conversations and returns one text for each."""

import enum
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

_TOO_MANY: Final = 2**53
"""Larger counts are a server's mistake, and could not be stored."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. A last turn of the assistant is the beginning of the answer."""

    role: Literal["system", "user", "assistant"]
    content: str


class StopReason(enum.StrEnum):
    """Reason why a text ends."""

    END = "end"
    LENGTH = "length"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request and its answer, as the provider counted them."""

    input_tokens: int
    output_tokens: int


def token_usage(input_tokens: object, output_tokens: object) -> Usage | None:
    """Make a usage of a server's counts; None unless both are numbers of tokens."""
    if isinstance(input_tokens, int) and isinstance(output_tokens, int):
        usage = Usage(input_tokens, output_tokens)
        return usage if all(0 <= tokens < _TOO_MANY for tokens in (input_tokens, output_tokens)) else None
    return None


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, without the beginning that it was given. `usage` is None where tokens are not counted."""

    text: str
    stop_reason: StopReason = StopReason.END
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer, after all retries. `problem` is the last attempt's error, in one line and without secrets."""

    problem: str


Result = Completion | Failure


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation to complete. `key` identifies it, see `request_key`.

    `failed_before`: an earlier run sent it without success, so a further failure says little about the server.
    """

    key: str
    messages: tuple[Message, ...]
    failed_before: bool = field(default=False, compare=False)


class Provider(Protocol):
    """Anything that completes conversations: a hosted model, a local server, a rule."""

    @property
    def name(self) -> str:
        """Name of the model; stored with every edit as its editor."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides an answer besides the messages: provider, model, parameters. JSON, without secrets."""

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        """Answer every request once, in any order, as results come.

        Requests are taken from the iterator only when they can be sent, so it may be endless.

        Raises:
            RedpencilError: if no request can succeed: a wrong key, an unknown model, no server.
        """


def request_key(identity: Mapping[str, Any], messages: Sequence[Message]) -> str:
    """Return the SHA-256, in hexadecimal, of a provider's identity and the messages."""
    turns = [[turn.role, turn.content] for turn in messages]
    text = json.dumps([identity, turns], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ScriptedProvider:
    """Answers with `rule(text)`, where `text` is the user turns, with a blank line between them."""

    name: str
    rule: Callable[[str], str]

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"provider": "scripted", "model": self.name}

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        """Answer by the function, one request after the other."""
        for request in requests:
            text = "\n\n".join(turn.content for turn in request.messages if turn.role == "user")
            yield request, Completion(self.rule(text))
