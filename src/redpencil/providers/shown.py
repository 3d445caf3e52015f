"""Texts of servers and addresses as they may be shown and kept: valid, short, and without secrets."""

import json
import re
from typing import Final
from urllib.parse import urlsplit

from redpencil.errors import RedpencilError

_CUT: Final = 300
"""Longest text of a server, in characters, that goes into a failure."""

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
    if key:
        text = text.replace(key, "[key]")
    text = " ".join(_SECRET.sub("[key]", valid_text(text)).split())
    text = "".join(letter for letter in text if letter.isprintable())
    return text if len(text) <= _CUT else f"{text[:_CUT]} ..."


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
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RedpencilError(
            "this is not the address of a server", field="--base-url", way_out="such as http://localhost:8000/v1"
        )
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}".rstrip("/")
