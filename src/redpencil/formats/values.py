"""Values of other people's files as JSON: what a table, a data set or a lenient JSON file may hold, made plain."""

import datetime
import decimal
import json
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from redpencil.errors import RedpencilError

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row with values that JSON can hold.

    NaN becomes null and an infinity its name; dates become ISO 8601; decimals and UUIDs text; bytes text if they are
    UTF-8; tuples, arrays and NumPy scalars what they hold.

    Raises:
        RedpencilError: naming the column, if a text holds half of a surrogate pair, bytes are no text, the nesting is
            too deep, or the value is of another type.
    """
    plain: dict[str, Any] = {}
    for column, value in row.items():
        name = column if isinstance(column, str) else str(column)
        try:
            plain[_plain_text(name)] = _plain(value)
        except (_NotPlainError, RecursionError) as error:
            problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise RedpencilError(
                problem,
                field=name.encode("utf-8", "backslashreplace").decode(),
                hint="mend the value, or leave the column out with `--drop`",
            ) from None
    return plain


class _NotPlainError(Exception):
    pass


def _plain(value: object) -> Any:
    match value:
        case str():
            return _plain_text(value)
        case None | bool() | int():
            return value
        case float():
            return _finite(value)
        case dict():
            return {_plain_text(str(key)): _plain(part) for key, part in value.items()}
        case list() | tuple() | set():
            return [_plain(part) for part in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case decimal.Decimal() | uuid.UUID():
            return str(value)
        case bytes():
            return _decoded(value)
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy, which is not imported for them
        return _plain(value.tolist())
    raise _NotPlainError(f"a {type(value).__name__}, which JSON cannot hold")


def _plain_text(text: str) -> str:
    if not text.isascii() and _HALF_PAIR.search(text):
        raise _NotPlainError("half of a surrogate pair, which is no character")
    return text


def _finite(number: float) -> float | str | None:
    if math.isfinite(number):
        return number
    return None if math.isnan(number) else str(number)


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _NotPlainError("bytes that are no UTF-8 text") from None


def safe_line(content: object) -> str:
    """Anything at all as one line of JSON that UTF-8 can hold, for lists of what could not be read."""
    try:
        text = json.dumps(content, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(ascii(type(content)))
    if _HALF_PAIR.search(text):
        # Inside JSON texts only, where the escape means the same half again.
        text = _HALF_PAIR.sub(lambda half: f"\\u{ord(half.group()):04x}", text)
    return text
