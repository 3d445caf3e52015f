"""Files that appear whole or not at all, and lines of JSON for them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from redpencil.errors import RedpencilError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that gets its name only when the block ends well; an error leaves what stood there before.

    Raises:
        RedpencilError: if the place cannot be written to.
    """
    if path.is_dir():
        raise RedpencilError("a folder stands where the file should go", file=path, way_out="choose another path")
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        out = partial.open("wb")
    except OSError as error:
        raise RedpencilError(f"cannot write it ({error.strerror})", file=path, way_out="choose another path") from None
    try:
        with out:
            yield out
    except BaseException:
        partial.unlink()
        raise
    partial.replace(path)


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
