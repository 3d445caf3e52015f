"""A provider that is a function: no model, no network."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redpencil.providers.base import Completion, Request, Result


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
