"""Rows of text files: JSONL, CSV and TSV, a line at a time."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from redpencil.errors import RedpencilError
from redpencil.formats.places import Place, Rows, SourceRow

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
LONGEST_FIELD: Final = 1 << 26
"""Most characters of a CSV field: a quote that is never closed would otherwise take the rest of the file."""
JSON_OBJECT: Final = 'write one object a line, such as {"prompt": "...", "response": "..."}'


def damaged(path: Path, error: Exception, line: int | None = None) -> RedpencilError:
    """The error of a compressed file that ends early or is not what it seems."""
    return RedpencilError(
        f"the compressed file is damaged or ends early ({error})", file=path, line=line, way_out="get the file again"
    )


DAMAGE: Final = (EOFError, zlib.error, gzip.BadGzipFile)


def first_bytes(stream: BinaryIO, path: Path, count: int) -> bytes:
    """The first bytes of a stream, which is then at its beginning again.

    Raises:
        RedpencilError: if it is compressed and damaged.
    """
    try:
        return stream.read(count)
    except DAMAGE as error:
        raise damaged(path, error, 1) from None
    finally:
        stream.seek(0)


def numbered(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, without a byte order mark.

    Raises:
        RedpencilError: if the file is compressed and damaged.
    """
    number = 0
    try:
        for number, line in enumerate(stream, start=1):
            yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    except DAMAGE as error:
        raise damaged(path, error, number + 1) from None


def json_rows(stream: BinaryIO, path: Path) -> Rows:
    """Rows of JSONL; blank lines are passed over."""
    count = 0
    for number, raw in numbered(stream, path):
        if not raw.strip():
            continue
        count += 1
        place = Place(str(path), count, number)
        try:
            row = json.loads(raw.decode("utf-8"))
        except ValueError as error:
            yield SourceRow(place, {}, _unreadable(place, error), raw.decode("utf-8", "backslashreplace").rstrip())
        except RecursionError:
            yield SourceRow(place, {}, place.error("JSON that is nested too deeply", way_out=JSON_OBJECT), "")
        else:
            yield object_row(place, row)


def object_row(place: Place, row: object) -> SourceRow:
    """A row that should be an object."""
    if isinstance(row, dict):
        return SourceRow(place, row)
    problem = f"expected a JSON object, found {type(row).__name__}"
    return SourceRow(place, {}, place.error(problem, way_out=JSON_OBJECT), row)


def _unreadable(place: Place, error: ValueError) -> RedpencilError:
    if isinstance(error, UnicodeDecodeError):
        return place.error(f"not valid UTF-8 at byte {error.start} of the line", way_out="convert the file to UTF-8")
    if isinstance(error, json.JSONDecodeError):
        return place.error(
            f"not valid JSON ({error.msg} at column {error.colno})",
            way_out=f"{JSON_OBJECT}; or one array of objects as the whole file",
        )
    return place.error(f"JSON that cannot be read ({error})", way_out="shorten the number")


def csv_rows(stream: BinaryIO, path: Path, delimiter: str) -> Rows:
    """Rows of a table with a header; all values are text. A row's line is the one that it begins on.

    Raises:
        RedpencilError: if the header is missing, names a column twice or is not UTF-8.
    """
    # Bytes that are not UTF-8 come through as halves of surrogate pairs, so that only their own row is refused.
    texts = (raw.decode("utf-8", "surrogateescape") for _, raw in numbered(stream, path))
    previous = csv.field_size_limit(LONGEST_FIELD)
    try:
        reader = csv.reader(texts, delimiter=delimiter, strict=True)
        header = _header(reader, path)
        count, end = 0, reader.line_num
        while True:
            begin, end = end + 1, end
            place = Place(str(path), count + 1, begin)
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                count, end = count + 1, reader.line_num
                problem = place.error(
                    f"not a row of a table ({error})", way_out="close each quote, and double those inside a field"
                )
                yield SourceRow(place, {}, problem, "")
                continue
            end = reader.line_num
            if values:
                count += 1
                yield _table_row(place, header, values, delimiter)
    finally:
        csv.field_size_limit(previous)


def _header(reader: Any, path: Path) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise RedpencilError(
            f"no header ({error})", file=path, line=1, way_out="begin with the columns' names"
        ) from None
    named = "begin the file with a line of column names, each once"
    if not any(header):
        raise RedpencilError("no header", file=path, line=1, way_out=named)
    twice = next((name for at, name in enumerate(header) if name in header[:at]), None)
    if twice is not None:
        raise RedpencilError("the header names a column twice", file=path, line=1, field=twice, way_out=named)
    if not "".join(header).isascii():
        try:
            "".join(header).encode("utf-8")
        except UnicodeEncodeError:
            raise RedpencilError(
                "the header is not valid UTF-8", file=path, line=1, way_out="convert the file to UTF-8"
            ) from None
    return header


def _table_row(place: Place, header: list[str], values: list[str], delimiter: str) -> SourceRow:
    if len(values) != len(header):
        raw = io.StringIO()
        csv.writer(raw, delimiter=delimiter, lineterminator="").writerow(values)
        problem = f"{len(values)} fields under a header of {len(header)}"
        return SourceRow(
            place, {}, place.error(problem, way_out="quote fields that hold delimiters or line ends"), raw.getvalue()
        )
    row = dict(zip(header, values, strict=True))
    for column, value in row.items():
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                problem = f"not valid UTF-8 at character {error.start}"
                return SourceRow(
                    place, {}, place.error(problem, field=column, way_out="convert the file to UTF-8"), row
                )
    return SourceRow(place, row)
