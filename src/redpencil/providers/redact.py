"""Texts of servers and addresses as they may be shown and kept: valid, short, and without secrets."""

import json
import re
from typing import Final
from urllib.parse import urlsplit

from redpencil.errors import RedpencilError

_CUT: Final = 300
"""Longest text of a server, in characters, that goes into a failure."""

_PIECE: Final = 8
"""As many letters of a key in a row are not shown, for a server may echo a part of it."""

_SECRET: Final = re.compile(r"\b(?:sk-[\w*.-]{4,}|bearer\s+\S+)", re.IGNORECASE)


def message_of(text: str) -> str:
    """What an error body says: its message, wherever the server put it, or else all of it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return found if isinstance(found, str) else json.dumps(found)


def one_line(text: str, key: str = "") -> str:
    """A server's words as they may be shown and kept: in one line, not long, without the key or what looks like one."""
    text = " ".join(_SECRET.sub("[key]", without_key(valid_text(text), key)).split())
    text = "".join(letter for letter in text if letter.isprintable())
    return text if len(text) <= _CUT else f"{text[:_CUT]} ..."


def without_key(text: str, key: str) -> str:
    """The text with `[key]` for each stretch of it that comes from the key. Do this before anything is cut."""
    size = min(len(key), _PIECE)
    if size < _PIECE // 2:  # a word that a server of one's own takes for a key, such as `x`
        return text
    pieces = {key[start : start + size] for start in range(len(key) - size + 1)}
    kept: list[str] = []
    covered = 0
    for start, letter in enumerate(text):
        if text[start : start + size] in pieces:
            if start >= covered:
                kept.append("[key]")
            covered = start + size
        elif start >= covered:
            kept.append(letter)
    return "".join(kept)


def reason_of(problem: str) -> str:
    """A problem without its numbers, save the HTTP status: "199 tokens are too many" and "205 ..." are one reason."""
    return re.sub(r"(?<!HTTP )(?<!\d)\d+", "0", problem)


def valid_text(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shown_address(url: str) -> str:
    """A URL without user, password, query and fragment.

    Raises:
        RedpencilError: if it is not the address of a server.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    # urlsplit passes over line ends and tabs; what sends the request does not.
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise RedpencilError(
            "this is not the address of a server", field="--base-url", hint="such as http://localhost:8000/v1"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")
