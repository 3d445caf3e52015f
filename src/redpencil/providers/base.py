"""What a provider is: it gets conversations and gives back one text for each."""

import enum
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

_TOO_MANY: Final = 2**53
"""No answer has as many tokens, and more could not be summed up or kept."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. A last turn of the assistant primes the answer, which goes on from it."""

    role: Literal["system", "user", "assistant"]
    content: str


class StopReason(enum.StrEnum):
    """Why the text ends where it does."""

    END = "end"
    LENGTH = "length"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an answer cost, as the provider counted them."""

    input_tokens: int
    output_tokens: int


def counted(input_tokens: object, output_tokens: object) -> Usage | None:
    """What a server says it counted; None unless both are numbers of tokens."""
    if isinstance(input_tokens, int) and isinstance(output_tokens, int):
        usage = Usage(input_tokens, output_tokens)
        return usage if all(0 <= tokens < _TOO_MANY for tokens in (input_tokens, output_tokens)) else None
    return None


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, without the text that primed it. `usage` is None where nobody counts or charges."""

    text: str
    stop_reason: StopReason = StopReason.END
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer, after all retries. `problem` is what the last attempt met, in one line and without secrets."""

    problem: str


Result = Completion | Failure


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation to complete. `key` tells it from all others, see `request_key`.

    `failed_before` says that an earlier run asked and got no answer; that it fails again says little about the server.
    """

    key: str
    messages: tuple[Message, ...]
    failed_before: bool = field(default=False, compare=False)


class Provider(Protocol):
    """Anything that completes conversations: a hosted model, a local server, a rule."""

    @property
    def name(self) -> str:
        """Who answers; stored with every edit as its editor."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides an answer besides the messages: provider, model, parameters. JSON-ready, without secrets."""

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        """Answer every request once, in any order, as results come.

        Requests are drawn when there is room for them, not before, so a stream of them may be endless.

        Raises:
            RedpencilError: where no request can succeed: a wrong key, an unknown model, no server.
        """


def request_key(identity: Mapping[str, Any], messages: Sequence[Message]) -> str:
    """SHA-256, in hexadecimal, of who is asked and what."""
    turns = [[turn.role, turn.content] for turn in messages]
    text = json.dumps([identity, turns], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ScriptedProvider:
    """Answers with `rule(text)`, where `text` is what the human said: the user turns, a blank line between them."""

    name: str
    rule: Callable[[str], str]

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its name; nothing is known of the function."""
        return {"provider": "scripted", "model": self.name}

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        """The function's answers, one after the other; they always end by themselves."""
        for request in requests:
            text = "\n\n".join(turn.content for turn in request.messages if turn.role == "user")
            yield request, Completion(self.rule(text))
