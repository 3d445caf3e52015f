"""Text that cannot be stored: half of a surrogate pair (UTF-8 has no bytes for it) and NUL (PostgreSQL refuses it).

Python strings may hold either, mostly from an escape such as "\\ud83d" in JSON that was cut inside an emoji.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from redpencil.errors import RedpencilError

HALF_PAIR: Final = "half of a surrogate pair, which is not a character"
_HALF: Final = re.compile("[\ud800-\udfff]")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def has_half_pair(text: str) -> bool:
    """Return whether UTF-8 cannot hold the text."""
    return not text.isascii() and _HALF.search(text) is not None


def unstorable(text: str) -> str | None:
    """The first character that no database holds, as part of a sentence; None where there is none."""
    match = _UNSTORABLE.search(text)
    if match is None:
        return None
    what = "a NUL character" if match[0] == "\0" else f"{HALF_PAIR},"
    return f"{what} at character {match.start()}"


def escape_half_pairs(text: str) -> str:
    """The text with an escape such as `\\ud83d` for each half: to print it, or inside JSON, where it means the same."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def valid_text(text: str) -> str:
    """The text with U+FFFD for each half; two halves that make a character become that."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as one line of JSONL in UTF-8, its characters as they are; a number that is not finite becomes null.

    Raises:
        RedpencilError: as `check_text`.
    """
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(row), ensure_ascii=False)
    try:
        return (text + "\n").encode("utf-8")
    except UnicodeEncodeError:
        check_text(row)
        raise


class RepeatedKeyError(ValueError):
    """A key is in an object twice: one of the two values would be lost without a word."""


def parse_json(text: str | bytes) -> Any:
    """Read JSON, and refuse an object that has a key twice.

    Raises:
        RepeatedKeyError: if it has.
        ValueError: if it is not JSON.
    """
    return json.loads(text, object_pairs_hook=_without_repeats)


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        RedpencilError: if it is missing or not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RedpencilError(f"cannot read it ({error.strerror})", file=path, hint="check the path") from None
    except (ValueError, RecursionError) as error:
        raise RedpencilError(f"not valid JSON ({error})", file=path, hint="restore or delete the file") from None


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise RepeatedKeyError(f"the key {twice!a} is in an object twice")
    return row


def finite(content: Any) -> Any:
    """JSON-ready content with null in place of every number that is not finite."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def check_text(row: Mapping[str, Any]) -> None:
    """Refuse a row that holds half of a surrogate pair in a key or a value, however deep.

    Raises:
        RedpencilError: naming the field, and the row's id if it has one.
    """
    for field, value in row.items():
        if has_half_pair(json.dumps([field, value], ensure_ascii=False)):
            raise RedpencilError(
                f"{HALF_PAIR}, in the row with the id {row['id']!a}" if "id" in row else HALF_PAIR,
                field=escape_half_pairs(field),
                hint="escape the whole pair, or take the half out (it often comes from text cut inside an emoji)",
            )


def prompt_key(prompt: str) -> str:
    """Return what prompts share that differ in case and white space alone: they count as one prompt."""
    return " ".join(prompt.split()).casefold()
