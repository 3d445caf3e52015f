"""Conversion of values to JSON: from tables, data sets and lenient JSON files, and `meta` to text and back."""

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Mapping
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.text import HALF_PAIR, RepeatedKeyError, escape_half_pairs, finite, has_half_pair, parse_json


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert the values of a row to ones that JSON can hold.

    NaN becomes null and an infinity its name; dates become ISO 8601; decimals and UUIDs text; bytes text if they are
    UTF-8; tuples, arrays and NumPy scalars their content.

    Raises:
        RedpencilError: naming the column, if a text holds half of a surrogate pair, bytes are not text, the nesting is
            too deep, or the value has any other type.
    """
    plain: dict[str, Any] = {}
    for column, value in row.items():
        name = column if isinstance(column, str) else str(column)
        try:
            plain[_plain_text(name)] = _plain(value)
        except (_NotPlainError, RecursionError) as error:
            problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise RedpencilError(
                problem, field=escape_half_pairs(name), hint="correct the value, or leave the column out with `--drop`"
            ) from None
    return plain


class _NotPlainError(Exception):
    pass


_LISTS: Final = (list, tuple, set)


def _plain(value: object) -> Any:
    if isinstance(value, str):
        return _plain_text(value)
    if isinstance(value, dict):
        return {_plain_text(str(key)): _plain(part) for key, part in value.items()}
    if isinstance(value, _LISTS):
        return [_plain(part) for part in value]
    match value:
        case float() if math.isnan(value):
            return None
        case float() if math.isinf(value):
            return str(value)
        case None | bool() | int() | float():
            return value
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
    if has_half_pair(text):
        raise _NotPlainError(HALF_PAIR)
    return text


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _NotPlainError("bytes that are not UTF-8 text") from None


def safe_line(content: object) -> str:
    """Write any value as one line of JSON that UTF-8 can hold, for lists of rows that could not be read."""
    try:
        text = json.dumps(finite(content), ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(ascii(type(content)))
    return escape_half_pairs(text)


def json_in(text: str, column: str) -> Any:
    """Read the JSON that a column holds as text; None if it is none.

    Raises:
        RedpencilError: naming the column, if an object in it has a key twice.
    """
    try:
        return parse_json(text)
    except RepeatedKeyError as error:
        raise RedpencilError(str(error), field=column, hint="give each key once") from None
    except (ValueError, RecursionError):
        return None


def meta_text(meta: Mapping[str, Any]) -> str:
    """Write `meta` as one JSON text: a column of one type, whatever keys the rows have."""
    return json.dumps(finite(meta), ensure_ascii=False)


def meta_of(value: object) -> dict[str, Any] | None:
    """Read a `meta` column: the JSON text that `meta_text` writes, an object, or nothing; None for anything else.

    Raises:
        RedpencilError: if it holds a value that a record cannot, as `plain_row`, or an object has a key twice.
    """
    if value is None or (isinstance(value, str) and value.strip() == "null"):
        return {}
    meta = json_in(value, "meta") if isinstance(value, str) else value
    if not isinstance(meta, dict):
        return None
    try:
        return plain_row(meta)
    except RedpencilError as error:
        raise RedpencilError(error.problem, field=f"meta.{error.field}", hint=error.hint) from None


def read_meta(value: object) -> dict[str, Any]:
    """Read a `meta` column that may hold nothing else than `meta_of` reads.

    Raises:
        RedpencilError: as `meta_of`, and if it holds anything else.
    """
    meta = meta_of(value)
    if meta is None:
        raise RedpencilError(
            f"expected an object or its JSON text, found {type(value).__name__}",
            field="meta",
            hint='write an object such as {"source": "survey"}, or rename the column',
        )
    return meta
