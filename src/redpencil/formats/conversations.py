"""Conversations as text: a record holds its prompt as one text, while much data holds lists of messages.

One turn of the user is its text. A longer conversation, or one with a system message, is rendered turn by turn, with
the role before each and a blank line between them:

    System: Be brief.

    User: What is the capital of Mali?

    Assistant: Bamako.

    User: And of Chad?

The messages are kept in `meta["messages"]` where they cannot be recovered from the text, in OpenAI's form, whatever
form they came in: [{"role": "system", "content": "Be brief."}, ...]. The answer is never among them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.formats.base import expected, optional_text
from redpencil.formats.values import json_in, plain_row

Message = Mapping[str, Any]
CONVERSATIONS: Final = ("messages", "conversations", "conversation")
"""Names of the column of a conversation."""
_ROLE: Final = ("role", "from")
_CONTENT: Final = ("content", "value", "text", "parts")
_ROLES: Final = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "function_call", "tool_call"), "assistant"
    ),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response", "function_response"), "tool"),
}
_CALLS: Final = ("function_call", "tool_call")
"""Roles of messages whose content is a call of tools."""
_TEXTS: Final = ("text", "input_text", "output_text")
_NO_TEXT: Final = ("image", "image_url", "audio", "input_audio", "video", "file")


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt as text, and the entries of `meta` that belong to it."""

    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages of a row, the column that holds them, and all columns that they came from."""

    messages: tuple[Message, ...]
    column: str
    used: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answered:
    """A conversation and its final answer; `meta` keeps what the text of the answer does not hold."""

    before: tuple[Message, ...]
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


def messages_in(value: object, column: str) -> tuple[Message, ...]:
    """Read a list of messages, in OpenAI's form or ShareGPT's; a text becomes one message of the user.

    Each has a role, one of system, user, assistant and tool, a text as its content, and what else it had. Calls of
    tools are in `tool_calls`; a message that only calls tools has an empty content.

    Raises:
        RedpencilError: if it is anything else, a role is unknown, or a part of a message is no text, such as an image.
    """
    if isinstance(value, str):
        return ({"role": "user", "content": value},)
    if not isinstance(value, list):
        raise expected("text or a list of messages", value, column)
    return tuple(_message(message, column) for message in value)


def conversation_in(value: object, column: str) -> tuple[Message, ...]:
    """Read a conversation as `messages_in` does, also from its JSON text, as tables have it."""
    return messages_in(list_in(value, column), column)


def list_in(value: object, column: str) -> object:
    """Return the list that a JSON text holds, and anything else as it is.

    Raises:
        RedpencilError: if the list holds half of a surrogate pair, or an object that has a key twice.
    """
    found = json_in(value, column) if isinstance(value, str) and value.lstrip()[:1] == "[" else None
    return value if found is None else plain_row({column: found})[column]


def with_system(messages: tuple[Message, ...], row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Put the text in a row's column `system` before messages as a system message, unless they have one or it is empty.

    Raises:
        RedpencilError: if the column `system` holds something else than text.
    """
    system = optional_text(row, "system")
    if not system or (messages and messages[0]["role"] == "system"):
        return messages
    return ({"role": "system", "content": system}, *messages)


def conversation_of(row: Mapping[str, Any]) -> Conversation:
    """Read the conversation of a row, with the text in its column `system` as a system message unless it has one.

    Raises:
        RedpencilError: as `messages_in`, and if the column `system` holds something else than text.
    """
    column = next(name for name in CONVERSATIONS if name in row)
    own = conversation_in(row[column], column)
    messages = with_system(own, row)
    return Conversation(messages, column, frozenset({column} if messages is own else {column, "system"}))


