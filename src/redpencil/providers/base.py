"""What a provider is: it gets messages and gives back one text."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


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
class Completion:
    """An answer, without the text that primed it."""

    text: str
    stop_reason: StopReason = StopReason.END


class Provider(Protocol):
    """Anything that completes a conversation: a hosted model, a local server, a rule."""

    @property
    def name(self) -> str:
        """Who answers; stored with every edit as its editor."""

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Answer the conversation."""
