"""The turns of a conversation that a prompt consists of, for models with a chat template.

A record holds its prompt as one text. Where it came from a conversation, `meta["messages"]` keeps the turns.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, Example, Prompt, Response

Turn = Mapping[str, Any]
"""A message: `role`, `content` (a text, or None beside tool calls), and what else a chat template may know."""
Asked = str | Prompt | Example | Response | Comparison | Edit
"""What a model is asked: a text, or a record with its prompt."""
ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function", "ipython")


def prompt_text(asked: Asked) -> str:
    """Return the prompt as one text."""
    return asked if isinstance(asked, str) else asked.prompt


def turns_of(asked: Asked) -> list[Turn]:
    """Return the turns before the response: those of `meta["messages"]`, or the prompt as one turn of the user.

    A last turn of the assistant that is a response of the record, or that the prompt as text does not end with, is the
    answer, and left out.

    Raises:
        RedpencilError: naming the record, if the messages are not a conversation.
    """
    messages = None if isinstance(asked, str) else asked.meta.get("messages")
    if isinstance(asked, str) or messages is None:
        return [{"role": "user", "content": prompt_text(asked)}]
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise _mistake(asked.id, f"a {type(messages).__name__} is no list of messages")
    turns = [_turn(message, asked.id) for message in messages]
    if turns and turns[-1]["role"] == "assistant" and _is_answer(asked, str(turns[-1]["content"] or "")):
        turns.pop()
    if not turns:
        raise _mistake(asked.id, "no message before the answer")
    return turns


def _is_answer(asked: Asked, text: str) -> bool:
    names = ("response", "original", "edited", "first", "second")
    text = text.strip()
    responses = [getattr(asked, name).strip() for name in names if hasattr(asked, name)]
    return bool(text) and (text in responses or not prompt_text(asked).rstrip().endswith(text))


def _turn(message: Any, row: str) -> Turn:
    if not isinstance(message, Mapping):
        raise _mistake(row, f"a {type(message).__name__} is no message")
    role = message.get("role")
    if role not in ROLES:
        raise _mistake(row, f"a message of the role {role!r}; known are {', '.join(ROLES)}")
    return {**message, "content": _text(message.get("content"), message, row)}


def _text(content: Any, message: Turn, row: str) -> str | None:
    if isinstance(content, str):
        return content
    if content is None and message["role"] != "user":  # it only calls tools, or a tool returns nothing
        return None if message["role"] == "assistant" else ""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise _mistake(row, f"a message of the {message['role']} whose content is not text")
    return "".join(map(str, texts))


def _mistake(row: str, problem: str) -> RedpencilError:
    return RedpencilError(
        f"row {row!r}: {problem}",
        field="meta.messages",
        hint='write a list such as [{"role": "user", "content": "..."}], or take messages out of the row',
    )