def _message(message: object, column: str) -> Message:
    if not isinstance(message, dict):
        raise expected('messages such as {"role": "user", "content": "..."}', message, column)
    keys = _key(message, _ROLE), _key(message, _CONTENT)
    name, content = message.get(keys[0]), message.get(keys[1])
    if not isinstance(name, str):
        raise expected('messages such as {"role": "user", "content": "..."}', message, column)
    role = _ROLES.get(name.strip().lower())
    if role is None:
        known = ", ".join(dict.fromkeys(_ROLES.values()))
        raise RedpencilError(
            f"a message with the role {name[:40]!r}",
            field=column,
            hint=f"rename it to one of {known}; `--on-error skip` skips such rows and lists them",
        )
    rest = {key: value for key, value in message.items() if key not in keys and value is not None}
    if isinstance(rest.get("function_call"), dict):
        rest["tool_calls"] = [{"type": "function", "function": rest.pop("function_call")}]
    if name.strip().lower() in _CALLS and (calls := _calls(content, column)):
        content, rest["tool_calls"] = None, calls
    if content is None and (role == "tool" or rest.get("tool_calls")):
        content = ""
    return {"role": role, "content": _content(content, column), **rest}


def _key(message: Mapping[str, Any], names: Sequence[str]) -> str:
    for name in names:
        if name in message:
            return name
    return names[0]


def _calls(content: object, column: str) -> list[dict[str, Any]]:
    """The calls in a message of ShareGPT, which has one or several as JSON text; none if it is not that."""
    found = json_in(content, column) if isinstance(content, str) else content
    parts = found if isinstance(found, list) else [found]
    calls = [part for part in parts if isinstance(part, dict) and isinstance(part.get("name"), str)]
    return [{"type": "function", "function": plain_row(call)} for call in calls] if len(calls) == len(parts) else []


def _content(content: object, column: str) -> str:
    """The text of a message; parts of text are joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | dict):
        raise expected("text as a message's content", content, column)
    return "".join(_part(part, column) for part in (content if isinstance(content, list) else [content]))


def _part(part: object, column: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        kind = part.get("type", "text")
        others = [key for key in _NO_TEXT if part.get(key) is not None]
        text = part.get("text")
        if isinstance(text, str) and kind in _TEXTS and not others:
            return text
        what = others[0] if others else kind
        raise RedpencilError(
            f"a part of a message of the type {str(what)[:40]!r}, and records hold only text",
            field=column,
            hint="`--on-error skip` skips such rows and lists them",
        )
    raise expected("text in each part of a message", part, column)


def text_of(message: Message) -> str:
    """Return the text of a message, or its calls of tools as JSON, one a line, where it has nothing else."""
    calls = message.get("tool_calls")
    if message["content"] or not isinstance(calls, list):
        return str(message["content"])
    functions = (call.get("function", call) if isinstance(call, dict) else call for call in calls)
    return "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)


def render(messages: Sequence[Message], column: str = "messages") -> str:
    """Render a conversation as the text of a prompt, as described at the top of this file.

    Raises:
        RedpencilError: if there is no message.
    """
    if not messages:
        raise RedpencilError("no message before the answer", field=column, hint="give at least one message of the user")
    if len(messages) == 1 and messages[0]["role"] == "user":
        return text_of(messages[0])
    return "\n\n".join(f"{message['role'].capitalize()}: {text_of(message)}" for message in messages)


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
        RedpencilError: if the last message is not the assistant's, or only calls a tool.
    """
    if not messages or messages[-1]["role"] != "assistant":
        last_role = f"one of role {messages[-1]['role']!r}" if messages else "none"
        raise RedpencilError(
            f"expected an answer of the assistant as the last message, found {last_role}",
            field=column,
            hint="end the conversation with the answer; `--on-error skip` skips such rows and lists them",
        )
    last = messages[-1]
    if last.get("tool_calls") and not last["content"]:
        raise RedpencilError(
            "the last answer of the assistant calls a tool and has no text",
            field=column,
            hint="end the conversation with a text; `--on-error skip` skips such rows and lists them",
        )
    kept = {} if _is_plain(last, "assistant") else {f"{column}_message": dict(last)}
    return Answered(tuple(messages[:-1]), last["content"], kept)


def _is_plain(message: Message, role: str) -> bool:
    return message == {"role": role, "content": message["content"]}
