"""What the writers share: a row of a format, or why it cannot hold a record; and `meta` as text, there and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redpencil.errors import RedpencilError
from redpencil.formats.files import json_text
from redpencil.formats.values import plain_row
from redpencil.records import Edit, EditOutcome

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
        raise RedpencilError(error.problem, field=f"meta.{error.field}", way_out=error.way_out) from None


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
            way_out='write an object such as {"source": "survey"}, or rename the column',
        )
    return meta


def no_correction(edit: Edit) -> Unfit | None:
    """Why nothing can be learned from an edit: its outcome where that is not `edited`, or that no text changed."""
    if edit.outcome is not EditOutcome.EDITED:
        return Unfit(str(edit.outcome))
    return Unfit(str(EditOutcome.UNCHANGED)) if edit.edited == edit.original else None
