"""What the writers share: a row of a format, or why it cannot hold a record; and `meta` as text, there and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redpencil.errors import RedpencilError
from redpencil.formats.values import plain_row
from redpencil.records import Edit, EditOutcome


def json_text(value: Any) -> str:
    """A value as JSON on one line, its characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as one line of JSONL in UTF-8.

    Raises:
        RedpencilError: as `check_text`.
    """
    try:
        return (json_text(row) + "\n").encode("utf-8")
    except UnicodeEncodeError:
        check_text(row)
        raise


def check_text(row: Mapping[str, Any]) -> None:
    """Refuse half of a surrogate pair, which is no character, so that UTF-8 cannot hold it.

    Raises:
        RedpencilError: naming the row and its field.
    """
    for field, value in row.items():
        try:
            json_text([field, value]).encode("utf-8")
        except UnicodeEncodeError:
            raise RedpencilError(
                f"half of a surrogate pair, which is no character, in the row with the id {row.get('id')!a}",
                field=field.encode("utf-8", "backslashreplace").decode(),
                hint="take the half out (it often comes from text cut inside an emoji)",
            ) from None


Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a format cannot hold a record, in a word or two."""

    reason: str


def meta_text(meta: Mapping[str, Any]) -> str:
    """`meta` as one JSON text: a column of one type, whatever the keys of each row are."""
    return json_text(dict(meta))


def meta_of(value: object) -> dict[str, Any] | None:
    """A `meta` column: the JSON text that `meta_text` writes, an object, or nothing. None if it is none of these.

    Raises:
        RedpencilError: if it holds what a record cannot, as `plain_row`.
    """
    try:
        meta = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        return None
    try:
        return plain_row(meta)
    except RedpencilError as error:
        raise RedpencilError(error.problem, field=f"meta.{error.field}", hint=error.hint) from None


def read_meta(value: object) -> dict[str, Any]:
    """As `meta_of`, where there must be nothing else.

    Raises:
        RedpencilError: also if it is no such thing.
    """
    meta = meta_of(value)
    if meta is None:
        raise RedpencilError(
            f"expected an object or its JSON text, found {type(value).__name__}",
            field="meta",
            hint='write an object such as {"source": "survey"}, or rename the column',
        )
    return meta


def no_correction(edit: Edit) -> Unfit | None:
    """Why nothing can be learned from an edit: its outcome where that is not `edited`, or that no text changed."""
    if edit.outcome is not EditOutcome.EDITED:
        return Unfit(str(edit.outcome))
    return Unfit(str(EditOutcome.UNCHANGED)) if edit.edited == edit.original else None
