"""A provider that is a function: no model, no network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redpencil.providers.base import Completion, Message


@dataclass(frozen=True, slots=True)
class ScriptedProvider:
    """Answers with `answer(text)`, where `text` is what the human said: the user turns, a blank line between them."""

    name: str
    answer: Callable[[str], str]

    def complete(self, messages: Sequence[Message]) -> Completion:
        """The function's answer; it always ends by itself."""
        return Completion(self.answer("\n\n".join(turn.content for turn in messages if turn.role == "user")))
