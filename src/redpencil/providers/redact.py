"""Redact the texts of servers and addresses before they are shown or stored: valid, short, and without secrets."""

import json
import re
from typing import Final
from urllib.parse import urlsplit

from redpencil.errors import RedpencilError
from redpencil.text import valid_text

_CUT: Final = 300
"""Longest text of a server in a failure, in characters."""

_PIECE: Final = 8
"""Length of the pieces of a key that are redacted, since a server may echo a part of it."""

_SECRET: Final = re.compile(r"\b(?:sk-[\w*.-]{4,}|bearer\s+\S+)", re.IGNORECASE)


def message_of(text: str) -> str:
    """Return the message in the body of an error, wherever the server put it, or else the whole body."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(body, dict) and name in body:
            body = body[name]
    return body if isinstance(body, str) else json.dumps(body)


def one_line(text: str, key: str = "") -> str:
    """Redact a server's text: one line, not long, without the API key or anything that looks like one."""
    text = " ".join(_SECRET.sub("[key]", without_key(valid_text(text), key)).split())
    text = "".join(letter for letter in text if letter.isprintable())
    return text if len(text) <= _CUT else f"{text[:_CUT]} ..."


def without_key(text: str, key: str) -> str:
    """Replace each part of the text that comes from the key by `[key]`. Do this before the text is cut."""
    size = min(len(key), _PIECE)
    if size < _PIECE // 2:  # a dummy key of a local server, such as `x`
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
    """Replace the numbers of a problem by 0, except an HTTP status: "199 tokens" and "205 tokens" are one reason."""
    return re.sub(r"(?<!HTTP )(?<!\d)\d+", "0", problem)


def safe_address(url: str) -> str:
    """Return a URL without user, password, query and fragment.

    Raises:
        RedpencilError: if it is not the address of a server.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    # urlsplit ignores line ends and tabs; the HTTP client does not.
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise RedpencilError(
            "this is not the address of a server", field="--base-url", hint="such as http://localhost:8000/v1"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")
