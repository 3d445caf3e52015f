"""Why an answer ended, and whether a body with status 200 reports an error: one rule for all servers.

Servers have many words for the reason. Only a word that certainly says that the model came to its end makes an answer;
what nobody knows is no answer, with the server's word in the reason.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from redpencil.providers.base import StopReason

_ENDS: Final = frozenset(
    ("stop", "end", "eos", "eos_token", "end_turn", "end_of_turn", "stop_sequence", "complete", "endoftext")
)
_LENGTH: Final = re.compile(r"length|max_.*token|token_limit|context_window|truncat")
_REFUSAL: Final = re.compile(
    r"filter|refus|safety|moderat|guardrail|prohibit|blocked|blocklist|blacklist|sensitive|toxic|recitation|spii"
)
_BROKEN: Final = re.compile(r"error|abort|cancel|fail|timeout|time_limit|interrupt|overload|insufficient|disconnect")
"""Words of a server that could not finish, and that may be able to another time."""
_SAID: Final = ("errors", "detail", "message", "msg", "reason", "error_message", "error_msg")
_STATUS_OF: Final = {
    "insufficient_quota": 429,
    "rate_limit": 429,
    "too_many_requests": 429,
    "resource_exhausted": 429,
    "quota": 429,
    "overloaded": 529,
    "unavailable": 503,
    "timeout": 504,
    "authentication": 401,
    "unauthorized": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "billing": 402,
    "payment": 402,
    "permission": 403,
    "forbidden": 403,
    "not_found": 404,
    "too_large": 413,
    "invalid": 400,
    "bad_request": 400,
    "badrequest": 400,
    "context_length_exceeded": 400,
}
"""HTTP statuses of the words in which OpenAI, Anthropic, Google and vLLM name a kind of error."""


class UnknownEndError(Exception):
    """An answer that ended in no way that makes it one. `again`: the server may be able to finish another time."""

    def __init__(self, what: str, *, again: bool) -> None:
        super().__init__(what)
        self.again = again


def stop_reason(word: str, name: str) -> StopReason:
    """Return why an answer ended, by the server's word for it; `name` is that of the word's field.

    Raises:
        UnknownEndError: if the word is neither an end, nor a limit on the length, nor a refusal.
    """
    plain = re.sub(r"\W+", "_", word.strip().casefold()).removeprefix("finish_reason_")
    if plain in _ENDS:
        return StopReason.END
    if _LENGTH.search(plain):
        return StopReason.LENGTH
    if _REFUSAL.search(plain):
        return StopReason.REFUSAL
    raise UnknownEndError(f"the answer has no proper end: {name} is {word!r}", again=bool(_BROKEN.search(plain)))


def model_stop_reason(stop: StopReason, word: object, name: str) -> StopReason:
    """Return why an answer ended, if a router says `stop` and the model's own word for it is another one.

    Raises:
        UnknownEndError: if that word says that the server could not finish. One that nobody knows counts for nothing.
    """
    if stop is not StopReason.END or not isinstance(word, str):
        return stop
    try:
        return stop_reason(word, name)
    except UnknownEndError as error:
        if error.again:
            raise
        return stop


def error_in(body: object) -> tuple[int | None, object] | None:
    """Return the HTTP status that an error in a body names, if it does, and the error; None without an error.

    An error is an entry `error` that is not empty, also beside an answer, or an entry with a `status_code` that is not
    that of a success; without an answer, also a text under another name. A body may be a list of one.
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    if isinstance(error, Mapping) and not any(error.values()):
        error = None
    if not error:
        entries = (entry for entry in body.values() if isinstance(entry, Mapping))
        error = next((entry for entry in entries if entry.get("status_code", 0) not in (0, 200, None)), None)
    if not error and body.get("choices") is None and "content" not in body:
        error = next((body[name] for name in _SAID if body.get(name)), None)
        return None if error is None else (_status({**body, "error": None}), error)
    return (_status(error), error) if error else None


def text_of(content: object) -> str | None:
    """Return the text of an answer: itself, or its parts of type `text`, without thinking; None if there is none.

    Raises:
        ValueError: if a part of type `text` has no text.
    """
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a block of text has no 'text'")
        return "".join(texts)
    return content if isinstance(content, str) else None


def _status(error: Any) -> int | None:
    """Return the status that an error names as a number or in a word."""
    if not isinstance(error, Mapping):
        return None
    named = [str(error.get(name)).strip().casefold() for name in ("code", "status", "status_code", "type")]
    for word in named:
        if re.fullmatch(r"[45]\d\d", word):
            return int(word)
    words = [re.sub(r"\W+", "_", word) for word in named]
    return next((status for part, status in _STATUS_OF.items() if any(part in word for word in words)), None)
