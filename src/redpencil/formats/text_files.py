"""Rows of text files: JSONL, CSV and TSV, a line at a time."""

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from redpencil.errors import RedpencilError
from redpencil.formats.torn import Lines, take_torn
from redpencil.records import LONGEST_LINE, endless_line


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands. `row` counts from 1; `line` is None where the source has no lines."""

    file: str
    row: int
    line: int | None = None

    def error(self, problem: str, *, field: str | None = None, hint: str | None = None) -> RedpencilError:
        """An error that names the place."""
        named = problem if self.line is not None else f"row {self.row}: {problem}"
        return RedpencilError(named, file=self.file, line=self.line, field=field, hint=hint)

    def locate(self, error: RedpencilError) -> RedpencilError:
        """An error about a row's content with the place added."""
        if error.file is not None:
            return error
        return self.error(error.problem, field=error.field, hint=error.hint)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row, or what could be seen of one that cannot be read, with its error."""

    place: Place
    values: dict[Any, Any]
    error: RedpencilError | None = None
    raw: object = None


Rows = Generator[SourceRow, None, None]


@dataclass(frozen=True, slots=True)
class Source:
    """An open source.

    Args:
        name: of the file or data set, to make ids from.
        file: what to name in errors.
        rows: gone through once.
        position: how far it has been read, and how far there is to go (0: nobody knows), in kB or rows.
        unread: what else there is, which nobody asked for: the other splits of a data set.
    """

    name: str
    file: str
    rows: Rows
    position: Callable[[], tuple[int, int]]
    unread: tuple[str, ...] = ()


_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
LONGEST_FIELD: Final = 1 << 26
"""Most characters of a CSV field: a quote that is never closed would otherwise take the rest of the file."""
CARRIAGE_RETURN: Final = (
    "a carriage return inside the line, such as old Macs end lines with",
    r"end each line with \n or \r\n, and put quotes around fields that hold line ends",
)
JSON_OBJECT: Final = 'write one object a line, such as {"prompt": "...", "response": "..."}'


def damaged(path: Path, error: Exception, line: int | None = None) -> RedpencilError:
    """The error of a compressed file that ends early or is not what it seems."""
    return RedpencilError(
        f"the compressed file is damaged or ends early ({error})", file=path, line=line, hint="get the file again"
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
        RedpencilError: if the file is compressed and damaged, or a line has no end.
    """
    number = 0
    try:
        while line := stream.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise endless_line(path, number)
            yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    except DAMAGE as error:
        raise damaged(path, error, number + 1) from None


def json_rows(stream: BinaryIO, path: Path) -> Rows:
    """Rows of JSONL; blank lines are passed over."""
    count = 0
    decoder, twice = watching_decoder()
    for number, raw in numbered(stream, path):
        if not raw.strip():
            continue
        count += 1
        place = Place(str(path), count, number)
        twice.clear()
        try:
            text = raw.decode("utf-8").rstrip("\r\n")  # an error there would be on a second line
            row = decoder.decode(text)
        except ValueError as error:
            yield SourceRow(place, {}, _unreadable(place, error), raw.decode("utf-8", "backslashreplace").rstrip())
        except RecursionError:
            yield SourceRow(place, {}, place.error("JSON that is nested too deeply", hint=JSON_OBJECT), "")
        else:
            yield object_row(place, row, twice, text)


def watching_decoder() -> tuple[json.JSONDecoder, list[str]]:
    """A decoder, and a list to which it adds the keys that stand twice in one object, of which it keeps the last."""
    twice: list[str] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return found

    return json.JSONDecoder(object_pairs_hook=object_of), twice


def object_row(place: Place, row: object, twice: Sequence[str], raw: str) -> SourceRow:
    """A row that should be an object; its text `raw` is named where keys stand twice in it."""
    if twice:
        name = twice[0].encode("utf-8", "backslashreplace").decode()
        clash = place.error("the key stands twice in one object", field=name, hint="give each key once")
        return SourceRow(place, {}, clash, raw)
    if isinstance(row, dict):
        return SourceRow(place, row)
    problem = f"expected a JSON object, found {type(row).__name__}"
    return SourceRow(place, {}, place.error(problem, hint=JSON_OBJECT), row)


