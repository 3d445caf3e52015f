"""Lines of JSON for files."""

import json
from collections.abc import Mapping
from typing import Any

from redpencil.errors import RedpencilError


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
                way_out="take the half out (it often comes from text cut inside an emoji)",
            ) from None
