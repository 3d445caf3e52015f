"""Conversations as text: a record holds its prompt as one text, while much data holds lists of messages.

One turn of the user is its text. A longer conversation, or one with a system message, is rendered turn by turn, with
the role before each and a blank line between them:

    System: Be brief.

    User: What is the capital of Mali?

    Assistant: Bamako.

    User: And of Chad?

The messages are kept in `meta["messages"]` where they cannot be recovered from the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redpencil.errors import RedpencilError
from redpencil.formats.base import expected

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt as text, and the entries of `meta` that belong to it."""

    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answered:
    """A conversation and its final answer; `meta` keeps what the text of the answer does not hold."""

    before: tuple[Message, ...]
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


def messages_in(value: object, column: str) -> tuple[Message, ...]:
    """Check a list of messages, each with a role and content; a text becomes one message of the user.

    Raises:
        RedpencilError: if it is anything else.
    """
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    if not isinstance(value, list):
        raise expected("text or a list of messages", value, column)
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise expected('messages such as {"role": "user", "content": "..."}', message, column)
        content_of(message, column)
    return tuple(value)


def content_of(message: Message, column: str) -> str:
    """Return the text of a message; parts of type text are joined.

    Raises:
        RedpencilError: if there is none, or a part is not text, such as an image.
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise expected("text as a message's content", content, column)
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    for part, content_text in zip(content, parts, strict=True):
        if not isinstance(content_text, str):
            raise expected("text in each part of a message", part, column)
    return "".join(part for part in parts if isinstance(part, str))


def render(messages: Sequence[Message], column: str = "messages") -> str:
    """Render a conversation as the text of a prompt, as described at the top of this file.

    Raises:
        RedpencilError: if there is no message, or one has no text.
    """
    if not messages:
        raise RedpencilError("no message before the answer", field=column, hint="give at least one message of the user")
    if len(messages) == 1 and messages[0]["role"] == "user":
        return content_of(messages[0], column)
    return "\n\n".join(f"{message['role'].capitalize()}: {content_of(message, column)}" for message in messages)


def prompt_of(messages: Sequence[Message], column: str) -> Prompted:
    """Turn a conversation into a prompt.

    Raises:
        RedpencilError: if it has no message.
    """
    text = render(messages, column)
    is_text = len(messages) == 1 and _is_plain(messages[0], "user")
    return Prompted(text, {} if is_text else {"messages": [dict(message) for message in messages]})


def prompt_in(row: Mapping[str, Any], column: str) -> Prompted:
    """Read a prompt, a text or a list of messages, as `messages_in` and `prompt_of` do."""
    return prompt_of(messages_in(row[column], column), column)


def answer_in(messages: Sequence[Message], column: str) -> Answered:
    """Split a conversation into its last message, the answer, and the messages before it.

    Raises:
        RedpencilError: if the last message is not the assistant's.
    """
    if not messages or messages[-1]["role"] != "assistant":
        last_role = f"one of role {messages[-1]['role']!r}" if messages else "none"
        raise RedpencilError(
            f"expected an answer of the assistant as the last message, found {last_role}",
            field=column,
            hint="end the conversation with the answer; `--on-error skip` skips such rows and lists them",
        )
    last = messages[-1]
    kept = {} if _is_plain(last, "assistant") else {f"{column}_message": dict(last)}
    return Answered(tuple(messages[:-1]), content_of(last, column), kept)


def _is_plain(message: Message, role: str) -> bool:
    more = {key for key, value in message.items() if value is not None} - {"role", "content"}
    return message["role"] == role and isinstance(message["content"], str) and not more