def _unreadable(place: Place, error: ValueError) -> RedpencilError:
    if isinstance(error, UnicodeDecodeError):
        return place.error(f"not valid UTF-8 at byte {error.start} of the line", hint="convert the file to UTF-8")
    if isinstance(error, json.JSONDecodeError):
        return place.error(
            f"not valid JSON ({error.msg} at column {error.colno})",
            hint=f"{JSON_OBJECT}; or one array of objects as the whole file",
        )
    return place.error(f"JSON that cannot be read ({error})", hint="shorten the number")


def csv_rows(stream: BinaryIO, path: Path, delimiter: str) -> Rows:
    """Rows of a table with a header; all values are text. A row's line is the one that it begins on.

    A header that the delimiter leaves in one piece, and a semicolon, tab or comma does not, is cut by that.

    Raises:
        RedpencilError: if the header is missing, names a column twice or is not UTF-8.
    """
    # Bytes that are not UTF-8 come through as halves of surrogate pairs, so that only their own row is refused.
    texts = (raw.decode("utf-8", "surrogateescape") for _, raw in numbered(stream, path))
    lines = Lines(texts)
    delimiter = _delimiter(next(iter(lines.ahead(1)), ""), delimiter)
    previous = csv.field_size_limit(LONGEST_FIELD)
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header = _header(reader, path)
        count = 0
        while True:
            lines.begin()
            place = Place(str(path), count + 1, lines.first)
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                count += 1
                take_torn(lines, delimiter, len(header), endless="larger than field limit" in str(error))
                yield SourceRow(place, {}, _torn(place, error, lines), lines.raw())
                continue
            if values:
                count += 1
                yield _table_row(place, header, values, delimiter)
    finally:
        csv.field_size_limit(previous)


def _torn(place: Place, error: csv.Error, lines: Lines) -> RedpencilError:
    if _is_carriage_return(error):
        return place.error(f"{CARRIAGE_RETURN[0]}{lines.extent()}", hint=CARRIAGE_RETURN[1])
    return place.error(
        f"not a row of a table ({error}){lines.extent()}",
        hint="close each quote, and double those inside a field",
    )


def _is_carriage_return(error: csv.Error) -> bool:
    return "new-line character" in str(error)


def _delimiter(header: str, usual: str) -> str:
    """The delimiter of a table by the first line of its header."""
    for delimiter in (usual, ";", "\t", ","):
        try:
            names = next(csv.reader([header], delimiter=delimiter, strict=True), [])
        except csv.Error:  # a quoted name goes on in the next line
            return usual
        if len(names) > 1:
            return delimiter
    return usual


def _header(reader: Any, path: Path) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        if _is_carriage_return(error):
            raise RedpencilError(CARRIAGE_RETURN[0], file=path, line=1, hint=CARRIAGE_RETURN[1]) from None
        raise RedpencilError(f"no header ({error})", file=path, line=1, hint="begin with the columns' names") from None
    named = "begin the file with a line of column names, each once"
    if not any(header):
        raise RedpencilError("no header", file=path, line=1, hint=named)
    twice = next((name for at, name in enumerate(header) if name in header[:at]), None)
    if twice is not None:
        raise RedpencilError("the header names a column twice", file=path, line=1, field=twice, hint=named)
    if not "".join(header).isascii():
        try:
            "".join(header).encode("utf-8")
        except UnicodeEncodeError:
            raise RedpencilError(
                "the header is not valid UTF-8", file=path, line=1, hint="convert the file to UTF-8"
            ) from None
    return header


def _table_row(place: Place, header: list[str], values: list[str], delimiter: str) -> SourceRow:
    if len(values) != len(header):
        raw = io.StringIO()
        csv.writer(raw, delimiter=delimiter, lineterminator="").writerow(values)
        problem = f"{len(values)} fields under a header of {len(header)}"
        return SourceRow(
            place, {}, place.error(problem, hint="quote fields that hold delimiters or line ends"), raw.getvalue()
        )
    row = dict(zip(header, values, strict=True))
    for column, value in row.items():
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                problem = f"not valid UTF-8 at character {error.start}"
                return SourceRow(place, {}, place.error(problem, field=column, hint="convert the file to UTF-8"), row)
    return SourceRow(place, row)
